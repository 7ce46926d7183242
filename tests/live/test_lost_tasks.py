"""Tasks of three processes of which one is killed and one is stopped: none is lost, none has two ends."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_server.protocol.types.tasks import EXTENSION
from mcp_server.sessions.tasks.registry import LOST, STOPPED
from tests.kit import wire
from tests.kit.served import Served, running_redis, running_server

pytestmark = pytest.mark.live
CAN: dict[str, Any] = {"extensions": {EXTENSION: {}}}
TERMINAL = ("completed", "failed", "cancelled")
GATE = "over"


class Client:
    """Modern calls of a client that knows tasks, each over a connection of its own: whichever process answers."""

    def __init__(self, http: httpx.AsyncClient, server: Served, token: str) -> None:
        self._http, self._server, self._token = http, server, token

    async def ask(self, method: str, **params: Any) -> Any:
        message = wire.modern(method, params)
        message["params"]["_meta"][f"{wire.PREFIX}clientCapabilities"] = CAN
        named = wire.headers(method, params.get("taskId") or params.get("name"))
        headers = {"authorization": f"Bearer {self._token}", "accept": "application/json, text/event-stream"}
        headers |= {key.replace("_", "-"): value for key, value in named.items()}
        async with asyncio.timeout(60):
            while True:  # a connection that waits at a process that is killed is lost with it
                try:
                    answer = await self._http.post(self._server.resource, json=message, headers=headers)
                except httpx.TransportError:
                    continue
                if answer.status_code == 200:
                    return answer.json()["result"]

    async def begin(self, tool: str, name: str) -> str:
        """A task that goes on until the test has seen which process has it and ended that."""
        result = await self.ask("tools/call", name=tool, arguments={"name": name, "seconds": 60, "gate": GATE})
        return str(result["taskId"])

    async def ends(self, task_id: str) -> Any:
        async with asyncio.timeout(60):
            while (shown := await self.ask("tasks/get", taskId=task_id))["status"] not in TERMINAL:
                await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.1)  # as clients do
        return shown


async def test_of_a_process_that_is_killed_and_one_that_is_stopped_no_task_is_lost(tmp_path: Path) -> None:
    limits = httpx.Limits(max_keepalive_connections=0)
    async with running_redis(tmp_path) as redis, httpx.AsyncClient(trust_env=False, limits=limits) as http:
        async with running_server(
            tmp_path, "tests.kit.servers.fragile:server", workers=3, redis=redis, task_lease_s="1.5", stop_s="1"
        ) as server:
            client = Client(http, server, await server.token("alice", "mcp:read"))
            once = {name: await client.begin("act", name) for name in map(str, range(6))}
            again, ran = dict[str, str](), Counter[str]()
            while len(again) < 12 or len(ran) < 2:  # one worker may take every connection of an idle machine
                name = str(len(once | again))
                again[name] = await client.begin("count", name)
                while len(begun := (tmp_path / "ran").read_text().splitlines()) < len(once | again):
                    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.02)
                ran = Counter(line.split()[1] for line in begun)
            killed, stopped = (int(pid) for pid, _ in ran.most_common(2))
            os.kill(killed, signal.SIGKILL)
            os.kill(stopped, signal.SIGTERM)
            (tmp_path / GATE).touch()
            ended = {name: await client.ends(task_id) for name, task_id in (again | once).items()}
            assert {ended[name]["status"] for name in again} == {"completed"}
            texts = {name: ended[name].get("error", {}).get("message", "") for name in once}
            assert set(texts.values()) <= {"", LOST, STOPPED}
            runs = Counter(line.split()[0] for line in (tmp_path / "ran").read_text().splitlines())
            assert all(runs[name] == 1 for name in once)
            assert sum(runs[name] for name in again) > len(again)
            for name, task_id in (again | once).items():
                assert await client.ends(task_id) == ended[name]
