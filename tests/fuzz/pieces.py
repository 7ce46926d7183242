"""What a target makes of its bytes: parts by a separator that no valid input has, and keys that are always the same."""

import json
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

SEPARATOR: Final = b"\n\x1e\n"
NOW: Final = 1_800_000_000
"""Inputs with times in them must mean the same on every day."""


def parts(data: bytes, count: int) -> list[bytes]:
    """So many parts; those that the input does not have are empty, and the last one has all that is left."""
    found = data.split(SEPARATOR, count - 1)
    return found + [b""] * (count - len(found))


def as_json(data: bytes) -> Any:
    """A value for a target that wants one; anything that is no JSON becomes its text."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode("utf-8", "replace")


def key(number: int, kid: str) -> ECKey:
    """The same key each time: an input that has a signature in it stays good."""
    private = ec.derive_private_key(number, ec.SECP256R1())
    return ECKey.import_key(private, {"kid": kid})
