"""What is signed is checked by anybody, with our command, by openssl's rule and cosign's form; a changed byte is seen."""

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from release import signing
from release.__main__ import PASSWORD, PROVENANCE, SBOM, main

NAMES = ("server-1.0-py3-none-any.whl", "server-1.0.tar.gz", SBOM)


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a release in it, signed by its commands; the public key lies beside it."""
    monkeypatch.setenv(PASSWORD, "of the key")
    folder = tmp_path / "dist"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(name.encode() * 3)
    ran("state", folder)
    ran("new-key", tmp_path / "key.pem", tmp_path / "key.pub")
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in (tmp_path / "key.pem").read_bytes()
    ran("sign", "--key", tmp_path / "key.pem", *(folder / name for name in (*NAMES, PROVENANCE)))
    return folder


def ran(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(main, [str(one) for one in arguments])
    assert done.exit_code == code, done.output
    return done.output


def checked(folder: Path, code: int = 0) -> str:
    files = [folder / name for name in (*NAMES, "provenance.intoto.dsse")]
    return ran("verify", "--key", folder.parent / "key.pub", *files, code=code)


def test_a_release_is_what_was_signed(released: Path) -> None:
    assert checked(released) == "4 files are what was signed\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_is_seen_by_its_signature_and_by_the_provenance(released: Path, name: str) -> None:
    data = bytearray((released / name).read_bytes())
    data[5] ^= 1
    (released / name).write_bytes(data)
    told = checked(released, code=1)
    assert told.count(name) == 2


@pytest.mark.parametrize(
    "bent",
    [
        lambda folder: (folder / f"{SBOM}.sig").unlink(),
        lambda folder: (folder / f"{SBOM}.sig").write_bytes(b"!"),
        lambda folder: (folder / f"{SBOM}.sig").write_bytes((folder / f"{NAMES[0]}.sig").read_bytes()),
        lambda folder: (folder / "provenance.intoto.dsse").write_bytes(b"{}"),
        lambda folder: (folder / "provenance.intoto.dsse").write_bytes(b"[]"),
        lambda folder: another(folder, "subject"),
        lambda folder: another(folder, "payloadType"),
        lambda folder: (folder.parent / "key.pub").write_bytes(signing.new_key("x")[1]),
    ],
)
def test_anything_else_that_is_not_as_signed_is_refused(released: Path, bent: Callable[[Path], object]) -> None:
    bent(released)
    assert "not what was signed" in checked(released, code=1)


def another(folder: Path, what: str) -> None:
    """An envelope with another type, or a statement of other files, under the old signature."""
    path = folder / "provenance.intoto.dsse"
    envelope = json.loads(path.read_bytes())
    if what == "payloadType":
        envelope["payloadType"] = "text/plain"
    else:
        statement = json.loads(base64.b64decode(envelope["payload"]))
        statement["subject"] = []
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    path.write_text(json.dumps(envelope))


def test_openssl_says_the_same(released: Path, tmp_path: Path) -> None:
    """cosign's form is DER of ECDSA over SHA-256, in Base64: what openssl verifies once it is decoded."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    signature, name = tmp_path / "der", released / NAMES[0]
    signature.write_bytes(base64.b64decode((released / f"{NAMES[0]}.sig").read_bytes()))
    command: list[str | Path] = [
        "openssl",
        "dgst",
        "-sha256",
        "-verify",
        tmp_path / "key.pub",
        "-signature",
        signature,
        name,
    ]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "Verified OK\n"


def test_keys_of_other_kinds_are_refused() -> None:
    for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(ValueError, match=r"P-256"):
            signing.private_key(private, "")
        with pytest.raises(ValueError, match=r"P-256"):
            signing.public_key(public)
    sealed, _ = signing.new_key("right")
    with pytest.raises(ValueError, match=r"(?i)password|decrypt"):
        signing.private_key(sealed, "wrong")


def test_a_key_is_not_written_over_another(released: Path) -> None:
    assert "File exists" in ran("new-key", released.parent / "key.pem", released.parent / "n.pub", code=1)


def test_what_cannot_be_done_is_a_line(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = released.parent / "key.pem", released.parent / "key.pub"
    file = released / NAMES[0]
    assert "public key" in ran("verify", "--key", private, file, code=1)
    assert "No such file" in ran("state", released.parent / "nowhere", code=1)
    assert "is not empty" in ran("build", released, code=1)
    monkeypatch.setenv(PASSWORD, "another")
    assert "password" in ran("sign", "--key", private, file, code=1)
    monkeypatch.delenv(PASSWORD)
    assert "assword was not given" in ran("sign", "--key", private, file, code=1)
    assert f"{PASSWORD} is not set" in ran("new-key", released / "n.pem", released / "n.pub", code=1)
    assert not (released / "n.pem").exists()
    checked(public.parent / "dist")


def test_signing_again_signs_no_signature(released: Path) -> None:
    before = {path.name for path in released.iterdir()}
    ran("state", released)
    ran("sign", "--key", released.parent / "key.pem", *released.iterdir())
    assert {path.name for path in released.iterdir()} == before
    checked(released)
