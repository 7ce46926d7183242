"""Tools that are made, not decorated: added alone or as a set, with a promised result, unlisted, with own reading."""

from typing import Any

import pytest
from msgspec import Raw

from mcp_server import CallToolResult, McpServer, Scope, TextContent
from mcp_server.authoring.errors import BadArguments, BadResult, UnsupportedType
from mcp_server.protocol import downgrade
from mcp_server.protocol.param_headers import BadAnnotation
from mcp_server.registry.tool import Tool, ToolImplementation, read_object
from tests.kit.contexts import context
from tests.unit.registry.test_tool import tool_of

PROMISE = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def nothing() -> str:
    return ""


def tools(*names: str, **options: Any) -> list[Tool]:
    return [Tool(nothing, name, **options) for name in names]


def watched() -> tuple[McpServer, list[str]]:
    server, told = McpServer("s"), list[str]()
    server.watchers.append(lambda kind, uri: told.append(kind))
    return server, told


def test_a_tool_made_by_hand_is_added_and_its_name_is_taken() -> None:
    server, told = watched()
    server.add_tool(tools("a")[0])
    assert (list(server.tools), told) == (["a"], ["tools"])
    with pytest.raises(ValueError, match="'a' is registered already"):
        server.add_tool(tools("a")[0])


def test_a_thousand_tools_are_one_change() -> None:
    server, told = watched()
    server.change_tools(add=tools(*(f"t{n}" for n in range(1_000))))
    assert (len(server.tools), told) == (1_000, ["tools"])
    server.change_tools(add=tools("t0", "x"), remove=list(server.tools))
    assert (list(server.tools), told) == (["t0", "x"], ["tools", "tools"])


@pytest.mark.parametrize(
    ("add", "remove", "wrong"),
    [
        (["x", "kept"], [], ValueError),  # taken
        (["x", "x"], [], ValueError),  # twice in the set itself
        (["x"], ["gone"], KeyError),  # not there to be removed
    ],
)
def test_a_set_with_something_wrong_changes_nothing(add: list[str], remove: list[str], wrong: type[Exception]) -> None:
    server, told = watched()
    server.change_tools(add=tools("kept"))
    with pytest.raises(wrong):
        server.change_tools(add=tools(*add), remove=remove)
    assert (list(server.tools), told) == (["kept"], ["tools"])


def test_a_set_keeps_to_the_declared_scopes() -> None:
    server = McpServer("s", scopes=[Scope("known")])
    with pytest.raises(ValueError, match="'b' needs other: no declared scope"):
        server.change_tools(add=[*tools("a", scopes={"known"}), *tools("b", scopes={"other"})])
    assert server.tools == {}


async def result_of(tool: Tool) -> CallToolResult:
    return await tool.call({}, context)


async def test_a_promised_result_is_shown_and_held_to() -> None:
    async def right() -> dict[str, int]:
        return {"n": 1}

    async def wrong() -> Any:
        return {"n": "one"}

    assert tool_of(right, output_schema=PROMISE).entry.output_schema == PROMISE
    assert (await result_of(tool_of(right, output_schema=PROMISE))).structured_content == Raw(b'{"n":1}')
    with pytest.raises(BadResult, match="integer"):
        await result_of(tool_of(wrong, output_schema=PROMISE))


async def test_who_makes_whole_results_answers_for_them_but_owes_a_structure() -> None:
    async def whole() -> CallToolResult:
        return CallToolResult([TextContent("x")], {"n": "one"})

    async def bare() -> CallToolResult:
        return CallToolResult([TextContent("x")])

    async def failed() -> CallToolResult:
        return CallToolResult([TextContent("x")], is_error=True)

    assert (await result_of(tool_of(whole, output_schema=PROMISE))).structured_content == {"n": "one"}
    with pytest.raises(BadResult, match="lacks the structured content"):
        await result_of(tool_of(bare, output_schema=PROMISE))
    assert (await result_of(tool_of(failed, output_schema=PROMISE))).is_error is True


def test_a_promise_that_cannot_be_kept_is_refused() -> None:
    async def block() -> TextContent:
        return TextContent("x")

    with pytest.raises(UnsupportedType, match="content blocks have no output_schema"):
        tool_of(block, output_schema=PROMISE)
    with pytest.raises(UnsupportedType, match="output_schema"):
        tool_of(nothing, output_schema={"type": "nonsense"})


class Shouting(ToolImplementation):
    """What a tool runs that no function was read for."""

    text = "Shouts."
    input_schema: Any = Raw(b'{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"A"}}}')
    output_schema = Raw(b'{"type":"object"}')

    def decode(self, arguments: Any) -> dict[str, Any]:
        return {"whole": read_object(arguments)}

    def values(self, arguments: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = arguments["whole"]
        return found

    async def call(self, arguments: dict[str, Any], context: Any) -> CallToolResult:
        del context
        return CallToolResult([TextContent(arguments["whole"]["a"].upper())])


async def test_a_tool_that_is_prepared_runs_without_a_function() -> None:
    tool = Tool(Shouting(), "shout", scopes={"a"}, title="Shout")
    assert (tool.entry.description, tool.entry.title) == ("Shouts.", "Shout")
    assert [one.header for one in tool.param_headers] == [b"mcp-param-a"]
    decoded = tool.decode(Raw(b'{"a": "hi"}'))
    assert tool.values(decoded) == {"a": "hi"}
    assert (await tool.call(decoded, context)).content == [TextContent("HI")]
    with pytest.raises(BadArguments):
        tool.decode(Raw(b"[1]"))
    for revision, kept in (("2025-11-25", True), ("2025-03-26", False)):
        assert (b"outputSchema" in bytes(downgrade.entry(tool.entry, revision))) is kept


def test_a_prepared_tool_with_a_misplaced_header_is_refused() -> None:
    prepared = Shouting()
    prepared.input_schema = Raw(b'{"type":"object","properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}}}')
    with pytest.raises(BadAnnotation, match="tool 'x'"):
        Tool(prepared, "x")
    prepared.input_schema = Raw(b'{"type":"object"}')
    assert Tool(prepared, "x").param_headers == ()
