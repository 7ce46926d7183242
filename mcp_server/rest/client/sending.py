"""HTTP client of one API: deadline, bounds, retries, circuit breaker, and what each fault means."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final, Self

import aiohttp
import msgspec
import stamina
from aiohttp.http import HttpProcessingError, RawResponseMessage

from mcp_server.observe.log import logger
from mcp_server.rest.client import pieces
from mcp_server.rest.client.connections import Connections, Origin, PrivateAddress, taken_apart
from mcp_server.rest.client.deadline import Deadline
from mcp_server.rest.model import FaultKind, Header, UpstreamFault, WireAnswer, WireRequest
from mcp_server.rest.wire import media
from mcp_server.rest.wire.address import Base
from mcp_server.rest.wire.transport import codings, network, retries
from mcp_server.rest.wire.transport.breaker import Breaker
from mcp_server.rest.wire.transport.tries import Begun, Tries
from mcp_server.route import Route
from mcp_server.unreachable import in_words
from mcp_server.version import __version__

_UNTIMED: Final = contextlib.nullcontext()
Tried = WireAnswer | UpstreamFault | retries.Passing
"""What came of a try."""
_DEFAULTS: Final = (("accept-encoding", codings.ASKED_FOR), ("user-agent", f"mcp-server/{__version__}"))


class _OnceMore(Exception):
    """That a call is tried once more, after so many seconds or as stamina waits; nothing of the call is in it."""

    def __init__(self, why: str, seconds: float | None = None) -> None:
        super().__init__(why)
        self.seconds = seconds


def _wait(raised: Exception) -> bool | float:
    """What stamina is told of it, which keeps it in a circle of its own: it must lead to no frame of the call."""
    if not isinstance(raised, _OnceMore):
        return False
    raised.__traceback__ = raised.__context__ = None
    return True if raised.seconds is None else max(raised.seconds, 0.001)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how often an API is asked: to connect, between two pieces of an answer, tries, the first wait.

    `stream_s` is for an answer of an endless type: clients wait a minute for a result, and a call may take ten.
    """

    connect_s: float = 5.0
    read_s: float = 30.0
    stream_s: float = 45.0
    attempts: int = 3
    backoff_s: float = 0.2


