"""Credentials → `Principal`: bearer, cache, keys, token, binding; the shell around the pure steps of `profile.py`."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from mcp_server.auth.binding import dpop
from mcp_server.auth.binding.dpop import Proof, ReplayCache
from mcp_server.auth.issuer.fetch import Fetcher
from mcp_server.auth.issuer.issuer import Clock, Issuer
from mcp_server.auth.issuer.keys import Keys, KeyUse
from mcp_server.auth.policy import IssuerPolicy, KeyPolicy
from mcp_server.auth.refusals import AccessDenied, AccessDeniedError
from mcp_server.auth.tokens import introspection, profile
from mcp_server.auth.tokens.bearer import MAX_TOKEN, Credentials, NoCredentials
from mcp_server.auth.tokens.cache import CachedToken, TokenCache
from mcp_server.auth.tokens.claims import VerifiedClaims, to_principal
from mcp_server.auth.tokens.introspection import IntrospectionClient
from mcp_server.auth.tokens.opaque import OpaqueTokens
from mcp_server.identity import Principal, ScopeRules
from mcp_server.observe import metrics

_BEARER: Final = b"Bearer "


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All that authentication needs to know; `introspection` None leaves opaque tokens refused."""

    issuers: tuple[IssuerPolicy, ...]
    keys: KeyPolicy = KeyPolicy()
    rules: ScopeRules = ScopeRules()
    client_id: str = ""
    introspection: IntrospectionClient | None = None
    max_token: int = MAX_TOKEN


class Authenticator:
    """The verifier of one process; `start` and `stop` belong to the application's lifespan."""

    def __init__(
        self,
        config: AuthConfig,
        fetcher: Fetcher | None = None,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        """`clock` is what tokens count by; ages, rates and pauses go by `monotonic`, which nobody sets back."""
        self._config = config
        self._clock, self._monotonic = clock, monotonic
        self._fetcher = fetcher or Fetcher()
        self._cache = TokenCache()
        self._replays = ReplayCache()
        self._policies = {policy.issuer: policy for policy in config.issuers}
        self.issuers = {
            policy.issuer: Issuer(policy, config.keys, self._fetcher, self._forget, clock, monotonic)
            for policy in config.issuers
        }
        self.max_token = config.max_token
        asked = next((one for one in self.issuers.values() if one.policy.introspects), None)
        client = config.introspection
        self._opaque = (
            OpaqueTokens(asked, client, self._fetcher, self._believe_introspected, clock, monotonic)
            if asked and client
            else None
        )
        self._tasks: Sequence[asyncio.Task[None]] = ()

    def _forget(self, issuer: str, keys: Keys) -> None:
        self._cache.keep_only(issuer, keys.uses())

    async def start(self) -> None:
        """Begin to keep every issuer fresh; does not wait, for a start without the issuer is allowed."""
        self._tasks = [asyncio.create_task(one.keep_fresh()) for one in self.issuers.values()]

    async def stop(self) -> None:
        """End the refreshing and close the connections."""
        for task in self._tasks:
            task.cancel()
        if self._opaque is not None:
            await self._opaque.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._fetcher.close()

    def cached(self, authorization: bytes | None) -> Principal | None:
        """The caller of an unbound token that was verified before: no parsing, no await, no I/O.

        A token that is found passed `bearer.read` when it first came, so what follows the scheme is looked up as it is.
        """
        if authorization is None or not authorization.startswith(_BEARER):
            return None
        digest = hashlib.sha256(authorization[len(_BEARER) :]).digest()
        found = self._cache.get(digest, self._clock(), self._monotonic())
        if found is None or found.confirmation is not None:
            return None
        metrics.cache_hit()
        return found.principal

    async def authenticate(
        self, credentials: Credentials | NoCredentials | AccessDenied, proof: Proof, address: str = ""
    ) -> Principal | NoCredentials | AccessDenied:
        """Who is calling; a refusal carries the token's digest for the log.

        `address` is whose allowance an unknown opaque token is counted against.
        """
        if not isinstance(credentials, Credentials):
            return credentials
        digest = hashlib.sha256(credentials.token).digest()
        try:
            known = self._cache.get(digest, self._clock(), self._monotonic())
            verified = known or await self._verify(credentials.token, digest, address)
            dpop.check_binding(
                verified.confirmation,
                credentials.token,
                proof,
                self._replays,
                holder=verified.principal.key,
                bound_scheme=credentials.bound,
                now=self._clock(),
            )
        except AccessDeniedError as refused:
            return msgspec.structs.replace(refused.refusal, token_digest=digest.hex()[:16])
        return verified.principal

    async def _verify(self, raw: bytes, digest: bytes, address: str) -> CachedToken:
        metrics.cache_miss()
        if profile.is_jwt_shaped(raw) or self._opaque is None:
            return await self._verify_jwt(raw, digest)
        return await self._opaque.verified(raw, digest, address)

    def _believe_introspected(self, claims: VerifiedClaims, digest: bytes) -> CachedToken:
        return self._believe(claims, digest, self._monotonic() + introspection.CACHE_S, None)

    def _believe(self, claims: VerifiedClaims, digest: bytes, trusted_until: float, use: KeyUse | None) -> CachedToken:
        """Remember a token that passed, until it ends, or what vouches for it does."""
        config = self._config
        principal = to_principal(claims, config.rules, client_id=config.client_id, digest=digest.hex()[:16])
        verified = CachedToken(principal, claims.confirmation, claims.expires_at, use, trusted_until)
        self._cache.put(digest, verified)
        return verified

    async def _verify_jwt(self, raw: bytes, digest: bytes) -> CachedToken:
        opened = profile.open_token(raw, self._policies, self.max_token)
        issuer = self.issuers[opened.policy.issuer]
        key = await issuer.key(opened.kid, opened.algorithm, opened.payload.get("iat"))
        claims = profile.verify(opened, key.key, now=self._clock())
        use = (opened.kid, opened.algorithm, key.thumbprint)
        return self._believe(claims, digest, issuer.keys_until, use)
