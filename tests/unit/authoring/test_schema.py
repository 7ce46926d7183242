"""A JSON Schema asked of a value: told why, within what a caller may cost."""

from typing import Any

import pytest

from mcp_server.authoring import schema
from mcp_server.authoring.validation import effort

NODE: dict[str, Any] = {
    "$defs": {
        "node": {
            "oneOf": [
                {"type": "object", "properties": {"op": {"enum": ["and", "or"]}, "child": {"$ref": "#/$defs/node"}}},
                {"type": "object", "properties": {"op": {"const": "not"}, "child": {"$ref": "#/$defs/node"}}},
            ]
        }
    },
    "$ref": "#/$defs/node",
}


def nested(depth: int, leaf: Any) -> Any:
    value = leaf
    for _ in range(depth):
        value = {"op": "and", "child": value}
    return value


def test_why_a_deep_value_fits_no_alternative_is_not_searched_for() -> None:
    """Each level has two branches, and each would be told: 350 bytes of a caller took the whole memory."""
    violations = schema.validator(NODE)
    (told,) = violations(nested(9, 1))
    assert "too large to say where" in told.message
    assert list(told.instance_path) == []
    assert told.kind.name == "nested"
    assert list(violations(nested(2, {"op": "and"}))) == []


def test_a_shallow_one_is_told_by_its_place() -> None:
    (told, *_) = schema.validator(NODE)(nested(2, 1))
    assert told.message != schema.Violation().message


def test_a_deep_value_without_alternatives_is_told_by_its_place() -> None:
    plain = {"type": "object", "properties": {"a": {"type": "object", "additionalProperties": {"type": "array"}}}}
    (told,) = schema.validator(plain)({"a": {"x": [[[[[[[[1]]]]]]]], "y": 5}})
    assert list(told.instance_path) == ["a", "y"]


def doubled(keyword: str, levels: int, **more: Any) -> dict[str, Any]:
    """Each definition two of the next: a validator that walks every way looks 2^levels times."""
    ways = {f"A{i}": {keyword: [{"$ref": f"#/$defs/A{i + 1}"}] * 2, **more} for i in range(levels)}
    return {"$ref": "#/$defs/A0", "$defs": {**ways, f"A{levels}": {"type": "integer"}}}


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
@pytest.mark.parametrize("value", [1, "x"])
def test_a_fan_of_definitions_is_not_walked(keyword: str, value: Any) -> None:
    """Forty of them are a hundred years, and nothing stops a validator that has begun."""
    (told,) = schema.validator(doubled(keyword, 40))(value)
    assert "too many ways" in told.message


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_a_fan_that_is_small_is_told_as_ever(keyword: str) -> None:
    (told, *_) = schema.validator(doubled(keyword, 4))("x")
    assert told.message != schema.Violation().message


def test_what_is_left_over_by_what_is_left_over_is_not_walked() -> None:
    """Each `unevaluatedProperties` looks once more at all that stands beside it."""
    found: dict[str, Any] = {"properties": {"z": {}}}
    for _ in range(30):
        found = {"allOf": [found], "unevaluatedProperties": False}
    (told,) = schema.validator(found)({"y": 1})
    assert "too many ways" in told.message


def test_how_deep_alternatives_of_themselves_go_is_a_callers_and_bounded() -> None:
    (told,) = schema.validator(NODE)(nested(200, {"op": "and"}))
    assert "too many ways" in told.message


@pytest.mark.parametrize("items", [{"type": "integer"}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}])
def test_of_very_many_wrong_items_not_each_is_told(items: dict[str, Any]) -> None:
    """A hundred thousand violations took eight seconds to be told, of alternatives fifty, and three are shown."""
    whole = {"type": "object", "properties": {"a": {"type": "array", "items": items}}}
    (told,) = schema.validator(whole)({"a": ["x"] * 50_000})
    assert told.instance_path == (["a", 0] if "type" in items else ())
    assert list(schema.validator(whole)({"a": [1] * 50_000})) == []


class TestEffort:
    """Counted is what a validator would do."""

    @pytest.mark.parametrize(
        ("found", "count"),
        [
            (True, 1),
            ({"type": "string"}, 1),
            ({"allOf": [{}, {}]}, 3),
            ({"anyOf": [{"oneOf": [{}, {}]}, {"not": {}}]}, 6),
            ({"if": {}, "then": {}, "else": {}}, 4),
            ({"dependentSchemas": {"a": {}, "b": {}}}, 3),
            ({"properties": {f"p{i}": {"allOf": [{}, {}]} for i in range(9)}}, 3),
            ({"properties": {"a": {}}, "patternProperties": {"a": {}, "b": {}}}, 3),
            ({"prefixItems": [{}, {}], "items": {}, "contains": {}}, 2),
            ({"allOf": [{}], "unevaluatedItems": False}, 4),
            ({"$ref": "#/$defs/round"}, 5),
            ({"$ref": "#/$defs/nowhere"}, 1),
        ],
    )
    def test_of_any_one_part_at_most(self, found: Any, count: int) -> None:
        round_about = {"round": {"anyOf": [{"$ref": "#/$defs/round"}, {}]}}
        assert effort.fanout(found, round_about) == count

    def test_endless_is_as_much_as_it_gets(self) -> None:
        whole = doubled("allOf", 90)
        assert effort.fanout(whole, whole["$defs"]) == effort.ENDLESS
        deep: Any = {}
        for _ in range(300):
            deep = {"items": deep}
        assert effort.fanout(deep, {}) == effort.ENDLESS

    def test_in_a_value_each_part_counts(self) -> None:
        whole = {
            "properties": {"a": {"anyOf": [{}, {}]}},
            "patternProperties": {"^b": {}},
            "unevaluatedProperties": {},
            "items": {},
            "prefixItems": [{"allOf": [{}]}],
            "contains": {},
        }
        assert effort.evaluations(whole, {"a": 1, "b": 2}, 100) == 1 + (3 + 1 + 1) + (1 + 1 + 1)
        assert effort.evaluations(whole, [1, 2], 100) == 1 + (2 + 1) + (1 + 1)
        assert effort.evaluations(True, [1, 2], 100) == 1

    def test_a_value_too_deep_to_be_counted_is_too_much(self) -> None:
        deep: Any = []
        for _ in range(2_000):
            deep = [deep]
        with pytest.raises(effort.TooMuch):
            effort.evaluations({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, deep, 10**6)

    def test_a_circle_is_one_by_whatever_way(self) -> None:
        def ref(name: str) -> dict[str, Any]:
            return {"properties": {"x": {"items": [{"$ref": f"#/$defs/{name}"}]}}}

        assert effort.is_recursive({"a": ref("b"), "b": ref("a"), "c": ref("a")})
        assert not effort.is_recursive({"a": ref("b"), "b": ref("c"), "c": ref("nowhere")})