class UpstreamClient:
    """HTTP client for one API; open inside `async with`, and again after it.

    It calls the origins of `bases` and nothing else. No redirect is followed, no proxy of the environment used, no
    cookie kept: one caller's would go out with another's call.
    """

    def __init__(
        self,
        bases: Iterable[Base],
        limits: Limits | None = None,
        route: Route | None = None,
        breaker: Callable[[], Breaker] = Breaker,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        bases = tuple(bases)
        self._origins = {Origin(base.scheme, base.host.strip("[]"), base.port): base.private for base in bases}
        self._limits, self._route = limits or Limits(), route or Route()
        self._breakers = {origin: breaker() for origin, private in self._origins.items() if _callable(origin, private)}
        self._monotonic, self._clock = monotonic, clock
        self._pool: Connections | None = None
        self._running, self._retired = 0, False

    async def __aenter__(self) -> Self:
        self._pool, self._retired = self._opened(), False
        return self

    def _opened(self) -> Connections:
        limits = self._limits
        return Connections(self._origins, self._route, connect_s=limits.connect_s, read_s=limits.read_s)

    async def __aexit__(self, *_: object) -> None:
        self._retired = False
        await self._close()

    async def retire(self) -> None:
        """Keep no connection from now on but those of calls: nobody new comes, and some may still hold this client."""
        self._retired = self._retired or self._pool is not None
        if not self._running:
            await self._close()

    async def _close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def send(
        self, request: WireRequest, *, deadline_s: float, max_bytes: int, headers: Iterable[Header] = ()
    ) -> WireAnswer:
        """The API's answer within the deadline, cut at `max_bytes`; raises `UpstreamFault`.

        `headers` are those that no request holds: the credential, `traceparent`.
        """
        call = Tries(request, _with_ours(request.headers, list(headers)), max_bytes, self._monotonic() + deadline_s)
        if self._retired and self._pool is None:
            self._pool = self._opened()
        self._running += 1
        try:
            with Deadline(deadline_s):
                try:
                    return await self._once(call)
                except (UpstreamFault, retries.Passing) as failed:
                    return await self._retried(call, failed)
        except TimeoutError:
            if (came := call.came()) is not None:
                return came
            text = f"the API did not answer within the {round(deadline_s, 1):g} s that it was given"
            raise _fault("timeout", text, request.method, sent=call.in_flight) from None
        finally:
            self._running -= 1
            if self._retired and not self._running:
                await self._close()

    async def _retried(self, call: Tries, tried: Tried) -> WireAnswer:
        """What further tries bring; the first was by itself, as it is nearly always the last and this costs as much."""
        try:
            async for attempt in self._attempts():
                with attempt:
                    if attempt.num > 1:
                        tried = await self._tried(call)
                    if not isinstance(tried, WireAnswer) and attempt.num < self._limits.attempts:
                        self._require_more(call, tried)
            if isinstance(tried, WireAnswer | retries.Passing):
                return tried if isinstance(tried, WireAnswer) else tried.answer
            raise tried
        finally:
            del tried

    async def _tried(self, call: Tries) -> Tried:
        """What another try brings, as a value: who retries would keep an exception, and with it all of the call."""
        try:
            return await self._once(call)
        except (UpstreamFault, retries.Passing) as failed:
            return failed.with_traceback(None)

    def _attempts(self) -> AsyncIterator[stamina.Attempt]:
        return stamina.retry_context(
            on=_wait,
            attempts=self._limits.attempts,
            timeout=None,
            wait_initial=self._limits.backoff_s,
            wait_max=5.0,
            wait_jitter=self._limits.backoff_s,
        ).__aiter__()

    def _require_more(self, call: Tries, failed: UpstreamFault | retries.Passing) -> None:
        """Raise `_OnceMore` where it is to be tried again: as stamina waits, or for as long as the API wants us to.

        It must be so long that the call has the time.
        """
        if isinstance(failed, UpstreamFault):
            if retries.repeats_after(call.request.method, failed):
                raise _OnceMore(str(failed))
            return
        wait = retries.retry_after(failed.answer.headers, self._clock())
        if wait is None or wait < call.ends_at - self._monotonic():
            raise _OnceMore(str(failed), wait)

    async def _once(self, call: "Tries") -> WireAnswer:
        """One try through the breaker; an answer that another try may better is raised as `Passing`."""
        origin, target = taken_apart(call.request.url)  # as it was pinned: not encoded again
        pool, breaker = self._ready(origin, call.request.method)
        now = self._monotonic()
        if not breaker.allows(now):
            text = f"the API cannot be reached; it is not called for another {breaker.open_for(now):.0f} s"
            raise UpstreamFault("open_circuit", text, sent=call.in_flight) from None
        try:
            answer = await self._asked(call, pool, origin, target)
        except BaseException as error:
            if call.reached:
                breaker.succeeded()
            elif isinstance(error, UpstreamFault) and error.kind != "protocol":
                self._failed(call, breaker)
            else:  # cancelled, out of time, or a request that cannot be sent: nothing is known
                breaker.given_up()
            raise
        breaker.succeeded()
        if retries.repeats(call.request.method, answer.status):
            raise retries.Passing(answer)
        return answer

    def _failed(self, call: Tries, breaker: Breaker) -> None:
        """A call fails once, however often it was tried: one that tries often says no more than another."""
        if call.failed:
            breaker.given_up()
            return
        call.failed = True
        breaker.failed(self._monotonic())

    async def _asked(self, call: Tries, pool: Connections, origin: Origin, target: str) -> WireAnswer:
        """The request and its answer; leaving it in any way but a whole answer closes the connection."""
        request = call.request
        before, call.in_flight, call.reached, call.begun = call.in_flight, True, False, None
        try:
            connection = await pool.connected(origin)
            keep = False
            try:
                message, content = await connection.ask(
                    request.method, target, call.headers, request.body, read_s=self._longest_pause(call)
                )
                call.reached = True
                answer = await self._read(message, content, call)
                keep = not answer.cut  # else the rest would be read to keep the connection
                return answer
            finally:
                connection.end(keep=keep)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError, codings.Refused) as error:
            if isinstance(error, TimeoutError) and (came := call.came()) is not None:
                return came
            kind, text, call.reached = _meaning(error, self._limits)
            call.in_flight = before or call.reached
            _tell(kind, error)
            # Not as its cause: aiohttp's exceptions hold the request with its headers, the credential among them.
            raise _fault(kind, text, request.method, sent=call.in_flight) from None

    async def _read(self, message: RawResponseMessage, content: aiohttp.StreamReader, call: Tries) -> WireAnswer:
        """The answer, decompressed piece by piece: at the bound reading ends, whatever a few bytes unpack to."""
        headers: dict[str, str] = {}
        for name, value in message.headers.items():
            name = name.lower()  # noqa: PLW2901 - the one spelling that is used
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        unpacker = codings.unpacker(headers.get("content-encoding", ""))
        begun = call.begun = Begun(message.code, headers, body := bytearray())
        endless = media.is_stream(media.type_of(headers))
        most = min(call.max_bytes, media.MAX_STREAM) if endless else call.max_bytes
        with Deadline(self._limits.stream_s) if endless else _UNTIMED:
            framing = pieces.Framing()
            while piece := await framing.next(content):
                body += piece if unpacker is None else unpacker.feed(piece, most + 1 - len(body))
                if len(body) > most:
                    return begun.answer(most=most)
        if unpacker is not None:
            unpacker.finish()
        return begun.answer()

    def _longest_pause(self, call: Tries) -> float | None:
        """A pause that the call's own end comes before needs no timer: each piece of an answer would set it anew."""
        return None if call.ends_at - self._monotonic() < self._limits.read_s else self._limits.read_s

    def _ready(self, origin: Origin, method: str) -> tuple[Connections, Breaker]:
        """What a call goes out through; raises `UpstreamFault`, which is none of the API's.

        Pinned a second time, where the socket is.
        """
        breaker = self._breakers.get(origin)
        if breaker is None:
            logger.error("a call to an address that no configuration allows was refused", scheme=origin.scheme)
            raise _fault("unreachable", "the address is not one that may be called", method, sent=False)
        if self._pool is None:
            raise _fault("unreachable", "the server is starting or stopping", method, sent=False)
        return self._pool, breaker


