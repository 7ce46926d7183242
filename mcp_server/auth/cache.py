"""Verified tokens by digest: bounded in count, ending with the token, forgotten with their key."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.auth.keys import KeyUse
from mcp_server.identity import Principal

MAX_ENTRIES: Final = 4096
"""About 2 KiB an entry with tokens of 1 KiB, measured: some 8 MiB. A busy process has fewer live tokens than this."""


class Verified(msgspec.Struct, frozen=True):
    """A token that passed: who it speaks of, the proof it is bound to, until when it is believed, the key behind it."""

    principal: Principal
    confirmation: Mapping[str, Any] | None
    until: float
    key_use: KeyUse | None


class VerifiedTokens:
    """The cache of one process; the oldest entry makes room for the newest."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._by_digest: dict[bytes, Verified] = {}
        self._max_entries = max_entries

    def __len__(self) -> int:
        return len(self._by_digest)

    def get(self, digest: bytes, now: float) -> Verified | None:
        """The entry, unless its time is up, in which case it is forgotten."""
        found = self._by_digest.get(digest)
        if found is None or now < found.until:
            return found
        del self._by_digest[digest]
        return None

    def put(self, digest: bytes, verified: Verified) -> None:
        """Remember; makes room first when full."""
        entries = self._by_digest
        if len(entries) >= self._max_entries and digest not in entries:
            del entries[next(iter(entries))]
        entries[digest] = verified

    def keep_only(self, issuer: str, key_uses: frozenset[KeyUse]) -> None:
        """Forget the tokens of an issuer whose key is no longer in its set: another under the same `kid` is not it."""
        gone = [
            digest
            for digest, entry in self._by_digest.items()
            if entry.principal.issuer == issuer and entry.key_use is not None and entry.key_use not in key_uses
        ]
        for digest in gone:
            del self._by_digest[digest]
