"""Typed functions become tools."""

import threading
import typing
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator

from mcp_server import (
    CallToolResult,
    Context,
    EmbeddedResource,
    ImageContent,
    McpServer,
    ResourceContents,
    ResourceLink,
    TextContent,
)
from mcp_server.authoring.errors import BadArguments, BadResult, ProtocolError, UnsupportedType
from mcp_server.protocol import downgrade
from mcp_server.registry.tool import Tool
from tests.kit.contexts import context, in_threads


class Colour(Enum):
    RED = "red"


class Point(msgspec.Struct):
    x: int
    next: "Point | None" = None


@dataclass
class Data:
    name: str


class Typed(TypedDict):
    a: int


CONTEXT = context(state={"k": 1})


def tool_of(function: Any, **options: Any) -> Tool:
    server = McpServer("s")
    server.tool(**options)(function)
    return next(iter(server.tools.values()))


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


async def run(tool: Tool, **arguments: Any) -> CallToolResult:
    in_threads()
    return await tool.call(tool.decode(raw(arguments)), lambda: CONTEXT)


async def many(
    a: int,
    b: Literal["x", "y"],
    c: Annotated[float, msgspec.Meta(ge=0, description="own words")],
    d: Annotated[str, "a text counts"],
    e: Colour,
    f: Point,
    g: Data,
    h: Typed,
    i: datetime | int,
    j: list[int] | None = None,
    k: dict[str, int] = {"z": 1},  # noqa: B006 - copied for each call
    *,
    ctx: Context,
) -> dict[str, Any]:
    """Take one of everything.

    It has a second paragraph.

    Args:
        a: The first
            goes on here.
        c: not this one
        d (str): nor this
        k: With a default.

    Returns:
        What came.
    """
    k["more"] = 2
    return {"a": a, "e": e, "f": f.x, "state": ctx.state["k"], "k": k}


ARGUMENTS = {
    "a": 1, "b": "x", "c": 0.5, "d": "t", "e": "red", "f": {"x": 2, "next": {"x": 3}}, "g": {"name": "n"}, "h": {"a": 1}, "i": "2026-01-01T00:00:00Z",
}  # fmt: skip


async def test_every_kind_of_annotation_is_decoded_and_described() -> None:
    tool = tool_of(many)
    schema = tool.entry.input_schema
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == set(ARGUMENTS)
    described = {name: one.get("description") for name, one in schema["properties"].items()}
    assert described == {
        "a": "The first goes on here.", "b": None, "c": "own words", "d": "a text counts", "e": None, "f": None,
        "g": None, "h": None, "i": None, "j": None, "k": "With a default.",
    }  # fmt: skip
    assert tool.entry.description == (
        "Take one of everything.\n\nIt has a second paragraph.\n\nReturns:\n    What came."
    )
    validator = Draft202012Validator(schema)
    assert validator.is_valid(ARGUMENTS)
    assert not validator.is_valid(ARGUMENTS | {"f": {"x": "no"}})
    for _ in range(2):  # the default is not shared between calls
        result = await run(tool, **ARGUMENTS)
        structured: Any = result.structured_content
        assert msgspec.json.decode(structured) == {
            "a": 1,
            "e": "red",
            "f": 2,
            "state": 1,
            "k": {"z": 1, "more": 2},
        }


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"a": "one"}, "a: Expected `int`, got `str`"),
        ({"c": -1}, "c: Expected `float` >= 0.0"),
        ({"f": {"x": 1, "next": {"x": None}}}, "f.next.x: Expected `int`, got `null`"),
        ({"zzz": 1}, "Object contains unknown field `zzz`"),
        ({"b": "z"}, "b: Invalid enum value 'z'"),
    ],
)
def test_an_argument_error_names_the_field_and_the_reason(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(BadArguments) as bad:
        tool_of(many).decode(raw(ARGUMENTS | changed))
    assert str(bad.value) == said


def test_arguments_that_are_no_json_or_too_deep_are_bad_arguments() -> None:
    tool = tool_of(many)
    for broken in (b'{"a": 1', b'{"j":' + b"[" * 5000 + b"]" * 5000 + b"}", b"[]"):
        with pytest.raises(BadArguments):
            tool.decode(msgspec.Raw(broken))


def one(value: Any, annotation: Any) -> Tool:
    def give() -> Any:
        return value

    give.__annotations__["return"] = annotation
    return tool_of(give)


@pytest.mark.parametrize(
    ("value", "annotation", "content", "structured"),
    [
        ("hi", str, ["hi"], None),
        (None, None, [], None),
        (5, Any, ["5"], None),
        ([], Any, ["[]"], None),
        (5, int, ["5"], b"5"),
        ({"a": 1}, Typed, ['{"a":1}'], b'{"a":1}'),
        (Data("n"), Data, ['{"name":"n"}'], b'{"name":"n"}'),
        (Point(1), Point, ['{"x":1,"next":null}'], b'{"x":1,"next":null}'),
        (CallToolResult([TextContent("own")]), CallToolResult, ["own"], None),
        (TextContent("t"), TextContent, ["t"], None),
        ([TextContent("t")], list[TextContent | ImageContent], ["t"], None),
    ],
)
@pytest.mark.requirement("8.11", "8.13")
async def test_what_a_handler_returns_becomes_content(
    value: Any, annotation: Any, content: list[str], structured: bytes | None
) -> None:
    result = await run(one(value, annotation))
    assert [block.text for block in result.content if isinstance(block, TextContent)] == content
    found = result.structured_content
    assert (None if found is msgspec.UNSET else bytes(found)) == structured


@pytest.mark.parametrize(("value", "annotation"), [("x", int), (Point("no"), Point), (object(), Data), (object(), Any)])  # type: ignore[arg-type]  # the wrong type is the point
@pytest.mark.requirement("8.9")
async def test_a_result_that_denies_its_annotation_is_not_sent(value: Any, annotation: Any) -> None:
    with pytest.raises(BadResult):
        await run(one(value, annotation))


async def test_a_sync_handler_runs_in_a_thread_of_its_own() -> None:
    def where() -> str:
        return threading.current_thread().name

    assert (await run(tool_of(where))).content[0] != TextContent(threading.current_thread().name)


@pytest.mark.parametrize("parameter", ["*a: int", "**a: int", "a: int, /", "a"])
def test_what_json_cannot_name_is_refused_at_registration(parameter: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def f({parameter}): ...", space)
    with pytest.raises(UnsupportedType):
        tool_of(space["f"])


@pytest.mark.requirement("7.9")
def test_an_annotation_without_a_json_form_is_refused_at_registration() -> None:
    def f(a: typing.Callable[[], None]) -> None: ...

    with pytest.raises(UnsupportedType):
        tool_of(f)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "with blank"},
        {"name": "x" * 129},
        {"public": True, "scopes": {"a"}},
        {"scopes": {"a b"}},
        {"scopes": {""}},
        {"scopes": set()},
    ],
)
@pytest.mark.requirement("8.5")
def test_a_bad_registration_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        tool_of(many, **options)


