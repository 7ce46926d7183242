"""Credentials → `Principal`: bearer, cache, keys, token, binding; the shell around the pure steps of `token.py`."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from mcp_server.auth import dpop, introspection, token
from mcp_server.auth.bearer import Absent, Credentials
from mcp_server.auth.cache import Verified, VerifiedTokens
from mcp_server.auth.claims import VerifiedClaims, to_principal
from mcp_server.auth.dpop import Proof, Replays
from mcp_server.auth.fetch import Fetcher, IssuerUnavailable
from mcp_server.auth.introspection import IntrospectionClient
from mcp_server.auth.issuer import Clock, Issuer
from mcp_server.auth.keys import Keys
from mcp_server.auth.policy import IssuerPolicy, KeyPolicy
from mcp_server.auth.refusals import Reason, Refusal, Refused, refuse
from mcp_server.identity import Principal, ScopeRules
from mcp_server.observe import metrics

MAX_INTROSPECTIONS: Final = 16
"""Opaque tokens asked about at once: a flood of random ones meets 503 and not the issuer."""
MAX_INACTIVE: Final = 4096
_BEARER: Final = b"Bearer "


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All that authentication needs to know; `introspection` None leaves opaque tokens refused."""

    issuers: tuple[IssuerPolicy, ...]
    keys: KeyPolicy = KeyPolicy()
    rules: ScopeRules = ScopeRules()
    own_client: str = ""
    introspection: IntrospectionClient | None = None


class Authenticator:
    """The verifier of one process; `start` and `stop` belong to the application's lifespan."""

    def __init__(self, config: AuthConfig, fetcher: Fetcher | None = None, clock: Clock = time.time) -> None:
        self._config = config
        self._clock = clock
        self._fetcher = fetcher or Fetcher()
        self._cache = VerifiedTokens()
        self._inactive: dict[bytes, float] = {}
        self._asking = asyncio.Semaphore(MAX_INTROSPECTIONS)
        self._replays = Replays()
        self._policies = {policy.issuer: policy for policy in config.issuers}
        self.issuers = {
            policy.issuer: Issuer(policy, config.keys, self._fetcher, self._forget, clock) for policy in config.issuers
        }
        self._introspecting = next((one for one in self.issuers.values() if one.policy.introspects), None)
        self._tasks: Sequence[asyncio.Task[None]] = ()

    def _forget(self, issuer: str, keys: Keys) -> None:
        self._cache.keep_only(issuer, frozenset(keys.by_use))

    async def start(self) -> None:
        """Begin to keep every issuer fresh; does not wait, for a start without the issuer is allowed."""
        self._tasks = [asyncio.create_task(one.keep_fresh()) for one in self.issuers.values()]

    async def stop(self) -> None:
        """End the refreshing and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._fetcher.close()

    def cached(self, authorization: bytes | None) -> Principal | None:
        """The caller of an unbound token that was verified before: no parsing, no await, no I/O.

        A token that is found passed `bearer.read` when it first came, so what follows the scheme is looked up as it is.
        """
        if authorization is None or not authorization.startswith(_BEARER):
            return None
        digest = hashlib.sha256(authorization[len(_BEARER) :]).digest()
        found = self._cache.get(digest, self._clock())
        if found is None or found.confirmation is not None:
            return None
        metrics.cache_hit()
        return found.principal

    async def authenticate(
        self, credentials: Credentials | Absent | Refusal, proof: Proof
    ) -> Principal | Absent | Refusal:
        """Who is calling; a refusal carries the token's digest for the log."""
        if not isinstance(credentials, Credentials):
            return credentials
        digest = hashlib.sha256(credentials.token).digest()
        try:
            verified = self._cache.get(digest, self._clock()) or await self._verify(credentials.token, digest)
            dpop.check_binding(
                verified.confirmation,
                credentials.token,
                proof,
                self._replays,
                bound_scheme=credentials.bound,
                now=self._clock(),
            )
        except Refused as refused:
            return msgspec.structs.replace(refused.refusal, token_digest=digest.hex()[:16])
        return verified.principal

    async def _verify(self, raw: bytes, digest: bytes) -> Verified:
        metrics.cache_miss()
        client, issuer = self._config.introspection, self._introspecting
        if token.is_jwt_shaped(raw) or client is None or issuer is None:
            verified = await self._verify_jwt(raw, digest)
        else:
            verified = await self._introspect(raw, digest, client, issuer)
        self._cache.put(digest, verified)
        return verified

    async def _verify_jwt(self, raw: bytes, digest: bytes) -> Verified:
        opened = token.open_token(raw, self._policies)
        issuer = self.issuers[opened.policy.issuer]
        key = await issuer.key(opened.kid, opened.algorithm, opened.payload.get("iat"))
        claims = token.verify(opened, key, now=self._clock())
        use = (opened.kid, opened.algorithm)
        return Verified(self._principal(claims, digest), claims.confirmation, claims.expires_at, use)

    async def _introspect(self, raw: bytes, digest: bytes, client: IntrospectionClient, issuer: Issuer) -> Verified:
        if self._inactive.get(digest, 0.0) > self._clock():
            raise refuse(Reason.INACTIVE, "asked before")
        if self._asking.locked():
            raise Refused(Refusal(Reason.ISSUER_AWAY, "too many introspections", retry_after_s=1))
        async with self._asking:
            try:
                claims = await self._ask(issuer, raw, client)
            except Refused as refused:
                if refused.refusal.reason is not Reason.ISSUER_AWAY:
                    self._remember_inactive(digest)
                raise
        until = min(claims.expires_at, self._clock() + introspection.CACHE_S)
        return Verified(self._principal(claims, digest), claims.confirmation, until, None)

    async def _ask(self, issuer: Issuer, raw: bytes, client: IntrospectionClient) -> VerifiedClaims:
        endpoint = await issuer.introspection_endpoint()
        if endpoint is None:
            raise refuse(Reason.NOT_A_TOKEN, "opaque, and the issuer has no introspection endpoint")
        try:
            answer = await self._fetcher.post_form(endpoint, introspection.form(raw), client.basic())
        except IssuerUnavailable as error:
            raise Refused(Refusal(Reason.ISSUER_AWAY, str(error), retry_after_s=5)) from error
        return introspection.accept(answer, issuer.policy, now=self._clock())

    def _remember_inactive(self, digest: bytes) -> None:
        while len(self._inactive) >= MAX_INACTIVE:
            del self._inactive[next(iter(self._inactive))]
        self._inactive[digest] = self._clock() + introspection.CACHE_S

    def _principal(self, claims: VerifiedClaims, digest: bytes) -> Principal:
        config = self._config
        hexed = digest.hex()[:16]
        return to_principal(claims, config.rules, own_client=config.own_client, digest=hexed)
