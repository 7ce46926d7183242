"""The official TypeScript client registers, logs in and calls, against both authorization servers."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from devstack.login import authorize, browser
from tests.conformance.suite import NODE
from tests.kit.authorities import Authority
from tests.kit.stack import running_mcp

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.live


def log_in(url: str) -> str:
    """The query that comes back to the client."""
    with browser() as person:
        return "&".join(f"{name}={value}" for name, value in authorize(person, url, "bob").items())


async def run(*command: str) -> dict[str, Any]:
    """What the client says it did, with bob at its browser."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=dict(os.environ), stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    async with asyncio.timeout(60):
        async for line in process.stdout:
            text = line.decode().strip()
            if not text.startswith("http"):
                break
            process.stdin.write((await asyncio.to_thread(log_in, text)).encode() + b"\n")
        else:
            raise AssertionError((await process.stderr.read()).decode())
        await process.wait()
    said: dict[str, Any] = json.loads(text)
    return said


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_typescript_client_registers_and_writes(authority: Authority, mode: str, tmp_path: Path) -> None:
    async with running_mcp(tmp_path, authority.issuer, authority.resource) as running:
        script = str(ROOT / "tests" / "node" / "login.mjs")
        said = await run(str(NODE), script, running.resource, mode, "create_order", '{"item": "pan", "quantity": 2}')
    assert said["registered"]
    assert said["logins"] == 1
    assert said["result"]["created_by"] == "bob"
    assert {"mcp:read", "mcp:write"} <= set(said["scope"].split())
