"""What cannot take lines stops nothing: outputs that nobody reads, a disk that is full, a worker that is killed."""

import asyncio
import fcntl
import json
import os
import resource
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.kit import wire
from tests.kit.served import Served, running_server
from tests.kit.stack import until

pytestmark = pytest.mark.live
SERVER = "tests.kit.servers.fragile:server"
CALLS, AT_ONCE = 120, 40
PAGE = 4096
"""Bytes that a pipe holds here: some ten lines."""


class Client:
    """Calls on kept connections, and what the audit says of them."""

    def __init__(self, server: Served, token: str, http: httpx.AsyncClient) -> None:
        self.server, self.token, self.http = server, token, http

    async def call(self, tool: str, token: str | None = None, **arguments: Any) -> int:
        named = {key.replace("_", "-"): value for key, value in wire.headers("tools/call", tool).items()}
        headers = {"accept": "application/json, text/event-stream", "authorization": f"Bearer {token or self.token}"}
        body = wire.modern("tools/call", {"name": tool, "arguments": arguments})
        return (await self.http.post(self.server.resource, json=body, headers={**headers, **named})).status_code

    async def flood(self, token: str | None = None) -> Counter[int]:
        """Many calls, so many at once."""
        found = Counter[int]()
        for _ in range(CALLS // AT_ONCE):
            found.update(await asyncio.gather(*(self.call("process", token) for _ in range(AT_ONCE))))
        return found

    async def get(self, path: str) -> httpx.Response:
        return await self.http.get(f"http://localhost:{self.server.port}{path}")

    async def ready(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.get("/readyz")).json()
        return found


class Pipe:
    """Whose other end nobody reads, until it is read."""

    def __init__(self) -> None:
        self.source, self.end = os.pipe()
        fcntl.fcntl(self.end, fcntl.F_SETPIPE_SZ, PAGE)
        os.set_blocking(self.source, False)
        self.data = bytearray()

    def read(self) -> None:
        """What is there now."""
        try:
            while part := os.read(self.source, 1 << 20):
                self.data += part
        except BlockingIOError:
            pass

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.data.splitlines()]


@pytest.fixture
def pipes() -> Iterator[tuple[Pipe, Pipe]]:
    made = Pipe(), Pipe()
    yield made
    for one in made:
        os.close(one.source)
        os.close(one.end)


FAST: dict[str, Any] = {"max_calls_per_second_per_principal": "100000"}


async def test_outputs_that_nobody_reads_stop_nothing_and_lose_nothing(
    tmp_path: Path, pipes: tuple[Pipe, Pipe]
) -> None:
    out, err = pipes
    output = (out.end, err.end)
    async with (
        running_server(tmp_path, SERVER, output=output, audit_file="-", log_level="DEBUG", **FAST) as server,
        httpx.AsyncClient(trust_env=False, timeout=20) as http,
    ):
        client = Client(server, await server.token("alice", "mcp:read"), http)
        assert await client.flood() == {200: CALLS}
        assert await client.flood("spoiled") == {401: CALLS}

        async def told() -> bool:
            said = await client.ready()
            return said.get("audit") == said.get("log") == "failing"

        await until(told)
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.ready())["status"] == "degraded"

        for one in pipes:
            asyncio.get_running_loop().add_reader(one.source, one.read)

        async def recovered() -> bool:
            return bool((await client.ready())["status"] == "ok")

        await until(recovered)
    for one in pipes:
        asyncio.get_running_loop().remove_reader(one.source)
        one.read()
    lines = out.lines()
    known = [line for line in lines if line.get("tool") == "process" and "subject" in line]
    assert len({line["request_id"] for line in known}) == len(known) >= CALLS
    refused = [line for line in lines if line.get("reason") == "not_a_token"]
    assert len(refused) < CALLS
    assert sum(line.get("more", 1) for line in refused) == CALLS
    said = [line for line in err.lines() if line["event"] == "caller refused"]
    assert sum(line.get("more", 1) for line in said) == CALLS


def ends_and_beginnings(path: Path) -> tuple[list[str], list[str]]:
    """Of the calls of `wait` those that ended, and those whose beginning was written."""
    whole = path.read_bytes().rpartition(b"\n")[0]  # one may be half written
    lines = [line for line in map(json.loads, whole.splitlines()) if line.get("tool") == "wait"]
    beginnings = [line["call"] for line in lines if line["decision"] == "begun"]
    return [line["call"] for line in lines if line["decision"] != "begun"], beginnings


async def test_a_full_disk_loses_nothing_and_a_killed_call_is_seen(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, SERVER, **FAST) as server,
        httpx.AsyncClient(trust_env=False, timeout=20) as http,
    ):
        client, path = Client(server, await server.token("alice", "mcp:read"), http), tmp_path / "audit.jsonl"
        assert await client.call("wait", seconds=0.3) == 200
        (worker,) = server.workers()
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))  # no file may grow: EFBIG
        assert await client.flood() == {200: CALLS}

        async def is_said(audit: str | None) -> bool:
            return bool((await client.ready()).get("audit") == audit)

        await until(lambda: is_said("failing"))
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await until(lambda: is_said(None))
        calls = Counter(json.loads(line)["request_id"] for line in path.read_text().splitlines())
        assert len(calls) >= CALLS
        killed = asyncio.create_task(client.call("wait", seconds=60))

        async def begun() -> bool:
            return len(ends_and_beginnings(path)[1]) == 2

        await until(begun)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            await killed

        async def replaced() -> bool:
            return server.workers() not in ([], [worker])

        await until(replaced)
        (ended,), beginnings = ends_and_beginnings(path)
        assert beginnings[0] == ended != beginnings[1]
