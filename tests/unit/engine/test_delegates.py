"""A tool that calls another: what the call needs, may do and is counted as is the other one's affair, in both eras."""

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Raw, UnsetType

from mcp_server import Context, McpServer
from mcp_server.authoring.errors import ToolError
from mcp_server.engine.call import HeaderFields
from mcp_server.engine.outcome import Completed, Denied, Failed, ToolFailed
from mcp_server.identity import Credential
from mcp_server.registry.function import mcp_header
from mcp_server.registry.tool import Tool
from tests.kit import wire
from tests.kit.calls import Channel, answer, call, serving
from tests.kit.principals import principal

ERAS = [wire.MODERN, "2025-11-25"]
READS, WRITES = principal(), principal(scopes=("mcp:read", "mcp:write"))


class Inner(msgspec.Struct):
    name: str = ""
    arguments: Raw = Raw(b"{}")


def made() -> McpServer:
    server = McpServer("s")

    @server.tool(scopes={"mcp:write"}, listed=False)
    async def change(n: int, text: Annotated[str, mcp_header("Text")] = "") -> str:
        return f"changed {n}"

    @server.tool(scopes={"mcp:write"}, listed=False, requires={"sampling"})
    async def samples() -> str:
        return ""

    @server.tool(scopes={"mcp:write"}, listed=False, task="required")
    async def long() -> str:
        return ""

    def delegate(arguments: Raw | UnsetType) -> tuple[Tool, Raw] | None:
        inner = msgspec.json.decode(arguments, type=Inner) if isinstance(arguments, Raw) else Inner()
        tool = server.tools.get(inner.name)
        return None if tool is None else (tool, inner.arguments)

    @server.tool(scopes={"mcp:read"}, delegate=delegate)
    async def call_tool(name: str = "", arguments: dict[str, Any] | None = None) -> str:
        raise ToolError(f"no tool {name!r}")

    return server


def calling(inner: str, arguments: dict[str, Any] | None = None, **options: Any) -> Any:
    named = {"name": "call_tool", "arguments": {"name": inner, "arguments": arguments or {}}}
    return call("tools/call", named, **options)


def direct(inner: str, arguments: dict[str, Any] | None = None, **options: Any) -> Any:
    return call("tools/call", {"name": inner, "arguments": arguments or {}}, **options)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("who", [None, READS, WRITES], ids=["nobody", "reads", "writes"])
@pytest.mark.parametrize("inner", ["change", "samples", "long"])
async def test_a_call_through_another_is_judged_and_recorded_as_the_direct_one(inner: str, who: Any, era: str) -> None:
    server = made()
    async with serving(server) as (pipeline, told):
        arguments = {"n": 7} if inner == "change" else {}
        outcomes = [await pipeline.serve(one(inner, arguments, who=who, revision=era)) for one in (direct, calling)]
        assert outcomes[0] == outcomes[1]
        first, second = (msgspec.structs.replace(decision, time=0, seconds=None) for decision, _, _ in told.calls)
        assert first == second
        assert first.tool == inner
    if who is not WRITES:
        assert outcomes[1] == Denied(frozenset({"mcp:write"}), anonymous=who is None)
    elif inner == "change":
        assert isinstance(outcomes[1], Completed)
        assert b"changed 7" in outcomes[1].message


@pytest.mark.parametrize("era", ERAS)
async def test_arguments_of_the_other_tool_are_told_by_its_own_name(era: str) -> None:
    async with serving(made()) as (pipeline, _):
        outcome = await pipeline.serve(calling("change", {"n": "x"}, who=WRITES, revision=era))
        assert isinstance(outcome, ToolFailed)
        assert b"Invalid arguments for change: n" in outcome.message


async def test_a_tool_that_is_not_there_is_the_callers_own_affair() -> None:
    async with serving(made()) as (pipeline, told):
        outcome = await pipeline.serve(calling("nonsense"))
        assert isinstance(outcome, ToolFailed)
        assert b"no tool 'nonsense'" in outcome.message
        assert told.calls[0][0].tool == "call_tool"


async def test_parameters_that_repeat_in_headers_are_asked_of_direct_calls_only() -> None:
    """Of the inner tool a client has not read which they are."""
    async with serving(made()) as (pipeline, _):
        headers = HeaderFields({})
        calls = [one("change", {"n": 1, "text": "t"}, who=WRITES) for one in (direct, calling)]
        outcomes = [await pipeline.serve(msgspec.structs.replace(one, headers=headers)) for one in calls]
        assert [type(one) for one in outcomes] == [Failed, Completed]


@pytest.mark.parametrize("era", ERAS)
async def test_an_unlisted_tool_is_in_no_list(era: str) -> None:
    async with serving(made()) as (pipeline, _):
        listed = answer(await pipeline.serve(call("tools/list", revision=era)))["result"]["tools"]
        assert [one["name"] for one in listed] == ["call_tool"]


async def test_a_handlers_call_has_the_callers_credential_and_named_headers() -> None:
    server = McpServer("s")
    seen: list[Any] = []

    class Looking(Context):
        def look(self) -> None:
            incoming = self._facts.incoming
            seen.extend([incoming.credential, incoming.header("X-Tenant"), incoming.header("X-Other")])

    @server.tool
    async def looks(ctx: Looking) -> None:
        ctx.look()

    channel = Channel()
    channel.credential, channel.headers = Credential(b"s3cret", READS), {"x-tenant": "acme"}
    async with serving(server) as (pipeline, _):
        made = call("tools/call", {"name": "looks"}, channel=channel)
        assert made.credential is channel.credential
        await pipeline.serve(made)
    assert seen == [channel.credential, "acme", None]
