"""What an open stream tells of, when what it tells of changes its scopes."""

from typing import Any

from mcp_server import McpServer, Scope
from mcp_server.engine.outcome import Completed, Subscribed
from mcp_server.engine.pipeline import Pipeline
from mcp_server.identity import Principal
from mcp_server.sessions.subscriptions import Subscription
from tests.kit.backends import settle
from tests.kit.calls import answer, call, serving
from tests.kit.principals import principal

TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
READER, WRITER = principal(scopes=frozenset({"mcp:read"})), principal(scopes=frozenset({"mcp:read", "mcp:write"}))


def text() -> str:
    return "text"


def made() -> McpServer:
    server = McpServer("s", scopes=[Scope("mcp:read"), Scope("mcp:write")])
    for uri in ("open://a", "open://b"):
        server.resource(uri, name=uri, scopes={"mcp:read"})(text)
    return server


async def stream(pipeline: Pipeline, who: Principal, **wanted: Any) -> Subscription:
    outcome = await pipeline.serve(call("subscriptions/listen", {"notifications": wanted}, who=who, capabilities=TASKS))
    assert isinstance(outcome, Subscribed)
    return outcome.subscription


async def test_a_resource_that_needs_more_by_now_is_told_of_to_nobody_with_less() -> None:
    server = made()
    async with serving(server) as (pipeline, _):
        uris = ["open://a", "open://b"]
        narrow, wide = [await stream(pipeline, who, resourceSubscriptions=uris) for who in (READER, WRITER)]
        server.resource_updated("open://a")  # it waits while the scopes change
        server.remove_resource("open://a")
        server.resource("open://a", name="a", scopes={"mcp:write"})(text)
        server.resource_updated("open://b")
        await settle()
        assert [len(await one.next()) for one in (narrow, wide)] == [1, 2]
        server.resource_updated("open://a")
        await settle()
        assert [await narrow.next(), len(await wide.next())] == [[], 1]
        server.remove_resource("open://a")
        server.resource("open://a", name="a", scopes={"mcp:read"})(text)
        server.resource_updated("open://a")
        await settle()
        assert [len(await one.next()) for one in (narrow, wide)] == [1, 1]


async def test_a_task_whose_tool_needs_more_by_now_is_told_of_to_nobody_with_less() -> None:
    server = made()

    async def work() -> str:
        return "done"

    server.tool(scopes={"mcp:read"}, task="required")(work)
    async with serving(server) as (pipeline, _):
        begun = await pipeline.serve(
            call("tools/call", {"name": "work", "arguments": {}}, who=READER, capabilities=TASKS)
        )
        assert isinstance(begun, Completed)
        task = answer(begun)["result"]["taskId"]
        narrow, wide = [await stream(pipeline, who, taskIds=[task]) for who in (READER, WRITER)]
        server.remove_tool("work")
        server.tool(scopes={"mcp:write"}, task="required")(work)
        await settle()
        assert [await narrow.next(), len(await wide.next())] == [[], 1]
