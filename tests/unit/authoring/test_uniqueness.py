"""Lists without equals: numbers that a validator takes for one by their hash, and compares each with each."""

from typing import Any

import pytest

from mcp_server.authoring import schema
from mcp_server.authoring.validation import effort
from mcp_server.authoring.validation.uniqueness import Shapes, has_many
from mcp_server.authoring.validation.weights import Weights

UNIQUE: dict[str, Any] = {"type": "array", "uniqueItems": True}
BIG, HUGE = 2**62, 10**400
TREE: dict[str, Any] = {
    "$ref": "#/$defs/N",
    "$defs": {"N": {**UNIQUE, "items": {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "integer"}]}}},
}


def violations(given: dict[str, Any], value: Any) -> list[str]:
    return [str(one.message) for one in schema.validator(given)(value)]


def nested(bottom: list[Any], levels: int) -> list[Any]:
    for level in range(levels):
        bottom = [bottom, level]
    return bottom


@pytest.mark.parametrize(
    "items",
    [
        [BIG + n for n in range(4_000)],
        [-BIG - n for n in range(4_000)],
        [HUGE + n for n in range(1_000)],
        [[BIG + n] for n in range(1_000)],
        [{"id": {"of": BIG + n}} for n in range(1_000)],
    ],
)
def test_numbers_that_share_their_double_are_not_compared_by_the_million(items: list[Any]) -> None:
    """4,000 of them, 80 kB, were a minute of the validator in which nobody else was served."""
    for given in (UNIQUE, {"properties": {"a": UNIQUE}}):
        (told,) = violations(given, items if given is UNIQUE else {"a": items})
        assert "too many ways" in told


@pytest.mark.parametrize(
    "items",
    [
        [BIG + n for n in range(30)],
        [BIG + n * 4_096 for n in range(2_000)],  # ids as many APIs have them: each has a double of its own
        [{"id": BIG + n * 4_096} for n in range(500)],
        list(range(10_000)),
        [f"{BIG + n}" for n in range(4_000)],
        [1e300 * n for n in range(1, 1_000)],
    ],
)
def test_what_is_found_by_its_hash_is_held_against_the_schema(items: list[Any]) -> None:
    assert violations(UNIQUE, items) == []
    assert violations(UNIQUE, [*items, items[0]])


def test_what_lists_in_lists_hash_again_and_again_is_counted() -> None:
    """A tree of unique lists is hashed whole at each of its levels."""
    wide = nested(list(range(5_000)), 100)
    weights = Weights(TREE)
    plain = effort.evaluations(TREE, wide, 10**9)
    assert effort.evaluations(TREE, wide, 10**9, weights) > plain + 100 * 5_000 // 10
    with pytest.raises(effort.TooMuch):
        effort.evaluations(TREE, nested([BIG + n for n in range(1_000)], 3), schema.MOST, weights)


def test_each_part_is_looked_at_once() -> None:
    class Counted(list[Any]):
        walks = 0

        def __iter__(self) -> Any:
            Counted.walks += 1
            return super().__iter__()

    inner = Counted([BIG, BIG + 1])
    shapes = Shapes()
    assert shapes.cost([inner, [inner]]) == shapes.cost([inner, [inner]])
    assert Counted.walks == 1


def test_few_large_numbers_are_not_counted_on() -> None:
    assert not has_many({"a": [BIG] * 32, "b": [True, 1.5, "x", 7]}, 32)
    assert has_many({"a": [BIG] * 32, "b": [[BIG]]}, 32)
