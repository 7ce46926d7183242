"""A `tracestate` of several lines is one list (W3C Trace Context §3.3): a proxy may add its own as a line."""

from pathlib import Path

import httpx
import pytest

from mcp_server import Context, McpServer, Scope
from mcp_server.observe import tracing
from mcp_server.web.trail import join_state
from tests.kit import wire
from tests.kit.stack import running_stack

server = McpServer("states", scopes=[Scope("mcp:read", "Read")])


@server.tool(scopes={"mcp:read"})
async def look(ctx: Context) -> str:
    """Say what an API would be told of the caller's trace."""
    trace = tracing.here.get().trace
    told = None if trace is None else trace.outgoing()
    return told.state if told else ""


async def test_it_goes_on_whole(tmp_path: Path) -> None:
    async with running_stack(tmp_path, server) as stack:
        body = wire.modern("tools/call", {"name": "look", "arguments": {}}, 1)
        lines = [(name.replace("_", "-"), value) for name, value in wire.headers("tools/call", "look").items()]
        lines += [("authorization", f"Bearer {await stack.token('alice', 'mcp:read')}")]
        lines += [("accept", "application/json, text/event-stream"), ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")]
        lines += [("tracestate", "a=1"), ("tracestate", "b=2")]
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(stack.resource, json=body, headers=lines)
    assert answer.json()["result"]["content"][0]["text"] == "a=1,b=2"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["a=1"], "a=1"),
        (["", "a=1"], "a=1"),
        (["a=" + "x" * 400, "b=" + "y" * 200, "c=3"], "a=" + "x" * 400),
        (["a=" + "x" * 508, "b=2"], "a=" + "x" * 508),
        (["a=" + "x" * 511, "b=2"], ""),
    ],
)
def test_of_a_list_that_is_too_long_whole_members_go(lines: list[str], told: str) -> None:
    found = [(b"tracestate", one.encode()) for one in lines]
    headers = dict(found)
    join_state(found, headers)
    assert headers[b"tracestate"].decode() == told
