"""Connection pool of an API's origins, and one request over a connection of it.

Pool, TLS, proxies and parser are aiohttp's. Its session is left out: it does for each request what is known of an
origin before, and that took two fifths of a call (docs/decisions/0016).
"""

import asyncio
import functools
import os
import re
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from weakref import WeakSet

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage, StreamWriter
from aiohttp.resolver import ThreadedResolver

from mcp_server.rest.model import Header
from mcp_server.rest.wire.transport import network
from mcp_server.rest.wire.transport.heads import head
from mcp_server.route import Route

try:
    import fcntl
    from termios import FIONREAD, TIOCOUTQ
except ImportError:  # Windows tells of nothing that it holds
    fcntl, FIONREAD, TIOCOUTQ = None, 0, 0  # type: ignore[assignment, misc]

COPIED: Final = 1024 * 1024
"""Bytes of a body that are written in one piece, with the head; a longer one as fast as it is taken."""
PIECE: Final = 64 * 1024
MAX_UNFIT: Final = 64
"""Kept connections that one call passes over: of an API that speaks before it is asked, each new one is unfit, too."""
MAX_INTERIM: Final = 32
"""Interim answers before the answer: each is work, and an API that sends nothing else would have the loop for it."""
BODY_UNEXPECTED: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})
"""Methods whose body has no meaning that all servers know: they may take it for the next request (RFC 9110 §9.3.5)."""
_ADDRESS: Final = re.compile(r"((?:[^/?#]*//[^/?#]*)?)([^#]*)")
"""What stands before the path, and the rest without the fragment: any text fits."""


class Origin(NamedTuple):
    """Where a connection leads, as addresses have it: an internationalized host is punycode."""

    scheme: str
    host: str
    port: int


def taken_apart(url: str) -> tuple[Origin, str]:
    """Where an address leads, and what is asked for there: as it is, nothing encoded or resolved."""
    begins, target = _ADDRESS.findall(url)[0]
    return _origin(begins), target if target[:1] == "/" else f"/{target}"


@functools.lru_cache(maxsize=256)
def _origin(begins: str) -> Origin:
    url = yarl.URL(begins, encoded=True)
    return Origin(url.scheme, url.raw_host or "", url.port or 0)


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


class Connections:
    """Connection pool of one client; made on the loop that it serves. `origins` says which may be inside."""

    def __init__(self, origins: Mapping[Origin, bool], route: Route, *, connect_s: float, read_s: float) -> None:
        loop = asyncio.get_running_loop()
        proxies = {one: yarl.URL(proxy) if (proxy := route.through(one.host)) else None for one in origins}
        inside = {(one.host, one.port) for one, private in origins.items() if private}
        inside |= {(proxy.raw_host or "", proxy.port or 0) for proxy in proxies.values() if proxy}  # the operator's too
        self._unsent_s = read_s
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        self._connector = aiohttp.TCPConnector(
            limit=0,  # calls are limited for each caller; a pool's bound would be shared, and one could take it whole
            ssl=trusting(route.ca_file),
            resolver=_CheckedResolver(frozenset(inside)),
            socket_factory=self._socket,
        )
        self._encrypted = WeakSet[ResponseHandler]()
        """The connections over TLS that were handed out before."""
        self._leading = {
            one: aiohttp.ClientRequest("GET", _address(one), proxy=proxies[one], loop=loop) for one in origins
        }

    async def close(self) -> None:
        """Close all connections, those of calls too."""
        await self._connector.close()

    async def connected(self, origin: Origin) -> "PooledConnection":
        """A connection to one of the origins, kept or new; raises aiohttp's errors, and those of the resolver.

        None on which something came while it was kept: that would be read as the answer of whoever calls next.
        """
        leading = self._leading[origin]
        for _ in range(MAX_UNFIT):
            try:
                connection = await self._connector.connect(leading, [], self._timeout)
            except TimeoutError as late:
                raise aiohttp.ConnectionTimeoutError from late
            if connection.protocol is not None and self._is_silent(connection.protocol):
                return PooledConnection(connection, leading)
            connection.close()
        raise aiohttp.ClientConnectionResetError("the API speaks before it is asked")

    def _is_silent(self, protocol: ResponseHandler) -> bool:
        """Whether nothing has come that nobody asked for: also at the socket, where it lies while the loop is busy.

        What lies there of a new connection over TLS may be of its handshake, as tickets are.
        """
        transport = protocol.transport
        if protocol.should_close or transport is None:
            return False
        if transport.get_extra_info("ssl_object") is not None and protocol not in self._encrypted:
            self._encrypted.add(protocol)
            return True
        return not _kernel_holds(transport, FIONREAD)

    def _socket(self, address: Any) -> socket.socket:
        """A socket that ends by itself: what a cancelled call left unsent would be kept until the API reads it."""
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._unsent_s * 1000))
        return made


