"""Back-channel logout: an issuer says that a login is over, and its tokens are over on every worker."""

import contextlib
import hashlib
import secrets
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

import msgspec

from mcp_server.auth.issuer.issuer import Clock, Issuer
from mcp_server.auth.refusals import AccessDenied, AccessDeniedError, DenialReason
from mcp_server.auth.tokens import logout, profile, push
from mcp_server.auth.tokens.logout import Logout
from mcp_server.auth.tokens.push import NotBeforePush
from mcp_server.store.backend import StateBackend, StoreUnavailable
from mcp_server.store.revocations import Revocation, Revocations

REPLAYED: Final = "logout_replayed"
AWAY: Final = "store_away"
NOT_HEARD: Final = "logout_client_not_named"
"""What the issuer has signed for a client that `MCP_LOGOUT_CLIENTS` lacks: a setting that an operator forgot."""


Turn = AbstractAsyncContextManager[None] | None
"""What bounds how many are judged at once."""


class LogoutRefused(Exception):
    """A logout token that changes nothing; `reason` is for log and audit."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class AcceptedLogout(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted logout or push, for the audit."""

    issuer: str
    client: str
    subject: str = ""


class BackchannelLogout:
    """Takes what the issuers of an authenticator say of logins that are over, each once; `own` is our client id."""

    def __init__(
        self,
        issuers: Mapping[str, Issuer],
        revocations: Revocations,
        backend: StateBackend,
        own: str,
        clock: Clock = time.time,
    ) -> None:
        self._issuers, self._revocations, self._backend = issuers, revocations, backend
        self._own, self._clock = own, clock

    async def take(self, token: bytes, turn: Turn = None) -> AcceptedLogout:
        """Have the tokens of a login be over; raises `LogoutRefused`. A key that nobody knows earns a fetch as any.

        It is judged in its turn. What is right counts here at once, and waits for the store in nobody's way: behind one
        that hangs few had their turn in time, and all others' logins went on.
        """
        try:
            async with turn or nullcontext():
                found = await self._verified(token)
        except AccessDeniedError as refused:
            raise _refused(refused.refusal) from refused
        await self._once(f"{found.issuer}\n{found.jti}", found.expires_at, self._of_logout(found))
        return AcceptedLogout(issuer=found.issuer, client=found.client, subject=found.subject)

    async def pushed(self, token: bytes, action: str, turn: Turn = None) -> AcceptedLogout:
        """Have the tokens be over that were issued before Keycloak's not-before; raises `LogoutRefused`, as `take`."""
        async with turn or nullcontext():
            name, found = await self._verified_push(token, action)
        await self._once(f"{name}\n{found.action_id}", found.expires_at, self._of_push(name, found))
        return AcceptedLogout(issuer=name, client=found.client)

    async def _verified_push(self, token: bytes, action: str) -> tuple[str, NotBeforePush]:
        """Of Keycloak's realms the first is meant whose key has signed it: nothing else in it says which."""
        refusal = AccessDenied(reason=DenialReason.UNKNOWN_ISSUER, detail="no issuer of Keycloak's")
        for issuer in [one for one in self._issuers.values() if one.policy.persons == "keycloak"]:
            try:
                opened = profile.open_unnamed(token, issuer.policy, logout.MAX_TOKEN)
                key = await issuer.key(opened.kid, opened.algorithm, None)
                return issuer.policy.issuer, push.verify(opened, key.key, action, now=self._clock())
            except AccessDeniedError as refused:
                refusal = refused.refusal
        raise _refused(refusal)

    async def _verified(self, token: bytes) -> Logout:
        policies = {name: issuer.policy for name, issuer in self._issuers.items()}
        opened = profile.open_token(token, policies, logout.MAX_TOKEN, logout=True)
        issuer = self._issuers[opened.policy.issuer]
        key = await issuer.key(opened.kid, opened.algorithm, logout.issued(opened, now=self._clock()))
        return logout.verify(opened, key.key, now=self._clock())

    async def _once(self, name: str, expires_at: float, revocation: Revocation) -> None:
        """Revoke: here in any case, elsewhere where it is heard for the first time on any worker (RFC 8417 §2.2).

        One that failed may come again; of one that has come nothing is new here.
        """
        self._revocations.take(revocation)
        key = "logout:" + hashlib.sha256(name.encode()).hexdigest()[:32]
        token = secrets.token_hex(8)
        try:
            if not await self._backend.claim(key, max(expires_at - self._clock(), 1), token):
                raise LogoutRefused(REPLAYED)
            await self._revocations.revoke(revocation)
        except (StoreUnavailable, OSError) as error:
            with contextlib.suppress(StoreUnavailable):
                await self._backend.release(key, token)
            # Over here all the same, and on the others as soon as they can be told: who silences a store must not keep
            # a login alive. The issuer is told the truth, that it failed (Back-Channel Logout 1.0 §2.8).
            self._revocations.revoke_soon(revocation)
            raise LogoutRefused(AWAY, str(error)) from error

    def _of_logout(self, found: Logout) -> Revocation:
        """With a `sid` that login alone, else all of a person's up to now (§2.7).

        A login that is over has no later tokens, but those of `offline_access`, which Keycloak lets live on: they are
        told apart by when they were issued, the leeway added, for another node of the issuer may have made one.
        """
        leeway_s = self._issuers[found.issuer].policy.leeway_s
        return Revocation(
            issuer=found.issuer,
            kind="sid" if found.sid else "sub",
            name=found.sid or found.subject,
            before=found.issued_at + (leeway_s if found.sid else 0),
            until=found.issued_at + self._revocations.keeps_s,
            why=f"back-channel logout of {found.client}",
        )

    def _of_push(self, issuer: str, found: NotBeforePush) -> Revocation:
        everybody = found.client == self._own
        return Revocation(
            issuer=issuer,
            kind="issuer" if everybody else "client",
            name=issuer if everybody else found.client,
            before=found.before,
            until=found.before + self._revocations.keeps_s,
            why=f"{found.action} pushed to {found.client}",
        )


def _refused(refusal: AccessDenied) -> LogoutRefused:
    reason = refusal.reason
    return LogoutRefused(NOT_HEARD if reason is DenialReason.WRONG_AUDIENCE else reason.slug, refusal.detail)
