"""What workers share reaches each of them, and no process that a handler of theirs starts."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.kit.served import Served, running_server

pytestmark = pytest.mark.live
SECRET = "dev-only-of-this-test"
MOST = 200
"""Connections until each of two workers has answered one."""


async def asked(served: Served, token: str, method: str, **params: Any) -> dict[str, Any]:
    """The result, over a connection of its own: whichever worker takes it."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        answer = await http.post(served.resource, json=message, headers={"authorization": f"Bearer {token}"})
    found: dict[str, Any] = answer.json()["result"]
    return found


async def test_the_key_of_all_workers_is_no_childs(tmp_path: Path) -> None:
    target = "tests.live.inheriting:server"
    more: dict[str, Any] = {
        "page_size": "1",
        "client_secret": SECRET,
        "access_token": f"{SECRET}-token",
        "log_level": "DEBUG",
    }
    async with running_server(tmp_path, target, workers=2, **more) as served:
        token = await served.token("alice", "mcp:read")
        async with asyncio.timeout(60):
            answered: dict[str, str] = {}
            for _ in range(MOST):
                (block,) = (await asked(served, token, "tools/call", name="environment"))["content"]
                told = json.loads(block["text"])
                answered[told["worker"]] = told["environment"]
                if len(answered) == 2:
                    break
            assert len(answered) == 2
            cursor = (await asked(served, token, "tools/list"))["nextCursor"]
            pages = [await asked(served, token, "tools/list", cursor=cursor) for _ in range(16)]
        log = served.log.read_text()
    assert {page["tools"][0]["name"] for page in pages} == {"other"}
    for environment in answered.values():
        names = {line.partition("=")[0] for line in environment.splitlines()}
        assert "MCP_RESOURCE" in names
        assert not {name for name in names if name.startswith("_MCP") or "SECRET" in name or "TOKEN" in name}
        assert SECRET not in environment
    assert SECRET not in log
    assert "server loaded" in log
