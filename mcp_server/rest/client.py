"""HTTP client of imported APIs, and their only socket: bounded in time and bytes, pinned to the hosts it was made for.

aiohttp, by measurement (docs/decisions/0016).
"""

import asyncio
import contextlib
import functools
import io
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, Self

import aiohttp
import msgspec
import stamina
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from mcp_server.observe.log import logger
from mcp_server.rest.model import FaultKind, Header, UpstreamFault, WireAnswer, WireRequest
from mcp_server.rest.wire import media
from mcp_server.rest.wire.address import Base
from mcp_server.rest.wire.transport import codings, network, retries
from mcp_server.rest.wire.transport.breaker import Breaker
from mcp_server.rest.wire.transport.tries import Begun, Tries
from mcp_server.route import Route
from mcp_server.version import __version__

_UNTIMED: Final = contextlib.nullcontext()
COPIED: Final = 1024 * 1024
"""Bytes: a longer body is handed over as a file, for aiohttp writes bytes in one piece."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how often an API is asked: to connect, between two pieces of an answer, tries, the first wait.

    `stream_s` is for an answer of an endless type: clients wait a minute for a result, and a call may take ten.
    """

    connect_s: float = 5.0
    read_s: float = 30.0
    stream_s: float = 45.0
    attempts: int = 3
    backoff_s: float = 0.2


class PrivateAddress(OSError):
    """A name leads to an address inside, and no operator has named it."""