def test_scopes_given_as_one_text_and_names_taken_twice_are_refused() -> None:
    with pytest.raises(TypeError):
        tool_of(many, scopes="mcp:read")
    server = McpServer("s")
    server.tool("same")(many)
    with pytest.raises(ValueError):
        server.tool("same")(many)


def test_a_recursive_result_keeps_its_definition() -> None:
    schema = one(Point(1), Point).entry.output_schema
    assert schema is not None
    assert schema["type"] == "object"
    assert "Point" in schema["$defs"]
    assert Draft202012Validator(schema).is_valid({"x": 1, "next": {"x": 2, "next": None}})


def test_the_oldest_revision_gets_links_as_text() -> None:
    link, resource = ResourceLink("a:b", "name"), EmbeddedResource(ResourceContents("a:c", text="t"))
    shaped = downgrade.call_result(CallToolResult([link, resource]), "2025-03-26", msgspec.Raw(b"{}"))
    assert shaped.content == [TextContent("name: a:b"), resource]
    assert downgrade.call_result(CallToolResult([link]), "2025-06-18", msgspec.Raw(b"{}")).content == [link]
    assert downgrade.call_result(
        CallToolResult([], structured_content={"a": 1}), "2025-06-18", msgspec.Raw(b"{}")
    ).structured_content == {"a": 1}


@pytest.mark.parametrize(
    ("given", "seen"),
    [({"a": 1}, {"a": 1}), ([1, 2], {"result": [1, 2]}), ("text", {"result": "text"}), (None, {"result": None})],
)
@pytest.mark.parametrize("raw", [False, True])
def test_what_is_no_object_is_the_result_of_one_for_legacy_revisions(given: Any, seen: Any, raw: bool) -> None:
    content = msgspec.Raw(msgspec.json.encode(given)) if raw else given
    shaped = {
        revision: msgspec.json.decode(
            msgspec.json.encode(
                downgrade.call_result(CallToolResult([], structured_content=content), revision, msgspec.Raw(b"{}"))
            )
        )
        for revision in ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
    }
    assert "structuredContent" not in shaped["2025-03-26"]
    assert shaped["2025-06-18"]["structuredContent"] == shaped["2025-11-25"]["structuredContent"] == seen
    assert shaped["2026-07-28"]["structuredContent"] == given


class Promise(msgspec.Struct):
    x: int


@pytest.mark.requirement("8.9")
async def test_a_result_made_by_hand_keeps_what_the_annotation_promises() -> None:
    made = {
        "good": CallToolResult([], structured_content=Promise(1)),
        "wrong": CallToolResult([], structured_content={"x": "one"}),
        "none": CallToolResult([]),
        "error": CallToolResult([], is_error=True),
    }

    async def promised(which: str) -> Promise:
        """Promise a number."""
        return made[which]  # type: ignore[return-value]

    tool = Tool(promised, "promised")
    for good in ("good", "error"):
        assert await tool.call({"which": good}, context) is made[good]
    for bad in ("wrong", "none"):
        with pytest.raises(BadResult):
            await tool.call({"which": bad}, context)


@pytest.mark.requirement("7.9")
@pytest.mark.parametrize(
    ("dialect", "good"),
    [("https://json-schema.org/draft/2020-12/schema", True), ("https://json-schema.org/draft/2020-12/schema#", True),
     ("http://json-schema.org/draft-07/schema#", False)],
)  # fmt: skip
def test_a_schema_in_another_dialect_is_refused(dialect: str, good: bool) -> None:
    async def schemed(arguments: dict[str, Any]) -> str:
        """Take anything."""
        return ""

    shown = {"$schema": dialect, "type": "object"}
    if good:
        Tool(schemed, "schemed", input_schema=shown)
    else:
        with pytest.raises(UnsupportedType):
            Tool(schemed, "schemed", input_schema=shown)


@pytest.mark.requirement("1.18")
def test_reserved_codes_are_no_authors_own() -> None:
    for code in (-32042, -32002, -32000, -32700):
        with pytest.raises(ValueError, match="reserved"):
            ProtocolError(code, "x")
    assert [ProtocolError(code, "x").code for code in (-32602, -32603, -31999, 5)] == [-32602, -32603, -31999, 5]
