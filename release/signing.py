"""Signatures over files: ECDSA on P-256 with SHA-256, DER in Base64, as `cosign sign-blob --key` writes them.

So whoever has the public key checks with what is at hand: `python -m release verify`, `cosign verify-blob --key`, or
`openssl dgst -sha256 -verify` on the decoded signature. An attestation is a DSSE envelope, whose signature covers the
type of what it carries: a signed file can never pass for a statement.
"""

import base64
import json
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

IN_TOTO: Final = "application/vnd.in-toto+json"
SUFFIX: Final = ".sig"
_ALGORITHM: Final = ec.ECDSA(SHA256())


class BadSignature(Exception):
    """The file is not what was signed, or the key is another."""


def new_key(password: str) -> tuple[bytes, bytes]:
    """A private key, sealed with a password, and its public one, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    return sealed, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_key(pem: bytes, password: str) -> ec.EllipticCurvePrivateKey:
    """A private key on P-256; raises `ValueError` for any other, or for a wrong password."""
    try:
        key = load_pem_private_key(pem, password.encode() or None)
    except TypeError as error:  # it has a password and none is given, or the other way round
        raise ValueError(str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("the key is none of P-256")  # noqa: TRY004 - a wrong file, and no wrong type
    return key


def public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """A public key on P-256; raises `ValueError` for any other."""
    key = load_pem_public_key(pem)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("the key is none of P-256")  # noqa: TRY004 - a wrong file, and no wrong type
    return key


def sign(data: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A signature as a file has it."""
    return base64.b64encode(key.sign(data, _ALGORITHM))


def verify(data: bytes, signature: bytes, key: ec.EllipticCurvePublicKey) -> None:
    """Raises `BadSignature`."""
    try:
        key.verify(base64.b64decode(signature.strip(), validate=True), data, _ALGORITHM)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature(type(error).__name__) from error


def sign_file(path: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    """Write the signature beside a file."""
    beside = path.with_name(path.name + SUFFIX)
    beside.write_bytes(sign(path.read_bytes(), key))
    return beside


def verify_file(path: Path, key: ec.EllipticCurvePublicKey) -> None:
    """Check a file by the signature beside it; raises `BadSignature`, for a missing one too."""
    beside = path.with_name(path.name + SUFFIX)
    if not beside.is_file():
        raise BadSignature(f"{beside.name} is missing")
    verify(path.read_bytes(), beside.read_bytes(), key)


def attest(statement: dict[str, Any], key: ec.EllipticCurvePrivateKey) -> bytes:
    """An in-toto statement in a signed DSSE envelope."""
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    envelope = {
        "payloadType": IN_TOTO,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"sig": sign(_before_authentication(payload), key).decode()}],
    }
    return json.dumps(envelope).encode()


def attested(envelope: bytes, key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    """The statement of an envelope; raises `BadSignature`."""
    try:
        read = json.loads(envelope)
        payload, (signature,) = base64.b64decode(read["payload"], validate=True), read["signatures"]
        kind, written = read["payloadType"], signature["sig"].encode()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadSignature("no envelope with one signature") from error
    if kind != IN_TOTO:
        raise BadSignature("no in-toto statement")
    verify(_before_authentication(payload), written, key)
    statement: dict[str, Any] = json.loads(payload)
    return statement


def _before_authentication(payload: bytes) -> bytes:
    """DSSE v1's pre-authentication encoding: lengths first, so that no two envelopes are signed alike."""
    return b"DSSEv1 %d %b %d %b" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload)
