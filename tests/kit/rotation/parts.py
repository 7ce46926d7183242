"""The secrets that are rotated: what each one's setting says, who takes it outside, and a call that needs it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol
from urllib.parse import quote

import httpx
import msgspec
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from tests.kit import wire
from tests.kit.collector import Collector
from tests.kit.rotation.load import Load
from tests.kit.served import Served
from tests.kit.stack import until
from tests.kit.upstreams import OK, Exchange

MARK: Final = "r0tated"
"""In every value: where it is read, one of them is."""
REFUSED: Final = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"


def value(part: str, number: int) -> str:
    """A secret after so many rotations; long enough for a key."""
    return f"{MARK}-{number}-{part}-of-32-characters-or-more"


class Part(Protocol):
    """One secret. Numbers count rotations: 0 is what it begins with."""

    @property
    def setting(self) -> str:
        """Its name."""

    def text(self, number: int) -> str:
        """What the setting says."""

    async def takes_both(self, number: int) -> None:
        """Whoever takes it takes the new one, too, where they can take two."""

    async def takes_only(self, number: int) -> None:
        """And then no other."""

    async def call(self, load: Load) -> None:
        """A call that needs it."""

    async def refuses(self, load: Load, number: int) -> bool:
        """Whether one that is over is refused."""


class ClientSecret:
    """The issuer, which begins with the server, knows one at a time; it is asked of an opaque token with it."""

    setting = "MCP_CLIENT_SECRET"

    def __init__(self) -> None:
        self._begun: Served | None = None

    @property
    def _served(self) -> Served:
        assert self._begun
        return self._begun

    def begun(self, served: Served) -> None:
        """The issuer is there."""
        self._begun = served

    def text(self, number: int) -> str:
        return value("client", number)

    async def takes_both(self, number: int) -> None:
        return

    async def takes_only(self, number: int) -> None:
        client = self._served.authority.store.clients[self._served.resource]
        client.client = msgspec.structs.replace(client.client, secret=self.text(number))

    async def call(self, load: Load) -> None:
        store = self._served.authority.store
        await load.result(wire.legacy("ping"), store.put(store.references, load.token))
        await asyncio.sleep(0.3)  # a pace, and no wait for anything: what costs an issuer is held to a few

    async def refuses(self, load: Load, number: int) -> bool:
        url = f"{self._served.issuer}/protocol/openid-connect/token/introspect"
        async with httpx.AsyncClient(trust_env=False) as http:
            basic = quote(self._served.resource, safe=""), self.text(number)
            return (await http.post(url, data={"token": "x"}, auth=basic)).status_code == 401


class RedisUrl:
    """Its user has two passwords for a while; a session of one worker is known to all by it."""

    setting = "MCP_REDIS_URL"

    def __init__(self, operator: Redis, port: int) -> None:
        self._operator, self._port = operator, port

    def text(self, number: int) -> str:
        return f"redis://:{value('redis', number)}@127.0.0.1:{self._port}/0"

    async def takes_both(self, number: int) -> None:
        await self._operator.acl_setuser("default", passwords=[f"+{value('redis', number)}"], enabled=True)

    async def takes_only(self, number: int) -> None:
        rights: dict[str, Any] = {"enabled": True, "commands": ["+@all"], "keys": ["*"], "channels": ["*"]}
        password = f"+{value('redis', number)}"
        await self._operator.acl_setuser("default", passwords=[password], reset_passwords=True, **rights)

    async def call(self, load: Load) -> None:
        client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        opened = await load.post(wire.legacy("initialize", client))
        assert opened.status_code == 200, opened.text
        await load.result(wire.legacy("ping"), mcp_session_id=opened.headers["mcp-session-id"])

    async def refuses(self, load: Load, number: int) -> bool:
        async with Redis.from_url(self.text(number)) as redis:
            try:
                await redis.ping()
            except AuthenticationError:
                return True
        return False

    async def cut(self) -> None:
        """End every connection: what comes again needs the password of now."""
        await self._operator.client_kill_filter(_type="normal", skipme=True)


class StateKeys:
    """The new one stands before the old one for one rotation; a cursor that one worker sealed is opened by any."""

    setting = "MCP_STATE_KEYS"

    def __init__(self) -> None:
        self._cursors: dict[int, str] = {}

    def text(self, number: int) -> str:
        return " ".join(value("state", one) for one in range(number, max(-1, number - 2), -1))

    def last(self, number: int) -> str:
        """Without the one before."""
        return value("state", number)

    async def takes_both(self, number: int) -> None:
        return

    async def takes_only(self, number: int) -> None:
        return

    async def call(self, load: Load) -> None:
        await self._turned(load, await self._cursor(load))

    async def refuses(self, load: Load, number: int) -> bool:
        return "error" in (await self._page(load, self._cursors[number])).json()

    async def keep(self, load: Load, number: int) -> None:
        """A cursor of now; the one before opens still."""
        self._cursors[number] = await self._cursor(load)
        if number > 0:
            await self._turned(load, self._cursors[number - 1])

    async def _cursor(self, load: Load) -> str:
        return str((await load.result(wire.legacy("tools/list")))["nextCursor"])

    async def _page(self, load: Load, cursor: str) -> httpx.Response:
        return await load.post(wire.legacy("tools/list", {"cursor": cursor}))

    async def _turned(self, load: Load, cursor: str) -> None:
        assert "result" in (await self._page(load, cursor)).json()


class UpstreamSecrets:
    """An API that takes the keys that it knows, and remembers which it was asked with."""

    setting = "MCP_UPSTREAM_SECRETS"

    def __init__(self) -> None:
        self.known = {value("upstream", 0)}
        self.seen: list[str] = []

    async def serve(self, asked: Exchange) -> None:
        lines = dict(line.split(": ", 1) for line in asked.head.decode().lower().split("\r\n")[1:] if line)
        self.seen.append(lines.get("x-api-key", ""))
        await asked.say(OK if self.seen[-1] in self.known else REFUSED)

    def text(self, number: int) -> str:
        return json.dumps({"key": value("upstream", number)})

    async def takes_both(self, number: int) -> None:
        self.known.add(value("upstream", number))

    async def takes_only(self, number: int) -> None:
        self.known = {value("upstream", number)}
        self.seen.clear()

    async def call(self, load: Load) -> None:
        await load.result(wire.legacy("tools/call", {"name": "ask", "arguments": {}}))

    async def refuses(self, load: Load, number: int) -> bool:
        return value("upstream", number) not in self.known and set(self.seen) == self.known


class OtlpHeaders:
    """A collector, which is sent whatever workers have to tell, with the header field of now."""

    setting = "MCP_OTLP_HEADERS"

    def __init__(self, collector: Collector) -> None:
        self._collector, self._from = collector, 0

    @property
    def environment(self) -> dict[str, str]:
        """What a server wants to tell it something soon; the variable has what the setting goes before."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self._collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-key=of-before,x-team=ours",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_METRIC_EXPORT_INTERVAL": "50",
        }

    @property
    def sent(self) -> str:
        """All that it was told."""
        return b"".join(self._collector.bodies).decode("latin-1")

    def text(self, number: int) -> str:
        return f"x-key={value('collector', number)}"

    async def takes_both(self, number: int) -> None:
        return

    async def takes_only(self, number: int) -> None:
        # What it was reading at that moment is counted after it: one of each signal and worker.
        self._from = len(self._collector.headers) + 4

    async def call(self, load: Load) -> None:
        before = len(self._collector.headers)
        await until(lambda: _is(len(self._collector.headers) > before))
        assert {head["x-team"] for head in self._collector.headers} == {"ours"}

    async def refuses(self, load: Load, number: int) -> bool:
        await until(lambda: _is(len(self._collector.headers) > self._from))
        return {head["x-key"] for head in self._collector.headers[self._from :]} == {value("collector", number + 1)}


async def _is(so: bool) -> bool:
    return so


@contextlib.asynccontextmanager
async def operated(address: str) -> AsyncIterator[RedisUrl]:
    """A Redis whose passwords an operator changes, who has a name of their own."""
    port = int(address.rpartition(":")[2].partition("/")[0])
    everything: dict[str, Any] = {"enabled": True, "commands": ["+@all"], "keys": ["*"]}
    async with Redis.from_url(address) as first:
        await first.acl_setuser("operator", passwords=["+operators"], **everything)
    async with Redis(port=port, username="operator", password="operators") as redis:
        part = RedisUrl(redis, port)
        await part.takes_only(0)
        yield part
