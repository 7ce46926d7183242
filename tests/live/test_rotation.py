"""Each secret is rotated while calls go on: none fails, the old value is over, and no value is anywhere to be read."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from tests.kit import wire
from tests.kit.collector import collecting
from tests.kit.managers import server as managers
from tests.kit.managers.vault import Vault
from tests.kit.served import Served, running_redis, running_server
from tests.kit.stack import until
from tests.kit.upstreams import OK, Exchange, api

pytestmark = pytest.mark.live
OLD, NEW = "the-0ld-one", "the-n3w-one"
PARTS = ("client", "redis", "state-key-of-32-characters-or-more", "upstream", "collector")


def value(part: str, which: str) -> str:
    return f"{which}-{part}"


class Api:
    """Takes the keys that it knows, and counts which it was asked with."""

    def __init__(self) -> None:
        self.known = {value("upstream", OLD), value("upstream", NEW)}
        self.seen: list[str] = []

    async def __call__(self, asked: Exchange) -> None:
        lines = dict(line.split(": ", 1) for line in asked.head.decode().lower().split("\r\n")[1:] if line)
        self.seen.append(lines.get("x-api-key", ""))
        good = self.seen[-1] in self.known
        await asked.say(OK if good else b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")


class Load:
    """Callers that go on, each call over a connection of its own, so on whichever worker; and what failed."""

    def __init__(self, served: Served, token: str) -> None:
        self.served, self.token = served, token
        self.failed: list[str] = []
        self.done = 0

    async def post(self, body: dict[str, Any], token: str = "", **headers: str) -> httpx.Response:
        sent = {"authorization": f"Bearer {token or self.token}", "accept": "application/json, text/event-stream"}
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await http.post(self.served.resource, json=body, headers={**sent, **named})

    async def result(self, body: dict[str, Any], token: str = "", **headers: str) -> dict[str, Any]:
        """Its result; raises `AssertionError` for anything else."""
        answer = await self.post(body, token, **headers)
        found = answer.json().get("result")
        assert answer.status_code == 200, answer.text
        assert found is not None, answer.text
        assert not found.get("isError"), answer.text
        return dict(found)

    async def asks_the_api(self) -> None:
        await self.result(wire.legacy("tools/call", {"name": "ask", "arguments": {}}))

    async def is_introspected(self) -> None:
        """An opaque token that nobody has seen yet; what costs an issuer is held to a few in a second."""
        store = self.served.authority.store
        opaque = store.put(store.references, self.token)
        await self.result(wire.legacy("ping"), opaque)
        await asyncio.sleep(0.3)  # a pace, and no wait for anything

    async def turns_a_page(self) -> None:
        """A cursor that one worker sealed is opened by any."""
        cursor = (await self.result(wire.legacy("tools/list")))["nextCursor"]
        await self.result(wire.legacy("tools/list", {"cursor": cursor}))

    async def has_a_session(self) -> None:
        client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        opened = await self.post(wire.legacy("initialize", client))
        assert opened.status_code == 200, opened.text
        await self.result(wire.legacy("ping"), mcp_session_id=opened.headers["mcp-session-id"])

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        over = asyncio.Event()

        async def again(act: Callable[[], Awaitable[None]]) -> None:
            while not over.is_set():
                try:
                    await act()
                    self.done += 1
                except (AssertionError, httpx.HTTPError, KeyError, ValueError) as error:
                    self.failed.append(f"{act.__name__}: {error!r}"[:500])

        acts = (self.asks_the_api, self.is_introspected, self.turns_a_page, self.has_a_session)
        callers = [asyncio.create_task(again(act)) for act in acts]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*callers)


class Secrets:
    """Where the server has them from: a manager, and one in a folder."""

    def __init__(self, vault: Vault, folder: Path, redis_port: int) -> None:
        self.vault, self.folder, self.port = vault, folder, redis_port

    def state(self, keys: str, which: str) -> None:
        self.vault.secrets = {
            "MCP_CLIENT_SECRET": value("client", which),
            "MCP_REDIS_URL": f"redis://:{value('redis', which)}@127.0.0.1:{self.port}/0",
            "MCP_STATE_KEYS": keys,
        }

    def upstream(self, which: str) -> None:
        """As Kubernetes does it: the folder that a link names is another one."""
        new = self.folder.with_name(which)
        new.mkdir()
        (new / "MCP_UPSTREAM_SECRETS").write_text(json.dumps({"key": value("upstream", which)}))
        (new / "MCP_OTLP_HEADERS").write_text(f"x-key={value('collector', which)}")
        link = self.folder.with_name("next")
        link.symlink_to(new)
        link.replace(self.folder)


def own_client(served: Served, secret: str) -> None:
    """The issuer knows this secret of the server's from now on."""
    store = served.authority.store
    client = store.clients[served.resource]
    client.client = msgspec.structs.replace(client.client, secret=secret)


def in_use(served: Served, name: str) -> int:
    """How many workers have taken a setting over."""
    lines = [json.loads(line) for line in served.log.read_text().splitlines() if line.startswith("{")]
    told = "a setting has changed, and the new one is in use"
    return sum(told in json.dumps(line) and f'"{name}"' in json.dumps(line) for line in lines)


