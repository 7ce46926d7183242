"""Token exchange (RFC 8693): as whom an API is called. The only place where a caller's token is opened.

The token itself never leaves but in the form to its own issuer. An API gets one of its own audience, for the scopes of
the operation; it is kept by (digest of the caller's token, audience, scopes), so nobody meets another's.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final, Self, assert_never

import msgspec

from mcp_server.auth.own_secret import OwnSecret
from mcp_server.identity import Credential, Principal
from mcp_server.observe.log import logger
from mcp_server.observe.telemetry import names
from mcp_server.observe.tracing import Step, address_of
from mcp_server.rest.client import Limits, UpstreamClient
from mcp_server.rest.model import Header, UpstreamFault, WireAnswer, WireRequest
from mcp_server.rest.offer.config import IdentityMode
from mcp_server.rest.wire import grants
from mcp_server.rest.wire.address import base_of
from mcp_server.rest.wire.grants import ClientAuth, Issued, Kind, Refusal, Wanted
from mcp_server.rest.wire.token_cache import MAX_TOKENS, Latest, TokenCache, TokenKey
from mcp_server.route import Route
from mcp_server.store.revocations import Revocation

TOTAL_S: Final = 10.0
MAX_ANSWER: Final = 64 * 1024
Endpoint = Callable[[str], Awaitable[str | None]]
"""The token endpoint of an issuer, by its metadata; None while nobody knows it."""
TEXTS: Final[dict[Kind, str]] = {
    "session_ended": "your session has ended; sign in again",
    "refused": "this server could not get access to the API for you; its operator has been told why",
    "unavailable": "this server cannot get access to the API at the moment; try again later",
    "no_caller": "the API is called on behalf of a signed-in user, and there is none",
}


class NoAccess(Exception):
    """No token for an API; the text is for the model, and says nothing of the realm. Why is in the log.

    `ended` is whether a new token of the caller's would help.
    """

    def __init__(self, kind: Kind) -> None:
        super().__init__(TEXTS[kind])
        self.kind, self.ended = kind, False


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """As whom an operation is called: with a token of `wanted`, or the named secret in `header`.

    `issuer` is where this server gets a token for itself (`client_credentials`).
    """

    mode: IdentityMode = "exchange"
    wanted: Wanted = msgspec.field(default_factory=lambda: Wanted(audience="", scopes=frozenset()))
    issuer: str = ""
    secret: str = ""
    header: str = "authorization"


class ExchangeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration of the exchange: how issuers are reached, how long one may take, how many tokens are kept."""

    total_s: float = TOTAL_S
    route: Route = msgspec.field(default_factory=Route)
    limits: Limits = msgspec.field(default_factory=Limits)
    most: int = MAX_TOKENS


