"""What a signature says of its types is shown and held: constraints, defaults, schemas; else it is refused by name."""

import enum
import inspect
import pathlib
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal, TypedDict

import annotated_types
import msgspec
import pydantic
import pytest
from jsonschema_rs import Draft202012Validator
from typing_extensions import Doc

from mcp_server import McpServer, mcp_header
from mcp_server.authoring.errors import BadArguments, UnsupportedType
from tests.kit.signatures import taking
from tests.unit.registry.test_tool import raw, tool_of


def shown(annotation: Any, default: Any = inspect.Parameter.empty) -> Any:
    return tool_of(taking(annotation, default)).entry.input_schema["properties"]["where"]


# Constraints

Positive = Annotated[int, annotated_types.Gt(0)]


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (Annotated[int, annotated_types.Ge(1)], 1, 0),
        (Annotated[int, annotated_types.Gt(1)], 2, 1),
        (Annotated[float, annotated_types.Le(1)], 1, 1.5),
        (Annotated[int, annotated_types.Lt(1)], 0, 1),
        (Annotated[int, annotated_types.Interval(ge=1, lt=3)], 2, 3),
        (Annotated[int, annotated_types.MultipleOf(5)], 10, 11),
        (Annotated[str, annotated_types.MaxLen(3)], "abc", "abcd"),
        (Annotated[list[str], annotated_types.Len(1, 2)], ["a"], []),
        (Annotated[dict[str, int], annotated_types.MinLen(1)], {"a": 1}, {}),
        (list[Positive], [1], [0]),
        (dict[str, Positive | None], {"a": None}, {"a": 0}),
        (Annotated[int | None, annotated_types.Ge(1)], None, 0),
        (Positive | None, 1, 0),
        (tuple[Positive, str], [1, "a"], [0, "a"]),
        (Annotated[int, pydantic.Field(ge=1, le=9)], 9, 10),
        (Annotated[str, pydantic.Field(pattern="^a", min_length=2)], "ab", "a"),
        (Annotated[str, pydantic.StringConstraints(pattern="^a")], "a", "b"),
        (Annotated[int, pydantic.Field(strict=True, multiple_of=2)], 2, 3),
        (pydantic.PositiveInt, 1, 0),
        (pydantic.conint(ge=2), 2, 1),
    ],
)
def test_constraints_are_shown_and_held(annotation: Any, good: Any, bad: Any) -> None:
    tool = tool_of(taking(annotation))
    judge = Draft202012Validator(tool.entry.input_schema)
    assert judge.is_valid({"where": good})
    assert not judge.is_valid({"where": bad})
    tool.decode(raw({"where": good}))
    with pytest.raises(BadArguments, match="where"):
        tool.decode(raw({"where": bad}))


def test_a_field_of_pydantic_is_described_and_has_its_default() -> None:
    assert shown(Annotated[int, pydantic.Field(5, description="how many", title="T", examples=[1])]) == {
        "type": "integer", "description": "how many", "default": 5, "title": "T", "examples": [1],
    }  # fmt: skip
    assert shown(int, pydantic.Field(5, ge=1)) == {"type": "integer", "minimum": 1, "default": 5}
    assert shown(list[int], pydantic.Field(default_factory=list))["default"] == []
    assert "default" not in shown(str, pydantic.Field(default_factory=lambda: uuid.uuid4().hex))
    assert shown(Annotated[int, Doc("how many")])["description"] == "how many"
    required = tool_of(taking(int, pydantic.Field(description="how many")))
    assert required.entry.input_schema["required"] == ["where"]
    made = tool_of(taking(str, pydantic.Field(default_factory=lambda: uuid.uuid4().hex)))
    assert made.decode(raw({})) != made.decode(raw({}))


class Guarded(msgspec.Struct):
    number: Annotated[int, pydantic.Field(ge=1)]


class Pydantic(pydantic.BaseModel):
    number: int


class One(msgspec.Struct):
    x: int


