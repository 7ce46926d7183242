"""JSON that means what a type says is read as the type says it."""

import enum
from dataclasses import dataclass
from datetime import datetime, time
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest

from mcp_server import Context, McpServer, elicitation
from mcp_server.authoring import lenient
from mcp_server.authoring.errors import BadArguments
from tests.unit.registry.test_tool import raw, tool_of


class Level(enum.IntEnum):
    LOW = 1


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    weight: float


class Row(msgspec.Struct, array_like=True):
    number: int


class Tree(msgspec.Struct):
    size: int = msgspec.field(name="n", default=0)
    inner: "Tree | None" = None


class Typed(TypedDict):
    at: time


class Named(NamedTuple):
    number: int
    share: float = 0.5


@dataclass
class Data:
    numbers: list[int]


@pytest.mark.parametrize(
    ("kind", "written", "meant"),
    [
        (int, b"5.0", 5),
        (int, b"1e3", 1000),
        (int, b"-0.0", 0),
        (int, b"18446744073709551616", 2**64),
        (int | None, b"5.0", 5),
        (int | str, b"5.0", 5),
        (Annotated[int, msgspec.Meta(le=5)] | None, b"5.0", 5),
        (int | float, b"5.0", 5.0),
        (float, b"5", 5.0),
        (Literal[1, 2], b"1.0", 1),
        (Level, b"1.0", Level.LOW),
        (list[int], b"[1.0, 2]", [1, 2]),
        (set[int] | None, b"[1.0]", {1}),
        (tuple[int, float, Level], b"[1.0, 1.0, 1.0]", (1, 1.0, Level.LOW)),
        (dict[str, int], b'{"a": 1.0}', {"a": 1}),
        (dict[str, int | list[int]], b'{"a": 1.0, "b": [2.0]}', {"a": 1, "b": [2]}),
        (dict[str, dict[str, int]] | list[int], b'{"a": {"b": 1.0}}', {"a": {"b": 1}}),
        (list[Cat | Dog], b'[{"type": "cat", "lives": 9.0}, {"type": "dog", "weight": 9.0}]', [Cat(9), Dog(9.0)]),
        (Row, b"[1.0]", Row(1)),
        (Tree, b'{"inner": {"n": 1.0}}', Tree(0, Tree(1))),
        (Named, b"[1.0, 1.0]", Named(1, 1.0)),
        (Data, b'{"numbers": [1.0]}', Data([1])),
        (datetime, b'"2026-01-01T10:30"', datetime(2026, 1, 1, 10, 30)),  # noqa: DTZ001 - a form has no offset
        (Typed, b'{"at": "10:30"}', {"at": time(10, 30)}),
        (time | None, b'"10:30"', time(10, 30)),
        (dict[str, Any] | None, b'{"a": 1.0}', {"a": 1.0}),
    ],
)
def test_whole_numbers_and_times_are_read_as_they_are_meant(kind: Any, written: bytes, meant: Any) -> None:
    read = lenient.decoder(kind)(written)
    assert (type(read), read, repr(read)) == (type(meant), meant, repr(meant))


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        (int, b"5.5"),
        (int, b"9007199254740994.0"),  # past 2**53 the number may not be the one that was written
        (int, b"1e400"),
        (int, b"true"),
        (int, b'"5"'),
        (Literal[1, 2], b"3.0"),
        (Cat | Dog, b'{"type": "cow", "lives": 1.0}'),
        (bool, b"1.0"),
        (str, b"1.0"),
        (datetime, b'"2026-01-01"'),
        (Data, b'{"numbers": {"a": 1.0}}'),
        (tuple[int, int], b"[1.0, 2.0, 3.0]"),
    ],
)
def test_what_does_not_fit_is_refused_still(kind: Any, written: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        lenient.decoder(kind)(written)


async def counted(many: int, few: int = 5, share: float | None = None, tags: list[str] | None = None) -> str:
    """Take numbers."""
    return repr((many, few, share, tags))


def test_null_for_what_has_a_default_is_the_default() -> None:
    decode = tool_of(counted).decode
    assert decode(raw({"many": 1.0, "few": None})) == {"many": 1, "few": 5, "share": None, "tags": None}
    assert decode(msgspec.Raw(b'{"many":1,"share":5.0,"few":6.0}'))["share"] == 5.0
    for refused, said in (
        ({"many": None}, "many: Expected `int`, got `null`"),
        ({"many": 1.0, "few": "x"}, "few: Expected `int`, got `str`"),
        ({"many": 1.0, "other": None}, "Object contains unknown field `other`"),
        ({"few": 1.0}, "Object missing required field `many`"),
    ):
        with pytest.raises(BadArguments) as bad:
            decode(raw(refused))
        assert str(bad.value) == said


async def texted(
    required: int,
    numbers: list[int] | None = None,
    where: Data | None = None,
    sure: bool = True,
    level: Level = Level.LOW,
    name: str | int = "n",
    any: Any = None,  # noqa: A002
    when: datetime | None = None,
    text: Literal["[1]"] | int = 1,
    size: Literal["s", "m"] = "s",
) -> None:
    """Take all kinds."""


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"required": "5"}, {"required": 5}),
        ({"required": " 5.0 "}, {"required": 5}),
        ({"numbers": "[1, 2.0]"}, {"numbers": [1, 2]}),
        ({"numbers": "null"}, {"numbers": None}),
        ({"numbers": ""}, {"numbers": None}),
        ({"where": '{"numbers": [1]}'}, {"where": Data([1])}),
        ({"sure": "false"}, {"sure": False}),
        ({"sure": ""}, {"sure": True}),
        ({"sure": "null"}, {"sure": True}),
        ({"when": ""}, {"when": None}),
        ({"size": ""}, {"size": "s"}),
        ({"level": "1"}, {"level": Level.LOW}),
        ({"required": "5", "name": "5", "any": "[1]"}, {"name": "5", "any": "[1]"}),
        ({"required": "5", "text": "[1]", "name": ""}, {"text": "[1]", "name": ""}),
    ],
)
def test_json_texts_and_empty_ones_are_read_where_no_text_may_stand(given: Any, meant: Any) -> None:
    decoded = tool_of(texted).decode(raw({"required": 1, **given}))
    assert {name: decoded[name] for name in meant} == meant


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"required": ""}, "required: Expected `int`, got `str`"),
        ({"required": "five"}, "required: Expected `int`, got `str`"),
        ({"required": "05"}, "required: Expected `int`, got `str`"),
        ({"required": "null"}, "required: Expected `int`, got `null`"),
        ({"required": '"5"'}, "required: Expected `int`, got `str`"),
        ({"numbers": "[1, 'a']"}, "numbers: Expected `array | null`, got `str`"),
        ({"numbers": '["1"]'}, "numbers[0]: Expected `int`, got `str`"),
        ({"numbers": ["1"]}, "numbers[0]: Expected `int`, got `str`"),
        ({"where": "[" * 5000 + "]" * 5000}, "nested too deeply"),
        ({"sure": "yes"}, "sure: Expected `bool`, got `str`"),
        ({"size": "l"}, "size: Invalid enum value 'l'"),
        ({"when": "never"}, "when: Invalid RFC3339"),
    ],
)
def test_a_text_that_means_nothing_else_is_refused_as_one(given: Any, said: str) -> None:
    with pytest.raises(BadArguments) as bad:
        tool_of(texted).decode(raw({"required": 1, **given}))
    assert said in str(bad.value)


