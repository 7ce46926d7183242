"""The bill of materials is the lock's, the provenance names what was built of what, and a build has no clock in it."""

import copy
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mcp_server.version import __version__
from release import build, images, lock, provenance, sbom
from release.__main__ import main

DIGEST = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    return sbom.of_lock()


def test_the_bill_is_the_lock(bill: dict[str, Any]) -> None:
    """Names, versions and hashes, read by a tool that is not ours; the lock is counted by a third way."""
    locked = lock.read()
    assert len(locked) == sum("==" in line and line[0].isalpha() for line in lock.RUNTIME.read_text().splitlines()) > 50
    assert all(one.hashes for one in locked)
    assert sbom.unlike(bill, locked) == []
    assert (bill["bomFormat"], bill["metadata"]["component"]["version"]) == ("CycloneDX", __version__)
    assert len({one["bom-ref"] for one in bill["components"]}) == len(locked)
    (root,) = bill["dependencies"]
    assert {one.partition("@")[0] for one in root["dependsOn"]} >= {"pkg:pypi/litestar", "pkg:pypi/joserfc"}


@pytest.mark.parametrize(
    "bent",
    [
        lambda bill: bill["components"].pop(),
        lambda bill: bill["components"][0].update(version="0"),
        lambda bill: bill["components"][0].update(name="other"),
        lambda bill: bill["components"][0]["externalReferences"][0]["hashes"].pop(),
        lambda bill: bill["components"][0]["externalReferences"][0]["hashes"][0].update(content="0" * 64),
    ],
)
def test_a_bill_that_is_not_the_lock_is_seen(bill: dict[str, Any], bent: Callable[[dict[str, Any]], object]) -> None:
    other = copy.deepcopy(bill)
    bent(other)
    assert sbom.unlike(other, lock.read())


def test_a_lock_without_a_hash_is_refused(tmp_path: Path) -> None:
    text = lock.RUNTIME.read_text()
    (tmp_path / "bad.lock").write_text(f"{text}\nlitestar>=2\n")
    with pytest.raises(ValueError, match="litestar>=2"):
        lock.read(tmp_path / "bad.lock")


def test_an_image_holds_what_is_locked(bill: dict[str, Any]) -> None:
    versions = {one.name: one.version for one in lock.read() if one.name in ("litestar", "joserfc")}
    base = f"python:3.13-slim@{DIGEST}"
    made = sbom.of_image(bill, base, versions, ["libc6\t2.41\tamd64", ""], lock.read())
    kinds = [(one["type"], one["name"]) for one in made["components"]]
    assert kinds[:2] == [("container", "python:3.13-slim"), ("library", "libc6")]
    assert {name for _, name in kinds[2:]} == versions.keys()
    assert made["components"][0]["hashes"][0]["content"] == "0" * 64
    for wrong in (versions | {"litestar": "0.1"}, versions | {"left-pad": "1"}):
        with pytest.raises(sbom.Differs):
            sbom.of_image(bill, base, wrong, [], lock.read())


def test_an_image_is_named_by_its_digest() -> None:
    done = CliRunner().invoke(main, ["image-sbom", "mcp-server", "--base", "python:3.13-slim", "."])
    assert "has no digest" in done.output


def test_every_image_has_a_digest_and_one_place_says_which() -> None:
    assert images.floating() == {}
    used = images.used()
    names = [image.partition("@")[0] for image in used]
    assert len(set(names)) == len(names), "one image under two digests"
    assert {name.partition(":")[0].rpartition("/")[2] for name in names} == {
        "python", "keycloak", "nginx-unprivileged", "valkey", "postgres",
    }  # fmt: skip


def test_an_image_without_a_digest_is_found(tmp_path: Path) -> None:
    (tmp_path / "devstack/docker").mkdir(parents=True)
    (tmp_path / "docker-compose.yml").write_text("services: {a: {image: '${X:-redis:8}'}, b: {image: mcp-server}}")
    file = f"ARG A=python:3@{DIGEST}\nARG B=debian:trixie\nFROM ${{A}} AS one\nFROM ${{B}}\nFROM one\nFROM scratch\n"
    (tmp_path / "devstack/docker/Dockerfile").write_text(file)
    assert images.floating(tmp_path) == {
        "redis:8": ["docker-compose.yml"],
        "debian:trixie": ["devstack/docker/Dockerfile"],
    }
    assert len(images.used(tmp_path)) == 3


def test_the_provenance_names_files_sources_and_packages(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"wheel")
    made = provenance.statement([wheel], commit="c" * 40, epoch=1, locked=lock.read())
    assert made == provenance.statement([wheel], commit="c" * 40, epoch=1, locked=lock.read())
    assert (made["_type"], made["predicateType"]) == (provenance.STATEMENT, provenance.PREDICATE)
    definition = made["predicate"]["buildDefinition"]
    assert definition["resolvedDependencies"][0]["digest"] == {"gitCommit": "c" * 40}
    assert len(definition["resolvedDependencies"]) == 1 + len(lock.read())
    assert provenance.unlike(made, [wheel]) == []
    assert provenance.unlike(made, []) == ["a.whl"]
    wheel.write_bytes(b"another")
    assert provenance.unlike(made, [wheel]) == ["a.whl"]
    json.dumps(made)


def test_two_builds_are_the_same_bytes(tmp_path: Path) -> None:
    """Of the wheel; the release workflow builds the source archive twice as well, which takes three seconds."""
    one, other = (build.build(tmp_path / name, ["wheel"]) for name in ("1", "2"))
    assert [path.suffix for path in one] == [path.suffix for path in other] == [".whl"]
    assert build.unlike(tmp_path / "1", tmp_path / "2") == []
    other[0].write_bytes(b"")
    assert build.unlike(tmp_path / "1", tmp_path / "2") == [other[0].name]
    with pytest.raises(FileExistsError):
        build.build(tmp_path / "1")


def test_what_was_not_committed_is_not_packed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    project = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    (root / "pyproject.toml").write_text(project + '[project]\nname = "small"\nversion = "1"\n')
    (root / "small.py").write_text("")
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for command in (("init", "--quiet"), ("add", "."), (*author, "commit", "--quiet", "--message", "a")):
        subprocess.run(["git", *command], cwd=root, check=True)
    (root / "release.pem").write_text("a key")
    (root / "small.py").write_text("changed")
    (archive,) = build.build(tmp_path / "dist", ["sdist"], root)
    with tarfile.open(archive) as packed:
        assert {Path(name).name for name in packed.getnames()} == {"pyproject.toml", "small.py", "PKG-INFO"}
        assert packed.getmember("small-1/small.py").size == 0