class Two(msgspec.Struct):
    y: int


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (Annotated[int, annotated_types.Predicate(bool)], "annotated_types.Predicate is not served; use msgspec.Meta"),
        (Annotated[int, pydantic.AfterValidator(abs)], "AfterValidator"),
        (Annotated[int, pydantic.Field(alias="b")], "alias= of pydantic's Field is not served"),
        (Annotated[int, pydantic.Field(strict=False)], "strict="),
        (Annotated[Decimal, pydantic.Field(max_digits=3)], "max_digits= is not served"),
        (Annotated[str, annotated_types.Ge(1)], "`ge`"),
        (Annotated[date, annotated_types.Ge(date(2026, 1, 1))], "ge"),
        (Annotated[str, pydantic.Field(pattern="(")], "pattern"),
        (Annotated[int, object()], "builtins.object in Annotated"),
        (Guarded, "Guarded.number: pydantic.fields.FieldInfo"),
        (list[Guarded | None], "Guarded.number"),
        (pathlib.Path, "pathlib.Path is not served; use str"),
        (Pydantic, "Pydantic is not served; use msgspec.Struct"),
        (dict[str, list[Pydantic]], "Pydantic is not served"),
        (pydantic.SecretStr, "SecretStr is not served; use str"),
        (One | Two, "multiple Struct types"),
        (complex, "complex is not served; use two numbers"),
        (object, "object is not served; use Any"),
        (Iterable[int], "Iterable is not served; use list"),
        (Callable[[], int], "Callable"),
        (type, "type is not served"),
        ("Unknown", "name 'Unknown' is not defined; import it where the module runs"),
        ("list[", "not known"),
    ],
)
def test_what_is_not_served_is_refused_by_name(annotation: Any, said: str) -> None:
    server = McpServer("s")
    for register, label in (
        (server.tool, "tool 'find'"),
        (server.prompt, "prompt 'find'"),
        (server.resource("a://{where}"), "resource 'a://{where}'"),
    ):
        with pytest.raises(UnsupportedType) as refused:
            register(taking(annotation))
        assert str(refused.value).startswith(f"{label}: parameter 'where': ")
        assert said in str(refused.value)
        assert "schema_hook" not in str(refused.value)
    if not isinstance(annotation, str):
        with pytest.raises(UnsupportedType, match="tool 'find': the result: "):
            server.tool(taking(str, returned=annotation))
    assert not (server.tools or server.prompts or server.resources)


def test_an_unknown_name_in_the_result_is_told_too() -> None:
    with pytest.raises(UnsupportedType, match="tool 'find': the result: 'Unknown' is not known"):
        tool_of(taking(int, returned="Unknown"))


# Defaults


@dataclass
class Size:
    width: int = 1


@pytest.mark.parametrize(
    ("annotation", "default", "schema"),
    [
        (int, None, {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}),
        (list[str], ["x"], {"type": "array", "items": {"type": "string"}, "default": ["x"]}),
        (
            dict[str, int],
            {"k": 1},
            {"type": "object", "additionalProperties": {"type": "integer"}, "default": {"k": 1}},
        ),
        (set[int], {1}, {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "default": [1]}),
        (date, date(2026, 1, 1), {"type": "string", "format": "date", "default": "2026-01-01"}),
        (Size, Size(2), {"$ref": "#/$defs/Size", "default": {"width": 2}}),
        (Any, None, {"default": None}),
        (int | msgspec.UnsetType, msgspec.UNSET, {"type": "integer"}),
    ],
)
def test_a_default_is_shown_and_can_be_sent(annotation: Any, default: Any, schema: Any) -> None:
    tool = tool_of(taking(annotation, default))
    assert tool.entry.input_schema["properties"]["where"] == schema
    assert tool.decode(raw({})) == {"where": default}
    if "default" in schema:
        assert tool.decode(raw({"where": schema["default"]})) == {"where": default}


