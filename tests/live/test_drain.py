"""A signal to stop, a crash, a worker that hangs, a parent that is killed: what has begun ends well, others go on."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.kit import wire
from tests.kit.served import Served, running, running_server
from tests.kit.stack import until

pytestmark = pytest.mark.live
SERVER = "tests.kit.servers.fragile:server"
LISTEN = wire.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})


class Client:
    """Modern calls with one token, each over a connection of its own."""

    def __init__(self, server: Served, token: str) -> None:
        self.server, self.token = server, token

    def headers(self, method: str, name: str | None = None) -> dict[str, str]:
        named = {key.replace("_", "-"): value for key, value in wire.headers(method, name).items()}
        accepted = {"accept": "application/json, text/event-stream"}
        return {"authorization": f"Bearer {self.token}", **accepted, **named}

    async def call(self, tool: str, **arguments: Any) -> httpx.Response:
        body = wire.modern("tools/call", {"name": tool, "arguments": arguments})
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            return await http.post(self.server.resource, json=body, headers=self.headers("tools/call", tool))

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as http:
            return await http.get(f"http://localhost:{self.server.port}{path}")

    async def listen(self, opened: asyncio.Event) -> str:
        """Everything that a subscription is told to its end."""
        async with (
            httpx.AsyncClient(trust_env=False, timeout=60) as http,
            http.stream("POST", self.server.resource, json=LISTEN, headers=self.headers(LISTEN["method"])) as answer,
        ):
            said = ""
            async for part in answer.aiter_text():
                said += part
                opened.set()
            return said

    async def half(self, text: str) -> bytes:
        """What a client gets that never ends its request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        writer.write(text.encode())
        with contextlib.suppress(ConnectionError):
            got = await reader.read()
        writer.close()
        return got

    async def says(self, tool: str, text: str) -> bool:
        return text in (await self.call(tool)).text

    async def answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await self.call("process")).status_code == 200
        return False


@contextlib.asynccontextmanager
async def fragile(folder: Path, **more: Any) -> AsyncIterator[Client]:
    """A server of long calls."""
    async with running_server(folder, SERVER, **more) as server:
        yield Client(server, await server.token("alice", "mcp:read"))


async def over(pid: int) -> None:
    """Wait until a process runs no more."""

    async def gone() -> bool:
        return not running(pid)

    await until(gone)


async def test_a_signal_to_stop_costs_no_call_that_ends_in_time_and_tells_the_rest(tmp_path: Path) -> None:
    async with fragile(tmp_path, drain_s="3", stop_s="2") as client, asyncio.TaskGroup() as group:
        opened, server = asyncio.Event(), client.server
        listening = group.create_task(client.listen(opened))
        short, long = (group.create_task(client.call("wait", seconds=60, gate=gate)) for gate in ("over", ""))
        head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\n"
        known = (
            f"{head}authorization: Bearer {client.token}\r\ncontent-type: application/json\r\n"
            "accept: application/json, text/event-stream\r\ncontent-length: 99\r\n\r\nhalf a bo"
        )
        body, silent = (group.create_task(client.half(text)) for text in (known, head))
        await opened.wait()
        await until(lambda: client.says("begun", "2"))

        async def noted() -> bool:  # what is over before that has an end alone
            return (tmp_path / "audit.jsonl").read_text().count('"decision":"begun"') == 2

        await until(noted)
        os.kill(server.pid, signal.SIGTERM)

        async def draining() -> bool:
            return (await client.get("/readyz")).status_code == 503

        await until(draining)
        ready, called = await asyncio.gather(client.get("/readyz"), client.call("process"))
        assert ready.json()["status"] == "draining"
        assert (called.status_code, called.headers["connection"], ready.headers["connection"]) == (
            200,
            "close",
            "close",
        )
        async with httpx.AsyncClient(trust_env=False) as http:
            late = await http.post(server.resource, json=LISTEN, headers=client.headers(LISTEN["method"]))
        assert (late.status_code, late.headers["retry-after"]) == (503, "2")
        (tmp_path / "over").touch()
        await over(server.pid)
    assert '"resultType":"complete"' in listening.result()
    assert (short.result().status_code, long.result().status_code) == (200, 503)
    # It began before the signal, and its connection is kept by nobody to be closed under the next request.
    assert short.result().headers["connection"] == "close"
    assert long.result().json()["error"]["code"] == -32603
    assert "retry-after" not in long.result().headers
    assert b" 503 " in body.result().splitlines()[0]
    assert silent.result() == b""
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    calls = [line for line in lines if line.get("tool") == "wait"]
    ended = {line["call"]: line.get("reason", "") for line in calls if line["decision"] != "begun"}
    assert sorted(ended.values()) == ["", "stopping"]
    assert sorted(line["call"] for line in calls if line["decision"] == "begun") == sorted(ended)
    log = server.log.read_text()
    assert '"calls are ended' in log
    assert '"connections are left open' in log


async def test_workers_that_crash_or_hang_are_replaced_and_none_outlives_its_parent(tmp_path: Path) -> None:
    async with fragile(tmp_path, drain_s="0", stop_s="1", hung_worker_s="2") as client:
        server = client.server
        for _ in range(2):  # granian gives up at the second crash within 5.5 seconds
            with pytest.raises(httpx.TransportError):
                await client.call("crash")
            await until(client.answers)
        before = server.workers()
        with pytest.raises(httpx.TransportError):
            await client.call("block")
        await until(client.answers)
        assert not set(before) & set(server.workers())
        orphan = server.workers()[0]
        os.kill(server.pid, signal.SIGKILL)
        await over(orphan)
    log = server.log.read_text()
    assert log.count('"a worker has crashed') == 3
    assert '"a worker hangs' in log
    assert "\"an issuer's keys are recalled" in log  # by each that came after the first
