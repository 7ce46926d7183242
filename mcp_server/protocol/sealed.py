"""Values that a client keeps for us and cannot read, change or use elsewhere: AES-GCM with keys that rotate.

What a sealed value is bound to (principal, method, parameters) is not inside it but authenticated beside it: opened
for anybody or anything else it is as wrong as a forged one.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES: Final = 12
MAX_SEALED: Final = 256 * 1024
_ID_BYTES: Final = 4
_EXPIRY_BYTES: Final = 8


class InvalidSealedValue(Exception):
    """Not a value that we sealed for this caller and this use, or one whose time is over."""


class UnknownKey(InvalidSealedValue):
    """Sealed with keys that are not ours."""


class _Key(msgspec.Struct, frozen=True):
    id: bytes
    cipher: AESGCM


class SealingKeys:
    """The keys of one purpose, derived from secrets that all workers share; the first seals, each opens."""

    def __init__(self, secrets: Sequence[bytes], purpose: str) -> None:
        self._purpose = purpose
        self.renew(secrets)

    def renew(self, secrets: Sequence[bytes]) -> None:
        """Other secrets from now on: what none of them sealed is opened no more."""
        self._keys = {key.id: key for key in (_derive(secret, self._purpose) for secret in secrets)}
        self._first = next(iter(self._keys.values()))

    def seal(self, payload: bytes, bound_to: Sequence[str], *, nonce: bytes, expires_at: float) -> str:
        """A URL-safe text; `nonce` is 12 fresh random bytes, `expires_at` seconds since the epoch."""
        expiry = int(expires_at).to_bytes(_EXPIRY_BYTES, "big")
        sealed = self._first.cipher.encrypt(nonce, expiry + payload, _binding(bound_to))
        return base64.urlsafe_b64encode(self._first.id + nonce + sealed).decode("ascii").rstrip("=")

    def open(self, text: str, bound_to: Sequence[str], *, now: float) -> bytes:
        """The payload; raises `InvalidSealedValue`."""
        raw = _decode(text)
        key = self._keys.get(raw[:_ID_BYTES])
        if key is None:
            raise UnknownKey("sealed with a key that we do not have (MCP_STATE_KEYS)")
        nonce, sealed = raw[_ID_BYTES : _ID_BYTES + NONCE_BYTES], raw[_ID_BYTES + NONCE_BYTES :]
        try:
            opened = key.cipher.decrypt(nonce, sealed, _binding(bound_to))
        except (InvalidTag, ValueError) as error:
            raise InvalidSealedValue("changed, or bound to something else") from error
        if int.from_bytes(opened[:_EXPIRY_BYTES], "big") < now:
            raise InvalidSealedValue("expired")
        return opened[_EXPIRY_BYTES:]


def _derive(secret: bytes, purpose: str) -> _Key:
    material = HKDF(SHA256(), 32 + _ID_BYTES, salt=None, info=b"mcp-server " + purpose.encode()).derive(secret)
    return _Key(material[32:], AESGCM(material[:32]))


def _binding(parts: Sequence[str]) -> bytes:
    """The parts, each with its length in front: no two lists of parts give the same bytes."""
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(part).to_bytes(8, "big") + part for part in encoded)


def _decode(text: str) -> bytes:
    if len(text) > MAX_SEALED or not text.isascii():
        raise InvalidSealedValue("not a sealed value")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidSealedValue("not a sealed value") from error
    if base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=") != text:
        raise InvalidSealedValue("not a sealed value")
    return raw


def digest(value: bytes) -> str:
    """A short text that stands for a value in a binding."""
    return hashlib.sha256(value).hexdigest()
