"""Verified tokens by digest: bounded in count and bytes, ending with the token, forgotten with their key."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.auth.issuer.keys import KeyUse
from mcp_server.identity import Principal
from mcp_server.store.revocations import MarksIndex, Revocation

MAX_ENTRIES: Final = 4096
"""About 2.6 KiB an entry with tokens of 1 KiB, measured: some 11 MiB. A busy process has fewer live tokens."""
MAX_BYTES: Final = 16 * 1024 * 1024
"""Of all claims together: at `MCP_MAX_TOKEN_BYTES` of 64 KiB as many tokens as above would fill 200 MB."""
SWEEP_S: Final = 60.0
"""A token that is over is asked for no more: without a look at all of them now and then memory would grow for as long
as tokens come, up to the bounds above."""


class CachedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that passed: who it speaks of and how long, the proof it is bound to, and the key behind it.

    `trusted_until`, by the monotonic clock, is when the issuer's keys or its answer are believed no longer: by a wall
    clock that is set back a revoked token, or a lost issuer's key, would be believed for as long again.
    """

    principal: Principal
    confirmation: Mapping[str, Any] | None
    key_use: KeyUse | None
    trusted_until: float


class TokenCache:
    """The cache of one process; the oldest entry makes room for the newest."""

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._by_digest: dict[bytes, CachedToken] = {}
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._bytes = 0
        self._by_marks = MarksIndex[bytes]()
        self._swept = 0.0

    def __len__(self) -> int:
        return len(self._by_digest)

    def get(self, digest: bytes, now: float, monotonic: float) -> CachedToken | None:
        """The entry, unless its time is up, in which case it is forgotten."""
        found = self._by_digest.get(digest)
        if found is None or (now < found.principal.expires_at and monotonic < found.trusted_until):
            return found
        self._drop(digest)
        return None

    def put(self, digest: bytes, verified: CachedToken, now: float, monotonic: float) -> None:
        """Remember; those that are over go once a minute, and the oldest where it grows too large."""
        entries = self._by_digest
        if monotonic >= self._swept + SWEEP_S:
            self._swept = monotonic
            self._sweep(now, monotonic)
        if digest in entries:
            self._drop(digest)
        entries[digest] = verified
        self._by_marks.add(digest, verified.principal)
        self._bytes += len(verified.principal.document)
        while len(entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(entries)))

    def _sweep(self, now: float, monotonic: float) -> None:
        gone = [
            digest
            for digest, entry in self._by_digest.items()
            if now >= entry.principal.expires_at or monotonic >= entry.trusted_until
        ]
        for digest in gone:
            self._drop(digest)

    def keep_only(self, issuer: str, key_uses: frozenset[KeyUse]) -> None:
        """Forget the tokens of an issuer whose key is no longer in its set: another under the same `kid` is not it."""
        gone = [
            digest
            for digest, entry in self._by_digest.items()
            if entry.principal.issuer == issuer and entry.key_use is not None and entry.key_use not in key_uses
        ]
        for digest in gone:
            self._drop(digest)

    def drop(self, revocation: Revocation) -> int:
        """Forget the tokens that were revoked; how many there were."""
        entries = self._by_digest
        gone = self._by_marks.over(revocation, lambda: ((digest, one.principal) for digest, one in entries.items()))
        for digest in gone:
            self._drop(digest)
        return len(gone)

    def _drop(self, digest: bytes) -> None:
        gone = self._by_digest.pop(digest).principal
        self._by_marks.remove(digest, gone)
        self._bytes -= len(gone.document)
