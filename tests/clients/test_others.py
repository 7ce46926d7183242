"""The official TypeScript and Go clients: list, call with progress, be asked, subscribe and hear of a change."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.suite import NODE
from tests.kit.servers.conformance import server
from tests.kit.stack import Stack, running_stack

ROOT = Path(__file__).parents[2]
SCOPES = "mcp:read mcp:write mcp:admin"
pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with running_stack(Path(tmp_path_factory.mktemp("clients")), server) as running:
        yield running


async def run(*command: str) -> dict[str, Any]:
    """What a client says it saw."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=dict(os.environ), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    said: dict[str, Any] = json.loads(out)
    return said


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_the_typescript_client_does_everything(stack: Stack, transport: str, mode: str) -> None:
    script = str(ROOT / "tests" / "node" / "client.mjs")
    there = [stack.resource, await stack.token("carol", SCOPES)]
    if transport == "stdio":
        there = [sys.executable, "-m", "mcp_server", "stdio", "tests.kit.servers.conformance:server"]
    said = await run(str(NODE), script, mode, transport, *there)
    # The SDK takes an answer before a progress that came in the same read of a pipe, and then has nobody to tell it to.
    assert said["steps"] in ([[0, 50, 100]] if transport == "http" else [[0, 50, 100], [0, 50], [0]])
    assert "ann@example.org" in said["answer"]
    assert said["tools"] == len(server.tools)
    assert {"notifications/resources/updated", "notifications/tools/list_changed"} <= set(said["heard"])
    if mode == "auto":
        assert said["honoured"] == {"toolsListChanged": True, "resourceSubscriptions": ["test://watched-resource"]}


async def test_the_go_client_does_everything(stack: Stack) -> None:
    binary = str(ROOT / "tests" / "go" / ".installed")
    said = await run(binary, stack.resource, await stack.token("carol", SCOPES))
    assert said["revision"] == "2026-07-28"
    assert said["steps"] == [0, 50, 100]
    assert "ann@example.org" in said["answer"]
    assert (said["updated"], said["changed"], said["tools"]) == ("test://watched-resource", True, len(server.tools))