class Exchange:
    """Exchanged tokens of one process; open inside `async with`, and again after it.

    `endpoint` finds an issuer's token endpoint, `secrets` are static ones by name. `on_ended` is told whose session is
    over, so that the next request with the token meets a 401, on whatever worker. `own` are the secrets of `client`.
    """

    def __init__(  # noqa: PLR0913 - what it shares with others, each by its name
        self,
        client: ClientAuth,
        endpoint: Endpoint,
        secrets: Mapping[str, str] | None = None,
        means: ExchangeConfig | None = None,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        on_ended: Callable[[Principal], None] | None = None,
        own: OwnSecret | None = None,
    ) -> None:
        self._client, self._endpoint, self._secrets = client, endpoint, dict(secrets or {})
        self._means, self._clock, self._on_ended = means or ExchangeConfig(), clock, on_ended
        self._monotonic = monotonic
        self._own = own or OwnSecret(client.secret)
        self._cache = TokenCache(self._means.most)
        self._traded = Latest(self._means.most)
        self._in_flight: dict[TokenKey, asyncio.Task[str]] = {}
        self._sockets: dict[str, UpstreamClient] = {}
        self._opened = AsyncExitStack()
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open = False  # first: nothing opens a socket any more that nobody would close
        for task in (running := list(self._in_flight.values())):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._in_flight.clear()  # of a task that had not begun, `finally` never ran
        self._sockets.clear()
        await self._opened.aclose()

    def renew_secrets(self, secrets: Mapping[str, str]) -> bool:
        """Other static secrets from now on; false where a name is gone, which an API may want."""
        if not self._secrets.keys() <= secrets.keys():
            return False
        self._secrets = dict(secrets)
        return True

    async def headers(
        self,
        identity: Identity,
        credential: Credential | None,
        rejected: str = "",
        *,
        within_s: float | None = None,
    ) -> tuple[Header, ...]:
        """The headers that say as whom; `rejected` is a token that the API did not accept. Raises `NoAccess`.

        Whoever waits longer than `within_s` has none; the token comes all the same, for the next call.
        """
        match identity.mode:
            case "exchange":
                return _bearer(await self.token(credential, identity.wanted, rejected, within_s))
            case "client_credentials":
                return _bearer(await self.own_token(identity.issuer, identity.wanted, rejected, within_s))
            case "secret":
                if identity.secret not in self._secrets:
                    raise self._refused(Refusal("refused", f"no secret is set under the name {identity.secret!r}"))
                return ((identity.header, self._secrets[identity.secret]),)
            case "none":
                return ()
            case never:
                assert_never(never)

    async def token(
        self, credential: Credential | None, wanted: Wanted, rejected: str = "", within_s: float | None = None
    ) -> str:
        """A token for the API in the caller's name; raises `NoAccess`.

        With `rejected` that token is forgotten first: the issuer may have ended its session, and is asked anew.
        """
        if credential is None:
            raise NoAccess("no_caller")
        # Its own digest, all of it: whoever finds two tokens of one short digest would be the other one to the API.
        digest = hashlib.sha256(credential.reveal()).digest()
        key = TokenKey(credential.principal.issuer, digest, wanted)
        return await self._found(key, credential, rejected, within_s)

    async def own_token(self, issuer: str, wanted: Wanted, rejected: str = "", within_s: float | None = None) -> str:
        """A token for the API in this server's own name; raises `NoAccess`."""
        return await self._found(TokenKey(issuer, b"", wanted), None, rejected, within_s)

    async def _found(self, key: TokenKey, credential: Credential | None, rejected: str, within_s: float | None) -> str:
        if not self._open:
            raise NoAccess("unavailable")
        if rejected:
            self._cache.drop(key, rejected)
        if (known := self._cache.get(key, self._monotonic())) is not None:
            return known
        fetching = self._in_flight.get(key)
        if fetching is None:  # single flight: a model calls ten tools at once, with one token
            fetching = self._in_flight[key] = asyncio.create_task(self._fetch(key, credential))
            fetching.add_done_callback(_looked_at)
        try:
            await asyncio.wait([fetching], timeout=within_s)  # who hangs up ends nobody else's exchange
            if not fetching.done() or fetching.cancelled():
                raise NoAccess("unavailable")
            return fetching.result()
        finally:
            del fetching  # what it raises has this frame in its traceback, and with it the call

    async def _fetch(self, key: TokenKey, credential: Credential | None) -> str:
        """Ends being in flight from within: a callback would run later, and a caller wait for what is done."""
        try:
            issued = await self._asked(key, credential)
        except NoAccess as refused:
            refused.ended = self._has_ended(key, credential, refused)
            if refused.ended and credential is not None and self._on_ended is not None:
                self._on_ended(credential.principal)
            raise
        finally:
            self._in_flight.pop(key, None)
        self._traded.add(key.subject)
        if issued.left_out:
            text = "the issuer left scopes out of a token for an API: the caller may lack the roles that gate them"
            logger.warning(text, audience=key.wanted.audience, left_out=sorted(issued.left_out))
        now = self._monotonic()
        whose = None if credential is None else credential.principal
        self._cache.put(key, issued, now + self._left(credential), now, whose)
        return issued.token

    def revoked(self, revocation: Revocation) -> int:
        """Forget what was traded for tokens that are over; how much that was. Their callers have no other."""
        return self._cache.end(revocation)

    def _left(self, credential: Credential | None) -> float:
        """How long the caller's token lasts, by the clock that its end is told in, which may be set."""
        return float("inf") if credential is None else _ends_at(credential) - self._clock()

    def _has_ended(self, key: TokenKey, credential: Credential | None, refused: NoAccess) -> bool:
        """Only a token that was traded before, or is past its own end and lives by the leeway alone.

        Where none can be traded everybody would be sent to sign in, for ever.
        """
        if refused.kind != "session_ended" or credential is None:
            return False
        return key.subject in self._traded or _ends_at(credential) <= self._clock()

    async def _asked(self, key: TokenKey, credential: Credential | None) -> Issued:
        subject = credential.reveal().decode("ascii", "replace") if credential else ""
        asked_at = self._monotonic()  # from when `expires_in` counts, at the earliest
        try:
            with Step("auth.exchange", "client", lambda: {names.HTTP_METHOD: "POST", **address_of(key.issuer)}) as step:
                answer = await self._taken(key, subject, asked_at + self._means.total_s)
                step.answered(answer.status)
        except (UpstreamFault, ValueError) as fault:
            raise self._refused(Refusal("unavailable", f"the token endpoint of {key.issuer}: {fault}")) from None
        except TimeoutError:
            raise self._refused(Refusal("unavailable", f"the token endpoint of {key.issuer}: too slow")) from None
        found = grants.read(
            answer.status, answer.body, wanted=key.wanted, client=self._client, now=asked_at, subject=subject
        )
        if isinstance(found, Refusal):
            raise self._refused(found)
        return found

    async def _taken(self, key: TokenKey, subject: str, ends_at: float) -> WireAnswer:
        """The answer to whichever secret of ours the issuer takes: while one is rotated there are two."""
        answer: WireAnswer | None = None
        for secret in self._own:
            client = msgspec.structs.replace(self._client, secret=secret)
            form = grants.exchange_body(subject, key.wanted, client) if subject else grants.own_body(key.wanted, client)
            answer = await self._posted(key.issuer, client, form, ends_at)
            if not grants.client_refused(answer.status, answer.body):
                if answer.status < 500:
                    self._own.worked(secret)
                break
        assert answer is not None  # noqa: S101 - there is always one secret
        return answer

    async def _posted(self, issuer: str, client: ClientAuth, form: bytes, ends_at: float) -> WireAnswer:
        async with asyncio.timeout(self._means.total_s):  # its metadata may have to be fetched first
            url = await self._endpoint(issuer)
        if url is None:
            raise self._refused(Refusal("unavailable", f"the token endpoint of {issuer} is not known"))
        request = WireRequest(method="POST", url=url, headers=_FORM, body=form)
        return await (await self._socket(url)).send(
            request,
            deadline_s=max(ends_at - self._monotonic(), 0.0),
            max_bytes=MAX_ANSWER,
            headers=client.headers(),
        )

    async def _socket(self, url: str) -> UpstreamClient:
        """The client for the endpoint's origin: the word of an issuer whom the operator named."""
        base = base_of(url, private=True)
        if base.origin not in self._sockets:
            made = UpstreamClient([base], self._means.limits, self._means.route)
            self._sockets[base.origin] = await self._opened.enter_async_context(made)
        return self._sockets[base.origin]

    def _refused(self, refusal: Refusal) -> NoAccess:
        """For the operator the line, for the model a text that tells nothing."""
        logger.warning("no token for an API", kind=refusal.kind, cure=refusal.line)
        return NoAccess(refusal.kind)


_FORM: Final[tuple[Header, ...]] = (
    ("accept", "application/json"),
    ("content-type", "application/x-www-form-urlencoded"),
)


def _looked_at(done: asyncio.Task[str]) -> None:
    """A failure is known though all who waited for it have gone, and is no exception that nobody retrieved."""
    if not done.cancelled():
        done.exception()


def _bearer(token: str) -> tuple[Header, ...]:
    return (("authorization", f"Bearer {token}"),)


def _ends_at(credential: Credential) -> float:
    """When the caller's token ends: its own `exp`, for `expires_at` is later by the leeway."""
    stated = credential.principal.claims.get("exp")
    return float(stated) if isinstance(stated, int | float) else credential.principal.expires_at
