"""What a handler returns arrives as its author means it, and never as an error of the protocol."""

import collections
import enum
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest

from mcp_server import (
    CallToolResult,
    Completion,
    ImageContent,
    McpServer,
    PromptMessage,
    ResourceContents,
    ResourceLink,
    TextContent,
)
from mcp_server.authoring.errors import BadResult
from mcp_server.protocol import jsonrpc
from tests.kit.contexts import context
from tests.unit.registry.test_tool import one, run

IMAGE = ImageContent("AAAA", "image/png")
LOOK = TextContent("look")
NAME = "name-\ud800"
"""As `os.listdir` tells a file whose name is no UTF-8."""


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another"


class Key(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Moment(datetime):
    pass


class Money(Decimal):
    pass


class Colour(enum.StrEnum):
    RED = "red"


class Order(msgspec.Struct):
    id: int


@pytest.mark.parametrize(
    ("value", "annotation", "content"),
    [
        (["look", IMAGE], list[str | ImageContent], [LOOK, IMAGE]),
        (["look", IMAGE], Any, [LOOK, IMAGE]),
        (("look", IMAGE), Any, [LOOK, IMAGE]),
        (("look", IMAGE), tuple[str, ImageContent], [LOOK, IMAGE]),
        (["look", [IMAGE, LOOK]], list[str | list[TextContent | ImageContent]], [LOOK, IMAGE, LOOK]),
        (IMAGE, ImageContent | None, [IMAGE]),
        (None, ImageContent | None, []),
        ([IMAGE, None], list[ImageContent | None], [IMAGE]),
        ([], list[ImageContent], []),
        ("look", str | ImageContent, [LOOK]),
        ([Order(1), IMAGE], list[Order | ImageContent], [TextContent('{"id":1}'), IMAGE]),
        (IMAGE, Annotated[ImageContent, "a picture"], [IMAGE]),
        ([Text("look"), IMAGE], Any, [LOOK, IMAGE]),
        (["look"], Any, [TextContent('["look"]')]),
    ],
)
async def test_images_among_texts_are_blocks_and_nothing_is_structured(
    value: Any, annotation: Any, content: list[Any]
) -> None:
    tool = one(value, annotation)
    result = await run(tool)
    assert (result.content, result.structured_content, tool.entry.output_schema) == (content, msgspec.UNSET, None)


@pytest.mark.parametrize(
    ("value", "annotation", "text"),
    [
        (Text("x"), str, "x"),
        (Text("x"), Any, "x"),
        (Colour.RED, str, "red"),
        ([Text("x")], list[str], '["x"]'),
        ({Key("k"): Text("x")}, dict[str, str], '{"k":"x"}'),
        (Whole(3), int, "3"),
        (Real(1.5), float, "1.5"),
        ({Whole(3): [Real(1.5)]}, Any, '{"3":[1.5]}'),
        (collections.OrderedDict(a=Whole(1)), dict[str, int], '{"a":1}'),
        (collections.Counter("aa"), Any, '{"a":2}'),
        (Order(Whole(3)), Order, '{"id":3}'),
        (Moment(2026, 1, 1, tzinfo=UTC), datetime, '"2026-01-01T00:00:00+00:00"'),
        (Money("1.10"), Decimal, '"1.10"'),
        (UUID(int=0), UUID, '"00000000-0000-0000-0000-000000000000"'),
    ],
)
async def test_a_subclass_is_sent_as_its_base(value: Any, annotation: Any, text: str) -> None:
    result = await run(one(value, annotation))
    assert result.content == [TextContent(text)]
    assert msgspec.json.decode(jsonrpc.result(1, result))["result"]["content"][0]["text"] == text


async def test_a_result_made_by_hand_is_sendable_before_it_is_sent() -> None:
    made = CallToolResult([TextContent(Text("look")), IMAGE], structured_content={"a": Whole(1)})
    result = await run(one(made, CallToolResult))
    assert (result.content, result.structured_content) == ([LOOK, IMAGE], {"a": 1})
    plain = CallToolResult([LOOK])
    assert await run(one(plain, CallToolResult)) is plain


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (NAME, str),
        (NAME, Any),
        (Text(NAME), str),
        ([NAME], list[str]),
        (TextContent(NAME), TextContent),
        ([NAME, IMAGE], Any),
        (CallToolResult([TextContent(NAME)]), Any),
        (CallToolResult([], structured_content={"a": NAME}), CallToolResult),
        (ResourceLink("a:b", NAME), Any),
        (object(), Any),
        ((one for one in "ab"), Any),
        (float, Any),
        ("x", int),
    ],
)
async def test_what_has_no_json_form_fails_as_the_tools_own(value: Any, annotation: Any) -> None:
    with pytest.raises(BadResult):
        await run(one(value, annotation))


async def test_a_value_that_holds_itself_fails_as_the_tools_own() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(BadResult):
        await run(one({"a": endless}, dict[str, Any]))


async def test_resources_prompts_and_completions_send_alike() -> None:
    server = McpServer("s")

    @server.resource("a://text")
    async def text() -> str:
        return Text("x")

    @server.resource("a://json")
    async def json() -> dict[str, int]:
        return {Key("k"): Whole(1)}

    @server.resource("a://pair")
    async def pair() -> tuple[ResourceContents, ...]:
        return (ResourceContents("a://1", text="1"), ResourceContents("a://2", text="2"))

    @server.resource("a://bad")
    async def bad() -> str:
        return NAME

    read = [await server.resources[uri].read(uri, {}, context) for uri in ("a://text", "a://json", "a://pair")]
    assert [[type(one.text) is str and one.text for one in contents] for contents in read] == [
        ["x"],
        ['{"k":1}'],
        ["1", "2"],
    ]
    with pytest.raises(BadResult):
        await server.resources["a://bad"].read("a://bad", {}, context)

    @server.prompt
    async def several(a: str) -> Any:
        return (Text("x"), IMAGE, None, Order(1), PromptMessage("assistant", LOOK))

    got = await server.prompts["several"].get({"a": ""}, context)
    assert [one.content for one in got.messages] == [TextContent("x"), IMAGE, TextContent('{"id":1}'), LOOK]


@pytest.mark.parametrize(
    ("offered", "values"),
    [("a text", ["a text"]), (None, []), ((Text("x"), 5), ["x", "5"]), (Completion(["y"]), ["y"])],
)
async def test_what_a_completion_offers_is_a_list_of_texts(offered: Any, values: list[str]) -> None:
    server = McpServer("s")

    @server.prompt
    async def prompt(a: str) -> str:
        return a

    @server.completion("prompt", "a")
    async def complete(value: str) -> Any:
        return offered

    found = await server.completions["prompt", "a"].complete("", {}, context)
    assert found.values == values