async def test_each_secret_is_rotated_under_load(tmp_path: Path) -> None:  # noqa: PLR0915 - one server for all of them
    upstream, old_key, new_key = Api(), value(PARTS[2], OLD), value(PARTS[2], NEW)
    (tmp_path / "identity").write_text("projected")
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(running_redis(tmp_path))
        port = int(address.rpartition(":")[2].partition("/")[0])
        redis = await stack.enter_async_context(Redis.from_url(address))
        await redis.acl_setuser("operator", enabled=True, passwords=["+operators"], commands=["+@all"], keys=["*"])
        await redis.acl_setuser(
            "default",
            passwords=[f"+{value('redis', OLD)}"],
            reset_passwords=True,
            enabled=True,
            commands=["+@all"],
            keys=["*"],
            channels=["*"],
        )
        redis = await stack.enter_async_context(Redis(port=port, username="operator", password="operators"))
        vault, certificate = stack.enter_context(managers.running(tmp_path, Vault))
        places = Secrets(vault, tmp_path / "mounted", port)
        places.state(old_key, OLD)
        places.upstream(OLD)
        collector = stack.enter_context(collecting())
        told = await stack.enter_async_context(api(upstream))
        (tmp_path / "mcp.toml").write_text(
            f'[apis.api]\nbase_url = "{told.scheme}://127.0.0.1:{told.port}"\n[apis.api.identity]\nmode = "secret"\n'
            'secret = "key"\nheader = "X-Api-Key"\n'
        )
        served = await stack.enter_async_context(
            running_server(
                tmp_path,
                "tests.live.rotating:server",
                workers=2,
                page_size="1",
                config=str(tmp_path / "mcp.toml"),
                ca_file=str(certificate),
                secrets_dir=str(places.folder),
                log_level="DEBUG",
                others={
                    "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                    "OTEL_EXPORTER_OTLP_HEADERS": "x-key=of-before,x-team=ours",
                    "OTEL_BSP_SCHEDULE_DELAY": "50",
                    "OTEL_METRIC_EXPORT_INTERVAL": "50",
                },
                secrets=f"vault:https://{vault.host}/kv/data/mcp?role=mcp&token_file={tmp_path}/identity",
            )
        )
        own_client(served, value("client", OLD))
        load, pids = Load(served, await served.token("alice", "mcp:read")), served.workers()
        kept = (await load.result(wire.legacy("tools/list")))["nextCursor"]

        async def taken(*names: str) -> None:
            await until(lambda: _is(all(in_use(served, name) >= 2 for name in names)))

        async with load.going_on():
            await redis.acl_setuser("default", passwords=[f"+{value('redis', NEW)}"], enabled=True)
            places.state(f"{new_key} {old_key}", NEW)
            places.upstream(NEW)
            os.kill(served.pid, signal.SIGHUP)
            await taken(
                "MCP_CLIENT_SECRET", "MCP_REDIS_URL", "MCP_STATE_KEYS", "MCP_UPSTREAM_SECRETS", "MCP_OTLP_HEADERS"
            )
            delivered, before = len(collector.headers), load.done
            await until(lambda: _is(load.done > before + 20))  # the issuer knows only the old one yet
            own_client(served, value("client", NEW))
            upstream.known = {value("upstream", NEW)}
            await redis.acl_setuser("default", passwords=[f"-{value('redis', OLD)}"], enabled=True)
            before = load.done
            await until(lambda: _is(load.done > before + 20))
        assert load.failed == []
        assert served.workers() == pids
        await load.result(wire.legacy("tools/list", {"cursor": kept}))  # the old key opens still

        seen = len(upstream.seen)
        places.state(new_key, NEW)
        os.kill(served.pid, signal.SIGHUP)
        await until(lambda: _is(in_use(served, "MCP_STATE_KEYS") >= 4))
        over = (await load.post(wire.legacy("tools/list", {"cursor": kept}))).json()
        assert over["error"]["code"] == -32602
        await redis.client_kill_filter(_type="normal", skipme=True)
        for act in (load.has_a_session, load.asks_the_api, load.is_introspected):
            await act()
        assert set(upstream.seen[seen:]) == {value("upstream", NEW)}
        keys = [head["x-key"] for head in collector.headers]
        assert (keys[0], {head["x-team"] for head in collector.headers}) == (value("collector", OLD), {"ours"})
        # What the collector was reading at that moment is counted after it: one of each signal and worker.
        assert set(keys[delivered + 4 :]) == {value("collector", NEW)}
        assert len(collector.traces) > 0 < len(collector.metrics)
        told_by = {found["worker"]: found["told"] for found in [await childs(load) for _ in range(8)]}
        assert served.workers() == pids
        readable = [*told_by.values(), served.log.read_text(), (tmp_path / "audit.jsonl").read_text()]
        readable.append(b"".join(collector.bodies).decode("latin-1"))
        readable += [of_process(pid, name) for pid in (served.pid, *pids) for name in ("environ", "cmdline")]
        assert told_by.keys() <= {str(pid) for pid in pids}
        for text in readable:
            assert OLD not in text
            assert NEW not in text


def of_process(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


async def childs(load: Load) -> dict[str, str]:
    found = await load.result(wire.legacy("tools/call", {"name": "child", "arguments": {}}))
    return dict(json.loads(found["content"][0]["text"]))


async def _is(so: bool) -> bool:
    return so
