"""The embedded issuer and an MCP server over it, in this process, on real sockets."""

import asyncio
import contextlib
import itertools
import math
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from granian.constants import Interfaces
from granian.server.embed import Server as Granian

from devstack.authserver.app import AuthServer
from devstack.authserver.app import create as create_issuer
from devstack.login import fetch_token
from devstack.realm.model import read
from devstack.up import LOGOUT_CLIENTS, SERVICE_CLIENT
from mcp_server import McpPlugin, McpServer, settings
from mcp_server.app import FastPathApp
from mcp_server.observe.audit import beside
from tests.kit.servers.orders import server as orders
from tests.kit.watching import Watched

IMPLIES = '{"mcp:admin": ["mcp:write"], "mcp:write": ["mcp:read"]}'


class Running(msgspec.Struct, kw_only=True):
    """An MCP server in this process, and where its issuer is."""

    url: str
    """The issuer's."""
    resource: str
    audit: Path
    plugin: McpPlugin
    http: httpx.AsyncClient
    watched: Watched

    async def token(self, user: str, scope: str = "mcp:read") -> str:
        """An access token by a real login."""
        answer = await asyncio.to_thread(fetch_token, self.url, user, f"openid {scope}", self.resource)
        return str(answer["access_token"])

    async def post(self, body: Any, token: str | None = None, **headers: str) -> httpx.Response:
        """One POST to the endpoint; header names have `_` for `-`, and None leaves a default out."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        sent = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        if token:
            sent["authorization"] = f"Bearer {token}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(self.resource, content=content, headers=sent)

    def stop_clocks(self) -> None:
        """Those of limits: nothing comes back to a caller while a test asks, however long that takes, and no day ends."""
        limits = self.plugin._services.pipeline._limits
        stated, opaque = limits.stated._limiter.allowances, self.plugin.authenticator._opaque
        asked = None if opaque is None else opaque._limiter
        for one in (limits.rate, limits.messages, stated, asked):
            if one is not None:
                one._clock = _standing(one._clock)
        stated._wall = _standing(stated._wall)

    async def streams_closed(self) -> None:
        """Wait until the server has seen that its clients have closed their streams, which takes places until then."""
        listeners = self.plugin.runtime.listeners

        async def so() -> bool:
            return not len(listeners) and not listeners._limiter.holders

        await until(so)

    def audited(self) -> list[dict[str, Any]]:
        """The audit so far, strangers' lines among the others, in the order of their times."""
        self.plugin._audit.flush()
        files = [path for path in (self.audit, beside(self.audit)) if path.exists()]
        found = [msgspec.json.decode(line) for path in files for line in path.read_bytes().splitlines()]
        return sorted(found, key=lambda line: float(line["time"]))

    @asynccontextmanager
    async def open(
        self, body: Any = None, token: str | None = None, **headers: str
    ) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[dict[str, str]]]]:
        """A POST (a GET without a body) whose answer is read as it comes: the response and its events."""
        sent = {"accept": "application/json, text/event-stream"}
        if body is not None:
            sent["content-type"] = "application/json"
        if token:
            sent["authorization"] = f"Bearer {token}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        method = "GET" if body is None else "POST"
        content = None if body is None else msgspec.json.encode(body)
        async with self.http.stream(method, self.resource, content=content, headers=sent, timeout=30) as response:
            yield response, events(response)


class Stack(Running, kw_only=True):
    """With an embedded issuer, whose parts a test may bend."""

    issuer: AuthServer


def _standing(clock: Callable[[], float]) -> Callable[[], float]:
    now = float(math.ceil(clock()))  # a whole number: what is added to it and taken away again is what it was
    return lambda: now


async def events(response: httpx.Response) -> AsyncIterator[dict[str, str]]:
    """The fields of each server-sent event; a comment stands under the empty name."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if not line:
            if fields:
                yield fields
            fields = {}
            continue
        name, _, value = line.partition(":")
        fields[name] = value.removeprefix(" ")


def _ports() -> Iterator[int]:
    """Each process of a run has its own, below those that the kernel gives to outgoing connections."""
    place = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 10_000 + place % 4 * 5_000
    start = random.randrange(5_000)
    return (first + (start + number) % 5_000 for number in itertools.count())


_untried = _ports()


def free_port() -> int:
    """A port that nothing listens on, and that nothing else takes until it is used."""
    for port in _untried:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError


async def until(so: Callable[[], Awaitable[bool]], within_s: float = 60) -> None:
    """Wait until it is so; whoever makes it so has the processor meanwhile."""
    never = asyncio.ensure_future(asyncio.Event().wait())
    try:
        async with asyncio.timeout(within_s):
            while not await so():
                await asyncio.wait([never], timeout=0.01)
    finally:
        never.cancel()


@asynccontextmanager
async def serving(app: Any, port: int) -> AsyncIterator[None]:
    """An ASGI application under granian, until the block ends.

    Granian sets SO_REUSEPORT: of two servers at one port each would get every other connection.
    """
    assert not await listens(port), f"another server listens at {port}"
    server = Granian(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False, backlog=1024)
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: listens(port))
        yield
    finally:
        server.stop()  # type: ignore[no-untyped-call]  # granian has no types here
        await task


async def listens(port: int) -> bool:
    """Whether a connection is taken."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def until_ready(http: httpx.AsyncClient, origin: str) -> None:
    """Wait until the server can judge tokens."""

    async def ready() -> bool:
        return (await http.get(f"{origin}/readyz")).status_code == 200

    await until(ready)


@asynccontextmanager
async def running_stack(
    folder: Path, server: McpServer = orders, *, ready: bool = True, **more: str
) -> AsyncIterator[Stack]:
    """Issuer and server; `more` are settings without their prefix."""
    issuer_port, port = free_port(), free_port()
    resource = f"http://localhost:{port}/mcp"
    app, issuer = create_issuer(read(f"http://localhost:{issuer_port}/realms/mcp", resource))
    async with (
        serving(app, issuer_port),
        running_mcp(folder, issuer.realm.issuer, resource, server, ready=ready, **more) as running,
    ):
        yield Stack(issuer=issuer, **{name: getattr(running, name) for name in Running.__struct_fields__})


@asynccontextmanager
async def running_mcp(
    folder: Path, url: str, resource: str, server: McpServer = orders, *, ready: bool = True, **more: str
) -> AsyncIterator[Running]:
    """The MCP server alone, at `resource`, for an issuer that runs somewhere."""
    port = urlsplit(resource).port or 0
    environment = {
        "MCP_ISSUER": url,
        "MCP_RESOURCE": resource,
        "MCP_AUDIT_FILE": str(folder / "audit.jsonl"),
        "MCP_SERVICE_CLIENTS": SERVICE_CLIENT,
        "MCP_LOGOUT_CLIENTS": LOGOUT_CLIENTS,
        **({} if server.implied_scopes() else {"MCP_SCOPE_IMPLIES": IMPLIES}),
        **{f"MCP_{name.upper()}": value for name, value in more.items()},
    }
    loaded = settings.load(environment)
    mcp_app = FastPathApp(server, loaded)
    plugin = mcp_app.plugin
    watched = Watched(mcp_app, loaded.http.path)
    async with serving(watched, port), httpx.AsyncClient(trust_env=False, timeout=60) as http:
        if ready:
            await until_ready(http, f"http://localhost:{port}")
        audit = folder / "audit.jsonl"
        yield Running(url=url, resource=resource, audit=audit, plugin=plugin, http=http, watched=watched)
    assert not watched.wrong, watched.wrong
