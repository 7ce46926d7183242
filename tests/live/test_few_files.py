"""A server that may open few files: strangers with more connections than that take none of what it needs itself."""

import asyncio
from pathlib import Path

import httpx
import pytest

from mcp_server.cli.serve import FEW_FILES
from mcp_server.cli.serving.files import share
from tests.kit import wire
from tests.kit.served import running_server
from tests.kit.stack import until
from tests.live.test_floods import fields
from tests.operate.processes import descriptors

pytestmark = pytest.mark.live
LIMIT = 400
STREAMS = 64
BESIDE = 8
"""Descriptors that come and go meanwhile: the probe that found it ready, a file of keys."""


async def test_connections_beyond_the_files_wait_and_leave_files_for_the_rest(tmp_path: Path) -> None:
    """Else granian asks for each of them 40,000 times a second, and the audit cannot open its next file."""
    few = share(STREAMS, LIMIT)
    under = ("prlimit", f"--nofile={LIMIT}:{LIMIT}")
    target = "tests.kit.servers.fragile:server"
    async with running_server(tmp_path, target, under=under, max_streams=str(STREAMS)) as server:
        (worker,) = server.workers()
        before = descriptors(worker)
        lines = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(LIMIT)]

        async def taken() -> bool:
            return descriptors(worker) >= before + few.connections - BESIDE

        await until(taken)
        assert descriptors(worker) <= before + few.connections + BESIDE < LIMIT
        for _, writer in lines:
            writer.transport.abort()
        token, message = await server.token("alice", "mcp:read"), wire.modern("tools/call", {"name": "process"})
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(server.resource, json=message, headers=fields("process", token), timeout=20)
        assert answer.status_code == 200
        assert FEW_FILES in server.log.read_text()
