"""A JSON Schema asked of a value: told why, within what a caller may cost."""

from typing import Any

from mcp_server.authoring import schema

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
    (told,) = violations(nested(60, 1))
    assert "below 6 levels" in told.message
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
