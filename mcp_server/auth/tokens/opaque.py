"""Opaque tokens: one question to the issuer for each, however many ask at once, and what it said is remembered."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from mcp_server.auth.issuer.fetch import Fetcher, IssuerUnavailable
from mcp_server.auth.issuer.issuer import Clock, Issuer
from mcp_server.auth.own_secret import OwnSecret
from mcp_server.auth.refusals import AccessDenied, AccessDeniedError, DenialReason, refuse
from mcp_server.auth.tokens import introspection
from mcp_server.auth.tokens.cache import CachedToken
from mcp_server.auth.tokens.claims import VerifiedClaims
from mcp_server.auth.tokens.introspection import IntrospectionClient
from mcp_server.auth.tokens.introspection_limiter import IntrospectionLimiter
from mcp_server.observe.log import logger

MAX_REFUSED: Final = 4096
RETRY_S: Final = 5
_CLIENT_REFUSED: Final = (400, 401, 403)
"""RFC 7662 §2.3 has 401; issuers differ."""
_OF_THE_MOMENT: Final = frozenset({DenialReason.ISSUER_AWAY, DenialReason.TOO_MANY_UNKNOWN})
_NEVER: Final = (float("-inf"), AccessDenied(reason=DenialReason.INACTIVE))
_STOPPED: Final = AccessDenied(reason=DenialReason.ISSUER_AWAY, detail="the server stops", retry_after_s=RETRY_S)

Believe = Callable[[VerifiedClaims, bytes], CachedToken]
"""Keeps what was verified, and by which digest."""


class OpaqueTokens:
    """The introspection of one process, at the one issuer whose tokens may be opaque."""

    def __init__(
        self,
        issuer: Issuer,
        client: IntrospectionClient,
        own: OwnSecret,
        fetcher: Fetcher,
        believe: Believe,
        clock: Clock,
        monotonic: Clock,
    ) -> None:
        self._issuer, self._client, self._fetcher, self._believe = issuer, client, fetcher, believe
        self._own = own
        self._clock, self._monotonic = clock, monotonic
        self._limiter = IntrospectionLimiter(monotonic)
        self._refused: dict[bytes, tuple[float, AccessDenied]] = {}
        self._asking: dict[bytes, asyncio.Task[CachedToken | AccessDenied]] = {}

    async def verified(self, raw: bytes, digest: bytes, address: str) -> CachedToken:
        """A token that the issuer says is active; raises `AccessDeniedError`. Callers of one token share one question.

        It outlives the caller who began it: who hangs up ends nobody else's call. The answer is remembered before the
        question is over, so that no call in between asks again.
        """
        until, refusal = self._refused.get(digest, _NEVER)
        if until > self._monotonic():
            raise AccessDeniedError(refusal)
        asking = self._asking.get(digest)
        if asking is None:
            asking = self._asking[digest] = asyncio.create_task(self._answer(raw, digest, address))
            asking.add_done_callback(lambda _: self._asking.pop(digest, None))
        await asyncio.wait([asking])  # neither a caller who hangs up ends the question, nor its end a caller
        found = _STOPPED if asking.cancelled() else asking.result()
        if isinstance(found, AccessDenied):
            raise AccessDeniedError(found)
        return found

    async def stop(self) -> None:
        """Ask no more."""
        asking = list(self._asking.values())
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _answer(self, raw: bytes, digest: bytes, address: str) -> CachedToken | AccessDenied:
        """A refusal is a value here, for there may be nobody left to take an exception."""
        try:
            async with self._limiter.turn(address):
                return self._believe(await self._ask(raw), digest)
        except AccessDeniedError as refused:
            if refused.refusal.reason not in _OF_THE_MOMENT:
                self._remember(digest, refused.refusal)
            return refused.refusal
        except Exception as error:  # noqa: BLE001 - an answer that nobody foresaw is the issuer's fault, not the call's
            logger.opt(exception=error).error("an introspection answer was not foreseen")
            return _away(type(error).__name__).refusal

    async def _ask(self, raw: bytes) -> VerifiedClaims:
        endpoint = await self._issuer.introspection_endpoint()
        if endpoint is None:
            raise refuse(DenialReason.NOT_A_TOKEN, "opaque, and the issuer has no introspection endpoint")
        answer = await self._asked(endpoint, introspection.form(raw))
        return introspection.accept(answer, self._issuer.policy, now=self._clock())

    async def _asked(self, endpoint: str, form: dict[str, str]) -> Any:
        """The issuer's answer to whichever secret of ours it takes: while one is rotated there are two."""
        refused = ""
        for secret in self._own:
            client = msgspec.structs.replace(self._client, secret=secret)
            try:
                answer = await self._fetcher.post_form(endpoint, form, client.basic())
            except IssuerUnavailable as error:
                refused = str(error)
                if error.status not in _CLIENT_REFUSED:
                    break
            else:
                if not introspection.is_answer(answer):
                    raise _away(f"{endpoint}: no introspection answer")
                self._own.worked(secret)
                return answer
        raise _away(refused)

    def _remember(self, digest: bytes, refusal: AccessDenied) -> None:
        while len(self._refused) >= MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[digest] = self._monotonic() + introspection.CACHE_S, refusal


def _away(detail: str) -> AccessDeniedError:
    return AccessDeniedError(AccessDenied(reason=DenialReason.ISSUER_AWAY, detail=detail, retry_after_s=RETRY_S))