async def nothing() -> None:
    """Take nothing."""


def test_a_tool_without_parameters_takes_cursors_dummy_and_nothing_else() -> None:
    decode = tool_of(nothing).decode
    assert decode(raw({"random_string": "x"})) == {}
    for given in ({"dry_run": True}, {"random_string": "x", "dry_run": True}, ["random_string"]):
        with pytest.raises(BadArguments):
            decode(raw(given))
    with pytest.raises(BadArguments, match="random_string"):
        tool_of(texted).decode(raw({"required": 1, "random_string": "x"}))


def test_broken_json_is_refused_in_each_reading() -> None:
    decode = tool_of(counted).decode
    for broken in (b'{"many": 1.0, "few": ', b'{"many": 1.0, "tags": "\xff"}', b'{"many": 1.0} x', b"[1.0]"):
        with pytest.raises(BadArguments):
            decode(msgspec.Raw(broken))

    async def deep(tree: Tree) -> str:
        return str(tree)

    nested = b'{"tree":' + b'{"inner":' * 3000 + b'{"n":1.0}' + b"}" * 3001
    with pytest.raises(BadArguments, match="nested too deeply"):
        tool_of(deep).decode(msgspec.Raw(nested))


def test_a_forms_answer_is_read_alike() -> None:
    class Form(msgspec.Struct):
        number: int
        at: datetime

    read = elicitation("?", Form).read
    answer = read(msgspec.Raw(b'{"action":"accept","content":{"number":5.0,"at":"2026-01-01T10:30"}}'))
    assert answer.content == Form(5, datetime(2026, 1, 1, 10, 30))  # noqa: DTZ001


def test_a_type_without_numbers_or_times_has_no_second_reading() -> None:
    class Plain(msgspec.Struct):
        name: str

    assert lenient.second_reading(Plain) is None
    server = McpServer("s")

    @server.tool
    async def plain(name: str, ctx: Context) -> str:
        return name + ctx.request_id

    with pytest.raises(BadArguments, match="name: Expected `str`, got `float`"):
        server.tools["plain"].decode(raw({"name": 1.0}))