def _callable(origin: Origin, private: bool) -> bool:
    """Whether an origin may be called: a literal address is asked about here, for no resolver sees it."""
    return private or not network.is_literal(origin.host) or network.public(origin.host)


def _with_ours(given: Iterable[Header], ours: list[Header]) -> list[Header]:
    """The headers of a request and ours: a caller's value must not stand beside ours, or before it."""
    taken = {name.lower() for name, _ in ours}
    kept = [one for one in given if (name := one[0].lower()) not in taken or name == "cookie"]
    taken.update([name.lower() for name, _ in kept])
    return [*[one for one in _DEFAULTS if one[0] not in taken], *kept, *ours]


def _meaning(error: Exception, limits: Limits) -> tuple[FaultKind, str, bool]:
    """Kind, text, and whether the request may have reached the API."""
    match error:
        case aiohttp.ClientSSLError():
            return "tls", "no secure connection to the API: its certificate or its TLS was not accepted", False
        case aiohttp.ClientConnectorDNSError() if isinstance(error.os_error, PrivateAddress):
            return "unreachable", "the address is not one that may be called", False
        case aiohttp.ClientConnectorError() | aiohttp.ClientHttpProxyError():
            return "unreachable", "the API cannot be reached", False
        case aiohttp.ConnectionTimeoutError():
            return "timeout", f"the API accepted no connection within {limits.connect_s:g} s", False
        case TimeoutError():
            return "timeout", f"the API sent nothing for {limits.read_s:g} s, or nothing whole", True
        case codings.Refused():
            return "reset" if isinstance(error, codings.CutShort) else "protocol", error.text, True
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | OSError():
            return "reset", "the API closed the connection before its answer was whole", True
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return "protocol", "the API's answer is not valid HTTP", True
        case _:
            return "protocol", "the request cannot be sent", False


def _tell(kind: FaultKind, error: Exception) -> None:
    """What a fault hides is for the operator."""
    is_none = isinstance(error, aiohttp.ClientResponseError | HttpProcessingError)
    detail = getattr(error, "message", "") if is_none else in_words(error) or str(error)  # without the address
    logger.warning("an API gave no answer", kind=kind, error=type(error).__name__, detail=detail[:300])


def _fault(kind: FaultKind, text: str, method: str, *, sent: bool) -> UpstreamFault:
    return UpstreamFault(kind, f"{text}; {retries.advice(method, sent=sent)}", sent=sent)
