"""Cache of exchanged tokens: bounded, by the subject token's digest, audience and scopes; pure, `now` is given.

`now` and all ends are of a monotonic clock: one that is set back would keep what is over, one set forward drop all.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from mcp_server.identity import Principal
from mcp_server.rest.wire.grants import Issued, Wanted
from mcp_server.store.revocations import MarksIndex, Revocation

MAX_TOKENS: Final = 10_000
EARLY_S: Final = 30.0
"""A token is renewed so long before its end: it must still be good when the API looks at it."""


class TokenKey(msgspec.Struct, frozen=True):
    """Whose token: `subject` is the SHA-256 of the token that was traded, not the person.

    Two logins of one person may differ in client, session and life. Empty is this server itself.
    """

    issuer: str
    subject: bytes
    wanted: Wanted


class Latest:
    """The last so many that were seen."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: dict[bytes, None] = {}

    def add(self, one: bytes) -> None:
        """It was seen now: who comes again stays, however many have come since the first time."""
        self._seen.pop(one, None)
        self._seen[one] = None
        if len(self._seen) > self._most:
            del self._seen[next(iter(self._seen))]

    def __contains__(self, one: bytes) -> bool:
        return one in self._seen


class TokenCache:
    """Tokens by key; an entry ends `EARLY_S` before its own end or that of the token it was traded for."""

    def __init__(self, most: int = MAX_TOKENS) -> None:
        self._most = most
        self._tokens: dict[TokenKey, tuple[str, float, Principal | None]] = {}
        self._by_marks = MarksIndex[TokenKey]()

    def __len__(self) -> int:
        return len(self._tokens)

    def get(self, key: TokenKey, now: float) -> str | None:
        """The token, while it may be used."""
        found = self._tokens.get(key)
        if found is None:
            return None
        token, ends_at, _ = found
        if now < ends_at:
            return token
        self._forget(key)
        return None

    def put(
        self, key: TokenKey, issued: Issued, subject_ends_at: float, now: float, whose: Principal | None = None
    ) -> None:
        """Keep a token, if there is time left in it; the oldest goes when there is no room. `whose` was traded."""
        ends_at = min(issued.expires_at, subject_ends_at) - EARLY_S
        if key in self._tokens:
            self._forget(key)
        if ends_at > now:
            if len(self._tokens) >= self._most:
                self._forget(next(iter(self._tokens)))
            self._tokens[key] = (issued.token, ends_at, whose)
            if whose is not None:
                self._by_marks.add(key, whose)

    def end(self, revocation: Revocation) -> int:
        """Forget what was traded for tokens that are over; how many there were."""
        gone = self._by_marks.over(revocation, self._traded)
        for key in gone:
            self._forget(key)
        return len(gone)

    def _traded(self) -> Iterator[tuple[TokenKey, Principal]]:
        return ((key, whose) for key, (_, _, whose) in self._tokens.items() if whose is not None)

    def _forget(self, key: TokenKey) -> None:
        _, _, whose = self._tokens.pop(key)
        if whose is not None:
            self._by_marks.remove(key, whose)

    def drop(self, key: TokenKey, token: str) -> None:
        """Forget a token that an API did not accept; one that has replaced it by now stays."""
        if (found := self._tokens.get(key)) is not None and found[0] == token:
            self._forget(key)
