"""Credentials → `Principal`: bearer, cache, keys, token, binding; the shell around the pure steps of `profile.py`."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from mcp_server.auth import extensions
from mcp_server.auth.binding import dpop, replay_cache
from mcp_server.auth.binding.dpop import Proof, TakenProof, UsedProof
from mcp_server.auth.binding.replay_cache import ReplayCache
from mcp_server.auth.binding.shared_replays import SharedReplayTable
from mcp_server.auth.issuer.fetch import Fetcher
from mcp_server.auth.issuer.issuer import Clock, Issuer
from mcp_server.auth.issuer.keys import Keys, KeyUse
from mcp_server.auth.issuer.snapshot import Snapshots, SnapshotStore
from mcp_server.auth.own_secret import OwnSecret
from mcp_server.auth.policy import IssuerPolicy, KeyPolicy
from mcp_server.auth.refusals import AccessDenied, AccessDeniedError, DenialReason, refuse
from mcp_server.auth.tokens import introspection, profile
from mcp_server.auth.tokens.bearer import MAX_TOKEN, Credentials, NoCredentials
from mcp_server.auth.tokens.cache import CachedToken, TokenCache
from mcp_server.auth.tokens.claims import VerifiedClaims, to_principal
from mcp_server.auth.tokens.introspection import IntrospectionClient
from mcp_server.auth.tokens.opaque import OpaqueTokens
from mcp_server.identity import Principal, ScopeRules
from mcp_server.observe import metrics
from mcp_server.observe.tracing import Step
from mcp_server.store.backend import StateBackend
from mcp_server.store.events import EventBus
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.revocations import EVER, Revocation, Revocations

_BEARER: Final = b"Bearer "


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All that authentication needs to know; `introspection` None leaves opaque tokens refused.

    `state_keys` seal what is kept beyond the process.
    """

    issuers: tuple[IssuerPolicy, ...]
    keys: KeyPolicy = KeyPolicy()
    rules: ScopeRules = ScopeRules()
    client_id: str = ""
    introspection: IntrospectionClient | None = None
    max_token: int = MAX_TOKEN
    state_keys: tuple[bytes, ...] = ()


class CacheLookup(msgspec.Struct, frozen=True):
    """Cache lookup of a token that may not be used without more: not there, or bound to a key."""

    token: bytes
    digest: bytes
    found: CachedToken | None