class _CheckedResolver(AbstractResolver):
    """Resolver that looks at each address when it is connected to: whoever rebinds a name afterwards gains nothing."""

    def __init__(self, inside: frozenset[tuple[str, int]]) -> None:
        self._inside = inside
        self._resolver = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if (host, port) not in self._inside and not all(network.public(one["host"]) for one in found):
            raise PrivateAddress(f"{host} leads to an address that is not public")
        return found

    async def close(self) -> None:
        """Nothing is held."""


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
        self._origins = {(base.scheme, base.host.strip("[]"), base.port): base.private for base in bases}
        self._limits, self._route = limits or Limits(), route or Route()
        self._breakers = {origin: breaker() for origin in self._origins}
        self._proxies = {host: self._route.through(host) or None for _, host, _ in self._origins}
        self._monotonic, self._clock = monotonic, clock
        self._session: aiohttp.ClientSession | None = None
        self._running, self._retired = 0, False
        connect_s, read_s = self._limits.connect_s, self._limits.read_s
        self._pausing = aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=read_s)
        self._whole = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)

    async def __aenter__(self) -> Self:
        self._session, self._retired = self._opened(), False
        return self

    def _opened(self) -> aiohttp.ClientSession:
        inside = {(host, port) for (_, host, port), private in self._origins.items() if private}
        for one in filter(None, self._proxies.values()):  # which the operator named, too
            proxy = yarl.URL(one)
            inside.add((proxy.raw_host or "", proxy.port or 0))
        connector = aiohttp.TCPConnector(
            limit=0,  # calls are limited for each caller; a pool's bound would be shared, and one could take it whole
            ssl=trusting(self._route.ca_file),
            resolver=_CheckedResolver(frozenset(inside)),
            socket_factory=self._socket,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,  # a gzip that stops half way would be taken for a whole one
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            headers={"accept-encoding": codings.ASKED_FOR, "user-agent": f"mcp-server/{__version__}"},
        )
        # Its own second try is not counted by ours, and tells of a call that was sent that nothing was.
        session._retry_connection = False  # noqa: SLF001 - no option says it; a test holds it
        return session

    def _socket(self, address: Any) -> socket.socket:
        """A socket that ends by itself: what a cancelled call left unsent would be kept until the API reads it."""
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._limits.read_s * 1000))
        return made

    async def __aexit__(self, *_: object) -> None:
        self._retired = False
        await self._close()

    async def retire(self) -> None:
        """Keep no connection from now on but those of calls: nobody new comes, and some may still hold this client."""
        self._retired = self._retired or self._session is not None
        if not self._running:
            await self._close()

    async def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(
        self, request: WireRequest, *, deadline_s: float, max_bytes: int, headers: Iterable[Header] = ()
    ) -> WireAnswer:
        """The API's answer within the deadline, cut at `max_bytes`; raises `UpstreamFault`.

        `headers` are those that no request holds: the credential, `traceparent`.
        """
        call = Tries(request, _with_ours(request.headers, list(headers)), max_bytes, self._monotonic() + deadline_s)
        if self._retired and self._session is None:
            self._session = self._opened()
        self._running += 1
        try:
            async with asyncio.timeout(deadline_s):
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

    async def _retried(self, call: "Tries", first: UpstreamFault | retries.Passing) -> WireAnswer:
        """What further tries bring; the first was by itself, as it is nearly always the last and this costs as much."""
        try:
            if not self._again(call, first):
                raise first
            async for attempt in self._attempts(call):
                with attempt:
                    if attempt.num == 1:
                        raise first
                    return await self._once(call)
        except retries.Passing as last:
            return last.answer
        raise AssertionError("retrying ends in an answer or an exception")  # pragma: no cover

    def _attempts(self, call: "Tries") -> AsyncIterator[stamina.Attempt]:
        return stamina.retry_context(
            on=lambda failed: self._again(call, failed),
            attempts=self._limits.attempts,
            timeout=None,
            wait_initial=self._limits.backoff_s,
            wait_max=5.0,
            wait_jitter=self._limits.backoff_s,
        ).__aiter__()

    def _again(self, call: "Tries", failed: Exception) -> bool | float:
        """Whether to try again; a number is how long the API wants us to wait, if the call has so much time."""
        if isinstance(failed, UpstreamFault):
            return self._limits.attempts > 1 and retries.repeats_after(call.request.method, failed)
        if not isinstance(failed, retries.Passing) or self._limits.attempts < 2:
            return False
        wait = retries.retry_after(failed.answer.headers, self._clock())
        if wait is None:
            return True
        return wait < call.ends_at - self._monotonic() and max(wait, 0.001)

    async def _once(self, call: "Tries") -> WireAnswer:
        """One try through the breaker; an answer that another try may better is raised as `Passing`."""
        url = yarl.URL(call.request.url, encoded=True)  # as it was pinned: not encoded again
        session, breaker = self._ready(url, call.request.method)
        now = self._monotonic()
        if not breaker.allows(now):
            text = f"the API cannot be reached; it is not called for another {breaker.open_for(now):.0f} s"
            raise UpstreamFault("open_circuit", text, sent=call.in_flight) from None
        try:
            answer = await self._asked(call, url, session)
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

    async def _asked(self, call: Tries, url: yarl.URL, session: aiohttp.ClientSession) -> WireAnswer:
        """The request and its answer; leaving it in any way but a whole answer closes the connection."""
        request = call.request
        body = request.body if len(request.body) <= COPIED else io.BytesIO(request.body)
        before, call.in_flight, call.reached, call.begun = call.in_flight, True, False, None
        try:
            async with session.request(
                request.method,
                url,
                headers=call.headers,
                data=body or None,
                skip_auto_headers=call.left_out,
                allow_redirects=False,
                proxy=self._proxies.get(url.raw_host or ""),
                timeout=self._timeout(call),
            ) as response:
                call.reached = True
                try:
                    return await self._read(response, call)
                except BaseException:
                    response.close()  # what was not read whole is not waited for, and leaves no connection to keep
                    raise
        except (aiohttp.ClientError, OSError, ValueError, codings.Refused) as error:
            if isinstance(error, TimeoutError) and (came := call.came()) is not None:
                return came
            kind, text, call.reached = _meaning(error, self._limits)
            call.in_flight = before or call.reached
            _tell(kind, error)
            # Not as its cause: aiohttp's exceptions hold the request with its headers, the credential among them.
            raise _fault(kind, text, request.method, sent=call.in_flight) from None

    async def _read(self, response: aiohttp.ClientResponse, call: Tries) -> WireAnswer:
        """The answer, decompressed piece by piece: at the bound reading ends, whatever a few bytes unpack to."""
        headers: dict[str, str] = {}
        for name, value in response.headers.items():
            name = name.lower()  # noqa: PLW2901 - the one spelling that is used
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        unpacker = codings.unpacker(headers.get("content-encoding", ""))
        begun = call.begun = Begun(response.status, headers, body := bytearray())
        endless = media.is_stream(media.type_of(headers))
        most = min(call.max_bytes, media.MAX_STREAM) if endless else call.max_bytes
        async with asyncio.timeout(self._limits.stream_s) if endless else _UNTIMED:
            while piece := await response.content.readany():
                body += piece if unpacker is None else unpacker.feed(piece, most + 1 - len(body))
                if len(body) > most:
                    response.close()  # else the rest would be read to keep the connection
                    return begun.answer(most=most)
        if unpacker is not None:
            unpacker.finish()
        return begun.answer()

    def _timeout(self, call: Tries) -> aiohttp.ClientTimeout:
        """A pause that the call's own end comes before needs no timer: each piece of an answer would set it anew."""
        return self._whole if call.ends_at - self._monotonic() < self._limits.read_s else self._pausing

    def _ready(self, url: yarl.URL, method: str) -> tuple[aiohttp.ClientSession, Breaker]:
        """What a call goes out through; raises `UpstreamFault`, which is none of the API's.

        Pinned a second time, where the socket is. A literal address is asked about here: no resolver sees it.
        """
        host = url.raw_host or ""  # as bases have it, and resolvers: `host` of an internationalized one is decoded
        origin = (url.scheme, host, url.port or 0)
        private = self._origins.get(origin)
        if private is None or (not private and network.is_literal(host) and not network.public(host)):
            logger.error("a call to an address that no configuration allows was refused", scheme=url.scheme)
            raise _fault("unreachable", "the address is not one that may be called", method, sent=False)
        if self._session is None:
            raise _fault("unreachable", "the server is starting or stopping", method, sent=False)
        return self._session, self._breakers[origin]


