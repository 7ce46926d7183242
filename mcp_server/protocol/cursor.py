"""Opaque cursors of lists: the key of the last entry shown, sealed for one caller and one list (server/pagination)."""

from typing import Final

from mcp_server.protocol.sealed import InvalidSealedValue, SealingKeys

PURPOSE: Final = "cursor"
LIFETIME_S: Final = 3600.0


def make(keyring: SealingKeys, last: str, place: tuple[str, str], *, nonce: bytes, now: float) -> str:
    """The cursor after the entry `last`; `place` is the list and the caller's key."""
    return keyring.seal(last.encode(), place, nonce=nonce, expires_at=now + LIFETIME_S)


def read(keyring: SealingKeys, cursor: str, place: tuple[str, str], *, now: float) -> str | None:
    """The key after which the list goes on, or None for a cursor that we did not give this caller for this list."""
    try:
        return keyring.open(cursor, place, now=now).decode()
    except InvalidSealedValue:
        return None
