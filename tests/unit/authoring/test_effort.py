"""What counting costs: it is by kinds of values, and ends where it takes longer than what it is to prevent."""

from typing import Any

import pytest

from mcp_server.authoring import schema
from mcp_server.authoring.validation import effort

NODE: dict[str, Any] = {
    "anyOf": [
        {"type": "object", "properties": {"and": {"items": {"$ref": "#/$defs/node"}}}, "required": ["and"]},
        {"type": "object", "properties": {"in": {"items": {"type": ["integer", "string"]}}}, "required": ["in"]},
    ]
}
FILTER: dict[str, Any] = {**NODE, "$defs": {"node": NODE}}
MANY = 15_000


@pytest.mark.parametrize(
    "value",
    [
        {"and": [{"in": [n, n + 1]} for n in range(MANY)]},
        {"in": list(range(MANY))},
        {"in": [f"order-{n}" for n in range(MANY)]},
        {"and": [{"in": [n if n % 2 else str(n)]} for n in range(MANY)]},
    ],
)
def test_many_parts_of_few_kinds_are_held_against_a_schema_that_refers_to_itself(value: dict[str, Any]) -> None:
    assert not list(schema.validator(FILTER)(value))


def test_what_would_take_long_to_count_is_not_held_against_it() -> None:
    value = {"and": [{f"name-{n}": n} for n in range(MANY)]}
    with pytest.raises(effort.TooMuch):
        effort.evaluations(FILTER, value, 10**12)
    assert list(schema.validator(FILTER)(value)) == [schema.UNASKED]


ITEM = {"anyOf": [{"properties": {"a": {"items": True}}}, {"maxLength": 3}, {"prefixItems": [{"not": {}}]}]}
ITEMS: list[Any] = [
    1,
    2,
    2**60,
    2**61,
    1.5,
    2.5,
    True,
    None,
    "a",
    "bb",
    "cc",
    {},
    {"a": 1},
    {"a": [1]},
    {"a": ["x"]},
    [],
    [1],
]


@pytest.mark.parametrize("times", [1, 3])
def test_a_list_costs_what_its_items_cost(times: int) -> None:
    items = ITEMS * times
    each = [effort.evaluations(ITEM, one, 10**6) for one in items]
    assert effort.evaluations({"items": ITEM}, items, 10**6) == 1 + sum(each)
    first, *others = each
    beside = {"prefixItems": [ITEM], "items": True, "contains": ITEM}
    assert effort.evaluations(beside, items, 10**6) == 1 + first + len(others) + sum(each)


def test_members_are_looked_at_by_all_that_may_concern_them() -> None:
    found = {"properties": {"a": ITEM}, "patternProperties": {"^b": True, "^c": True}, "propertyNames": {"not": {}}}
    a = effort.evaluations(ITEM, 1, 100)
    assert effort.evaluations(found, {"a": 1, "b": 2}, 100) == 1 + (a + 2 + 2) + (1 + 2 + 2)
