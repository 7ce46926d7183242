"""The developer's processes: ports that URLs mean, waits that end, answers that leave nothing running."""

import asyncio
from typing import Any

import httpx
import pytest

from devstack.authserver.app import create
from devstack.processes import Stack, port_of
from devstack.up import Wanted, _server_environment
from tests.kit.stack import free_port


@pytest.mark.parametrize(
    ("resource", "port"),
    [
        ("http://localhost:8000/mcp", "8000"),
        ("http://localhost/mcp", "80"),
        ("https://localhost/mcp", "443"),
        ("http://[::1]:81/mcp", "81"),
    ],
)
def test_the_server_listens_where_its_resource_says(resource: str, port: str) -> None:
    assert _server_environment(Wanted(resource=resource))["MCP_PORT"] == port
    assert port_of(resource) == int(port)


@pytest.mark.parametrize(("features", "said"), [((), None), (("cimd", "parameterized-scopes"), "true")])
def test_the_server_is_told_what_its_issuer_can_do(features: tuple[str, ...], said: str | None) -> None:
    told = _server_environment(Wanted(features=features))
    assert told.get("MCP_PARAMETERIZED_SCOPES") == said


def test_a_stack_without_children_waits_no_longer_than_it_is_told() -> None:
    stack = Stack()
    stack.watch(0.001)
    with pytest.raises(TimeoutError, match="not ready"):
        stack.wait_ready([f"http://127.0.0.1:{free_port()}/readyz"], within_s=0.01)


async def test_a_slow_answer_leaves_nothing_running() -> None:
    app, running = create()
    running.faults.mode, running.faults.slow_s = "slow", 0.001
    before = asyncio.all_tasks()
    served: Any = app  # ASGI has a type of its own in each library
    async with httpx.AsyncClient(transport=httpx.ASGITransport(served)) as http:
        answer = await http.get(f"{running.realm.issuer}/.well-known/openid-configuration")
    assert answer.status_code == 200
    assert not asyncio.all_tasks() - before