def _with_ours(given: Iterable[Header], ours: list[Header]) -> list[Header]:
    """The headers of a request and ours: a caller's value must not stand beside ours, or before it."""
    taken = {name.lower() for name, _ in ours}
    return [*(one for one in given if (name := one[0].lower()) not in taken or name == "cookie"), *ours]


def trusting(ca_file: str) -> ssl.SSLContext:
    """The settings that believe the system's authorities, and those of a file beside them.

    Each client would else hold the system's anew, half a megabyte. A file that has changed is read again: by the
    clients that are opened then.
    """
    system = ssl.get_default_verify_paths()
    return _context(ca_file, tuple(map(_changed, (ca_file, system.cafile or "", system.capath or ""))))


@functools.lru_cache(maxsize=8)
def _context(ca_file: str, _: tuple[int, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns if path else 0  # noqa: PTH116 - of three texts, at each opening
    except OSError:  # what it means is said where it is read
        return 0


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
        case aiohttp.ClientResponseError():
            return "protocol", "the API's answer is not valid HTTP", True
        case _:
            return "protocol", "the request cannot be sent", False


def _tell(kind: FaultKind, error: Exception) -> None:
    """What a fault hides is for the operator."""
    detail = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)  # without the address
    logger.warning("an API gave no answer", kind=kind, error=type(error).__name__, detail=detail[:300])


def _fault(kind: FaultKind, text: str, method: str, *, sent: bool) -> UpstreamFault:
    return UpstreamFault(kind, f"{text}; {retries.advice(method, sent=sent)}", sent=sent)