class PooledConnection:
    """One request and its answer over a connection, which `end` gives back."""

    __slots__ = ("_connection", "_leading", "_left", "_writing")

    def __init__(self, connection: Connection, leading: aiohttp.ClientRequest) -> None:
        self._connection, self._leading = connection, leading
        self._writing: asyncio.Task[None] | None = None
        self._left = False
        """Whether something of the request or of the answer may be on its way yet."""

    async def ask(
        self, method: str, target: str, headers: list[Header], body: bytes, *, read_s: float | None
    ) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
        """Send the request; the head of the answer, and its body, which is read from there, still compressed.

        No pause may be longer than `read_s`, from when the body was written on.
        """
        host = self._leading.headers["host"]
        if self._leading.proxy and not self._leading.is_ssl():  # RFC 9112 §3.2.2
            target = f"http://{host}{target}"
            headers = headers + [one for one in self._leading.headers.items() if one[0] == "Proxy-Authorization"]
        begin = head(method, target, host, headers, len(body))
        protocol = self._connection.protocol
        if protocol is None or (transport := protocol.transport) is None or transport.is_closing():
            raise aiohttp.ClientConnectionResetError("the connection was closed before anything was written")
        protocol.set_response_params(
            skip_payload=method == "HEAD", read_until_eof=True, auto_decompress=False, read_timeout=read_s
        )  # not decompressed: a gzip that stops half way would be taken for a whole one
        if len(body) <= COPIED:
            transport.write(begin + body)
            protocol.start_timeout()
        else:
            transport.write(begin)
            self._writing = asyncio.create_task(_written(protocol, body))
        for _ in range(MAX_INTERIM + 1):
            message, content = await protocol.read()
            if not 100 <= message.code < 200 or message.code == 101:  # RFC 9110 §15.2: the answer comes after these
                self._left = _may_be_unread(transport, method, body, message.code) or _may_go_on(method, message)
                return message, content
        raise HttpProcessingError(message=f"more than {MAX_INTERIM} interim answers")

    def end(self, *, keep: bool) -> None:
        """Give the connection back, or close it: an answer of which something is to come would be the next one's."""
        if self._writing is not None and not self._writing.done():
            self._writing.cancel()
            keep = False
        protocol = self._connection.protocol
        if keep and not self._left and protocol is not None and _is_between(protocol):
            self._connection.release()
        else:
            self._connection.close()


def _may_be_unread(transport: asyncio.WriteTransport, method: str, body: bytes, status: int) -> bool:
    """Whether an API may answer without having read the whole request: what is left would be its next request.

    A caller chooses what stands in a body: a request of its own, whose answer the next caller would get, or the lines
    before the next caller's credential. Who does not do what was asked may have looked at the head alone, however short
    the body is (RFC 9112 §9.3 wants it to read on or to close, and not all do); so may who expects no body there. Of
    what else is answered it is known how much the API's machine has not taken; a short body has arrived with its head.
    """
    if not body:
        return False
    if method in BODY_UNEXPECTED or not 200 <= status < 300:
        return True
    return len(body) > PIECE and (transport.get_write_buffer_size() > 0 or _kernel_holds(transport, TIOCOUTQ))


def _may_go_on(method: str, message: RawResponseMessage) -> bool:
    """Whether a body may come behind an answer that has none, and says how long it would be (RFC 9110 §6.4.1).

    Who sends it all the same sends what may be one caller's text, and look like the answer to the next.
    """
    if method != "HEAD" and message.code not in (204, 304):
        return False
    return message.headers.get("content-length", "0") != "0" or "transfer-encoding" in message.headers


def _is_between(protocol: ResponseHandler) -> bool:
    """Whether nothing has begun behind the answer; what comes from now on is kept, and the connection unfit for it.

    The answer's parser takes a blank line and half a head, and says nothing of them: whose rest comes when the next
    request is there would be the answer to that one. Each request has a parser of its own.
    """
    parser, protocol._parser = protocol._parser, None  # noqa: SLF001 - there is no other way to its `_tail`
    if parser is None:
        return False
    try:
        return parser.feed_eof() is None
    except Exception:  # noqa: BLE001 - of what came behind it, whatever that is: the answer itself is whole
        return False


def _kernel_holds(transport: asyncio.BaseTransport, what: int) -> bool:
    """Whether bytes lie at a socket: those that came (FIONREAD), or those that nobody has acknowledged (TIOCOUTQ).

    Each answer acknowledges what was taken.
    """
    if fcntl is None or (held := transport.get_extra_info("socket")) is None:
        return False
    try:
        lying: bytes = fcntl.ioctl(held.fileno(), what, bytes(4))
    except OSError:
        return False
    return any(lying)


async def _written(protocol: ResponseHandler, body: bytes) -> None:
    """Write a long body in pieces; who waits for the answer is told where it cannot be written."""
    writer = StreamWriter(protocol, asyncio.get_running_loop())
    view = memoryview(body)
    try:
        for at in range(0, len(view), PIECE):
            await writer.write(view[at : at + PIECE])
        await writer.drain()
        protocol.start_timeout()
    except OSError as failed:
        protocol.set_exception(failed)


def _address(origin: Origin) -> yarl.URL:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return yarl.URL(f"{origin.scheme}://{host}:{origin.port}/", encoded=True)


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