def test_a_default_that_calls_could_change_is_made_anew() -> None:
    tool = tool_of(taking(dict[str, list[int]], {"a": [1]}))
    tool.decode(raw({}))["where"]["a"].append(2)
    assert tool.decode(raw({})) == {"where": {"a": [1]}}


@pytest.mark.parametrize(
    ("annotation", "default"), [(int, "a"), (int, 5.5), (Positive, 0), (str, object()), (Literal["a"], "b")]
)
def test_a_default_that_its_own_schema_denies_is_refused(annotation: Any, default: Any) -> None:
    with pytest.raises(UnsupportedType, match=r"tool 'find': parameter 'where': the default .* does not fit the type"):
        tool_of(taking(annotation, default))


# Schemas


class Order(enum.Enum):
    NEW = "new"
    DONE = "done"
    BROKEN = "broken"


class Item(msgspec.Struct, rename="camel"):
    sent_at: datetime
    order: Order
    size: Literal["s", "m", "l"] = "s"
    many: int = None  # type: ignore[assignment]  # as authors write it
    note: str | None = None
    inner: "list[Item] | None" = None


class Slot(TypedDict):
    at: time
    day: date


def test_choices_stand_in_the_order_they_were_written_in() -> None:
    assert shown(Literal["small", "medium", "large"])["enum"] == ["small", "medium", "large"]
    assert shown(Literal[2, 1, "x"])["enum"] == [2, 1, "x"]
    assert shown(Literal["b", "a"] | None)["anyOf"][0]["enum"] == ["b", "a"]
    assert shown(dict[str, list[Literal["b", "a"]]])["additionalProperties"]["items"]["enum"] == ["b", "a"]
    definitions = tool_of(taking(Item)).entry.input_schema["$defs"]
    assert definitions["Order"]["enum"] == ["new", "done", "broken"]
    assert definitions["Item"]["properties"]["size"]["enum"] == ["s", "m", "l"]


def test_times_have_a_format_where_they_are_read() -> None:
    assert shown(datetime) == {"type": "string", "format": "date-time"}
    assert shown(tuple[time, int])["prefixItems"][0] == {"type": "string", "format": "time"}
    assert shown(datetime | int)["anyOf"] == [{"type": "string", "format": "date-time"}, {"type": "integer"}]
    assert [shown(one)["format"] for one in (date, Decimal, uuid.UUID)] == ["date", "decimal", "uuid"]
    definitions = tool_of(taking(dict[str, Item])).entry.input_schema["$defs"]
    assert definitions["Item"]["properties"]["sentAt"]["format"] == "date-time"
    slot = tool_of(taking(Slot)).entry.input_schema["$defs"]["Slot"]["properties"]
    assert {name: one["format"] for name, one in slot.items()} == {"at": "time", "day": "date"}

    assert tool_of(taking(str, returned=datetime)).entry.output_schema == {
        "type": "string"
    }  # one without an offset is no RFC 3339 text


def test_a_null_default_that_its_own_schema_denies_is_not_shown_inside_a_class() -> None:
    fields = tool_of(taking(Item)).entry.input_schema["$defs"]["Item"]["properties"]
    assert ("default" in fields["many"], fields["note"]["default"], fields["inner"]["default"]) == (False, None, None)


class Where(msgspec.Struct):
    region: Annotated[str, mcp_header("Region")]


def test_a_class_that_stands_twice_keeps_what_it_refers_to() -> None:
    def plain(a: One, b: One, c: list[One]) -> None: ...

    def twice(a: Where, b: Where) -> None: ...

    def listed(a: Where, b: list[Where]) -> None: ...

    schema = tool_of(plain).entry.input_schema
    assert set(schema["$defs"]) == {"One"}
    with pytest.raises(ValueError, match="tool 'twice': x-mcp-header: two parameters name the same header"):
        tool_of(twice)
    with pytest.raises(ValueError, match="where no chain of properties leads"):
        tool_of(listed)