class Authenticator:
    """The verifier of one process; `start` and `stop` belong to the application's lifespan, each time it begins."""

    def __init__(  # noqa: PLR0913 - what it shares with others, each by its name
        self,
        config: AuthConfig,
        backend: StateBackend | None = None,
        *,
        fetcher: Fetcher | None = None,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
        places: Sequence[SnapshotStore] = (),
        revocations: Revocations | None = None,
        replays: SharedReplayTable | None = None,
    ) -> None:
        """`clock` is what tokens count by; ages, rates and pauses go by `monotonic`, which nobody sets back.

        `backend` is where workers that share one take proofs of possession; with `replays`, those of one machine. In
        `places` keys are kept for later starts. `revocations` are tokens that are over before their end.
        """
        self._config = config
        self._backend = backend or InMemoryBackend()
        self._clock, self._monotonic = clock, monotonic
        self._fetcher = fetcher or Fetcher()
        self._cache = TokenCache()
        self.revocations = revocations or Revocations(EventBus(self._backend))
        self.revocations.followers["cached"] = self._cache.drop
        self._replays, self._shared_replays = ReplayCache(), replays
        self._policies = {policy.issuer: policy for policy in config.issuers}
        snapshots = self._snapshots = Snapshots(config.state_keys, places, clock) if places else None
        self.issuers = {
            one.issuer: Issuer(
                one, config.keys, self._fetcher, self._forget, clock=clock, monotonic=monotonic, snapshots=snapshots
            )
            for one in config.issuers
        }
        self.max_token = config.max_token
        introspecting = next((one for one in self.issuers.values() if one.policy.introspects), None)
        client = config.introspection
        self.own_secret = OwnSecret(client.secret if client else "")
        self._opaque = (
            OpaqueTokens(
                introspecting, client, self.own_secret, self._fetcher, self._believe_introspected, clock, monotonic
            )
            if introspecting and client
            else None
        )
        self._opened = AsyncExitStack()

    def _forget(self, issuer: str, keys: Keys) -> None:
        self._cache.keep_only(issuer, keys.uses())

    async def start(self) -> None:
        """Open the connections and keep every issuer fresh; waits for none, for a start without them is allowed."""
        await self._opened.enter_async_context(self._fetcher)
        if self._opaque is not None:
            self._opened.push_async_callback(self._opaque.stop)
        with contextlib.suppress(TimeoutError):  # a store that hangs
            async with asyncio.timeout(self._config.keys.recall_s):
                await asyncio.gather(*(issuer.recall() for issuer in self.issuers.values()))
        for issuer in self.issuers.values():
            self._opened.push_async_callback(issuer.stop)
            issuer.start()

    async def stop(self) -> None:
        """End the refreshing and close the connections."""
        await self._opened.aclose()
        if self._shared_replays is not None:
            self._shared_replays.close()

    def renew_keys(self, secrets: Sequence[bytes]) -> None:
        """Seal what is kept beyond the process with others from now on."""
        if self._snapshots is not None:
            self._snapshots.renew(secrets)

    def extensions(self) -> frozenset[str]:
        """The authorization extensions that are true of the issuers, as far as their metadata is known."""
        known = [(one.policy, one.metadata.grants) for one in self.issuers.values() if one.metadata is not None]
        return frozenset().union(*(extensions.supported_extensions(policy, grants) for policy, grants in known))

    def cached(self, authorization: bytes | None) -> Principal | CacheLookup | None:
        """The caller of an unbound token that was verified before: no parsing, no await, no I/O.

        A token that is found passed `bearer.read` when it first came, so what follows the scheme is looked up as it is.
        """
        if authorization is None or not authorization.startswith(_BEARER):
            return None
        token = authorization[len(_BEARER) :]
        digest = hashlib.sha256(token).digest()
        found = self._cache.get(digest, self._clock(), self._monotonic())
        if found is None or found.confirmation is not None:
            return CacheLookup(token, digest, found)
        metrics.cache_hit()
        return found.principal

    async def authenticate(
        self,
        credentials: Credentials | NoCredentials | AccessDenied,
        proof: Proof,
        address: str = "",
        looked_up: CacheLookup | None = None,
    ) -> Principal | NoCredentials | AccessDenied:
        """Who is calling; a refusal carries the token's digest for the log.

        `address` is whose allowance an unknown opaque token is counted against. `looked_up` is what `cached` said of
        the same header: it counts for this very token only, for `bearer.read` leaves blanks out.
        """
        if not isinstance(credentials, Credentials):
            return credentials
        token = credentials.token
        seen = looked_up if looked_up is not None and looked_up.token == token else self._look_up(token)
        try:
            verified = seen.found or await self._verify(seen, address)
            if seen.found is not None:
                metrics.cache_hit()
            used = dpop.check_binding(
                verified.confirmation, token, proof, bound_scheme=credentials.bound, now=self._clock()
            )
            if used is not None:
                proof.taken = await self._take(verified.principal.key, used)
        except AccessDeniedError as refused:
            return msgspec.structs.replace(refused.refusal, token_digest=seen.digest.hex()[:16])
        return verified.principal

    def _look_up(self, token: bytes) -> CacheLookup:
        digest = hashlib.sha256(token).digest()
        return CacheLookup(token, digest, self._cache.get(digest, self._clock(), self._monotonic()))

    async def _take(self, holder: str, used: UsedProof) -> TakenProof:
        """A proof is good once: on this worker, and on all that share a store, or a table."""
        now, claim = self._clock(), ""
        if self._shared_replays is not None:
            replay_cache.claim_here(self._shared_replays, holder, used, now=now)
            return TakenProof(holder, used)
        self._replays.take(holder, used, now=now)
        if self._backend.distributed:
            try:
                claim = await replay_cache.claim(self._backend, holder, used, now=now)
            except BaseException:  # refused, also where the store is away: it takes no place here
                self._replays.give_back(holder, used)
                raise
        return TakenProof(holder, used, claim)

    async def give_back(self, proof: Proof) -> None:
        """Let a proof be good again: a limit has refused its request, by which nothing was done.

        It is taken before limits are asked, for a replay must not be counted against whose token it is. Kept, those of
        refused calls would take all of their caller's places, and a client that repeats its request would get a 401.
        """
        taken, proof.taken = proof.taken, None
        if taken is None:
            return
        if self._shared_replays is not None:
            replay_cache.give_back_here(self._shared_replays, taken.holder, taken.used, now=self._clock())
            return
        if taken.claim:  # first there: until the last one is gone it is good nowhere
            await replay_cache.give_back(self._backend, taken)
        self._replays.give_back(taken.holder, taken.used)

    def end(self, principal: Principal) -> None:
        """Refuse a token until its own end, on all workers: an exchange of it was told that its session is over."""
        ended = Revocation(
            issuer=principal.issuer,
            kind="token",
            name=principal.token_digest,
            before=EVER,
            until=principal.expires_at,
            why="an exchange of the token was told that its session has ended",
        )
        self.revocations.revoke_soon(ended)

    async def _verify(self, seen: CacheLookup, address: str) -> CachedToken:
        metrics.cache_miss()
        with Step("auth.verify") as step:
            try:
                if profile.is_jwt_shaped(seen.token) or self._opaque is None:
                    return await self._verify_jwt(seen.token, seen.digest)
                return await self._opaque.verified(seen.token, seen.digest, address)
            except AccessDeniedError as refused:
                step.failed(refused.refusal.reason.slug)
                raise

    def _believe_introspected(self, claims: VerifiedClaims, digest: bytes) -> CachedToken:
        return self._believe(claims, digest, self._monotonic() + introspection.CACHE_S, None)

    def _believe(self, claims: VerifiedClaims, digest: bytes, trusted_until: float, use: KeyUse | None) -> CachedToken:
        """Remember a token that passed, until it ends, or what vouches for it does. Raises for one that was revoked.

        In one step with the remembering: a revocation that comes later finds it in the cache.
        """
        config = self._config
        verified = CachedToken(
            principal=to_principal(claims, config.rules, client_id=config.client_id, digest=digest.hex()[:16]),
            confirmation=claims.confirmation,
            key_use=use,
            trusted_until=trusted_until,
        )
        if self.revocations.known.over(verified.principal):
            raise refuse(DenialReason.SESSION_ENDED, "revoked")
        self._cache.put(digest, verified, self._clock(), self._monotonic())
        return verified

    async def _verify_jwt(self, raw: bytes, digest: bytes) -> CachedToken:
        opened = profile.open_token(raw, self._policies, self.max_token)
        issuer = self.issuers[opened.policy.issuer]
        key = await issuer.key(opened.kid, opened.algorithm, opened.payload.get("iat"))
        claims = profile.verify(opened, key.key, now=self._clock())
        use = (opened.kid, opened.algorithm, key.thumbprint)
        return self._believe(claims, digest, issuer.keys_until, use)
