"""What is typed is text: prompts' arguments, templates' variables, and completions of both."""

import enum
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from mcp_server import McpServer
from mcp_server.authoring.errors import BadArguments, UnsupportedType
from mcp_server.registry.addresses.uri_template import BadTemplate
from tests.kit.signatures import taking


class Order(msgspec.Struct):
    id: int


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


def arguments(annotation: Any, given: dict[str, str], *default: Any) -> dict[str, Any]:
    server = McpServer("s")
    server.prompt(taking(annotation, *default))
    return server.prompts["find"].arguments(given)


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "[1]", "[1]"),
        (str, "", ""),
        (int, "7", 7),
        (int, "5.0", 5),
        (float | None, "1.5", 1.5),
        (bool, "true", True),
        (bool, "Yes", True),
        (bool | None, "off", False),
        (date, "2026-01-01", date(2026, 1, 1)),
        (Size, "l", Size.LARGE),
        (Literal["a", "b"], "b", "b"),
        (list[int], "[1, 2.0]", [1, 2]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Order, '{"id": 1.0}', Order(1)),
        (Order | None, '{"id": 1}', Order(1)),
        (list[str] | str, "[1]", "[1]"),
        (Annotated[list[int], msgspec.Meta(max_length=2)], "[1]", [1]),
        (Any, "x", "x"),
    ],
)
def test_a_text_is_read_as_its_type_and_as_json_where_no_text_is_one(annotation: Any, text: str, value: Any) -> None:
    assert arguments(annotation, {"where": text}) == {"where": value}


@pytest.mark.parametrize(
    ("annotation", "text", "said"),
    [
        (int, "x", "where: Expected `int`, got `str`"),
        (int, "", "where: Expected `int`, got `str`"),
        (bool, "perhaps", "where: Expected `bool`, got `str`"),
        (list[int], "1, 2", "where: Expected JSON"),
        (list[int], '["a"]', "[0]: Expected `int`"),
        (Order, "[" * 5000, "where: Expected JSON"),
        (Annotated[list[int], msgspec.Meta(max_length=1)], "[1, 2]", "length <= 1"),
    ],
)
def test_a_text_that_does_not_fit_is_refused_in_words(annotation: Any, text: str, said: str) -> None:
    with pytest.raises(BadArguments) as bad:
        arguments(annotation, {"where": text})
    assert said in str(bad.value)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [(int, 5), (bool, False), (Literal["a", "b"], "a"), (list[int], [1]), (date | None, None), (Size, Size.SMALL)],
)
def test_an_empty_text_for_what_may_be_left_out_counts_as_absent(annotation: Any, default: Any) -> None:
    assert arguments(annotation, {"where": ""}, default) == {"where": default}
    with pytest.raises(BadArguments):
        arguments(annotation, {"where": "?"}, default)


def test_an_empty_text_is_a_text() -> None:
    assert arguments(str, {"where": ""}, "d") == {"where": ""}
    assert arguments(str | None, {"where": ""}, None) == {"where": ""}


def test_whoever_types_json_is_shown_its_schema() -> None:
    server = McpServer("s")

    @server.prompt
    async def prompt(
        numbers: Annotated[list[int], "which"], order: Order | None = None, tone: Literal["z", "a"] | None = None
    ) -> str:
        return str((numbers, order, tone))

    shown = {one.name: (one.description, one.required) for one in server.prompts["prompt"].entry.arguments or ()}
    assert shown["numbers"] == ('which\nJSON: {"type":"array","items":{"type":"integer"}}', True)
    assert (shown["order"][0] or "").startswith('JSON: {"anyOf":')
    assert shown["tone"] == (None, False)
    assert server.prompts["prompt"].choices == {"numbers": (), "order": (), "tone": ("z", "a")}


def matched(template: str, annotation: Any, uri: str, *default: Any) -> dict[str, Any] | None:
    server = McpServer("s")
    server.resource(template)(taking(annotation, *default))
    return server.resources[template].match(uri)


@pytest.mark.parametrize(
    ("template", "annotation", "uri", "value"),
    [
        ("a://{where*}", list[str], "a://b,c", ["b", "c"]),
        ("a://z{/where*}", list[str], "a://z/b/c", ["b", "c"]),
        ("a://z{/where*}", str, "a://z/b/c", "b/c"),
        ("a://z{/where*}", list[int] | None, "a://z/1/2", [1, 2]),
        ("a://z{/where*}", tuple[int, ...], "a://z/1", (1,)),
        ("a://z{?where*}", set[Size], "a://z?where=s&where=l", {Size.SMALL, Size.LARGE}),
        ("a://z{?where}", list[str], "a://z?where=1,2", ["1", "2"]),
        ("a://{where}", int, "a://5", 5),
        ("a://{where}", bool, "a://yes", True),
        ("a://{where}", date, "a://2026-01-01", date(2026, 1, 1)),
    ],
)
def test_a_variable_is_read_as_its_type(template: str, annotation: Any, uri: str, value: Any) -> None:
    assert matched(template, annotation, uri) == {"where": value}


def test_a_variable_that_does_not_convert_or_is_missing_is_a_resource_that_is_not_there() -> None:
    assert matched("a://{where}", int, "a://x") is None
    assert matched("a://z{/where*}", list[int], "a://z/1/x") is None
    assert matched("a://z{?where*}", list[int], "a://z") is None
    assert matched("a://z{?where*}", list[int], "a://z", [1]) == {"where": [1]}


@pytest.mark.parametrize(
    "annotation", [dict[str, str], Order, Path, list[list[str]], list[Order], list[str] | str, tuple[int, str]]
)
def test_a_template_whose_variable_no_address_can_give_is_refused(annotation: Any) -> None:
    with pytest.raises(UnsupportedType, match=r"resource 'a://\{where\}': parameter 'where': "):
        matched("a://{where}", annotation, "")


def test_a_list_that_no_address_can_be_split_into_is_refused() -> None:
    for template in ("a://{where:3}", "a://z{#where,more}"):
        with pytest.raises((BadTemplate, UnsupportedType)):
            matched(template, list[str], "")


def test_a_completion_of_what_is_not_there_is_refused() -> None:
    server = McpServer("s")
    server.prompt("prompt")(taking(str))
    server.resource("a://{where}")(taking(str))
    server.resource("a://fixed")(lambda: "")
    for ref in ("prompt", "a://{where}"):
        server.completion(ref, "where")(completes)
        with pytest.raises(ValueError, match="'other' is none of its arguments: where"):
            server.completion(ref, "other")
    for ref in ("nothing", "a://fixed"):
        with pytest.raises(ValueError, match="register the prompt or template of this name before it"):
            server.completion(ref, "where")


async def completes(value: str, arguments: dict[str, str]) -> list[str]:
    return [value, *arguments]


@pytest.mark.parametrize(("parameter", "annotation"), [("value", int), ("arguments", str), ("other", str)])
def test_a_completion_that_could_never_be_called_is_refused(parameter: str, annotation: Any) -> None:
    server = McpServer("s")
    server.prompt("prompt")(taking(str))
    space: dict[str, Any] = {}
    exec(f"def complete({parameter}): ...", space)
    space["complete"].__annotations__ = {parameter: annotation}
    with pytest.raises(UnsupportedType, match="completion of 'prompt'"):
        server.completion("prompt", "where")(space["complete"])
