"""What costs a validator more than a look: counted, and above a bound not asked at all."""

from typing import Any

import pytest

from mcp_server.authoring import schema
from mcp_server.authoring.validation import effort, weights

HALVES = [one / 2 for one in range(1, 25)]
BACKTRACKING = "(?=a)a*b"


def every(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def cost(found: dict[str, Any], value: Any) -> int:
    return effort.evaluations(found, value, 10**12, weights.Weights(found))


def is_asked(found: dict[str, Any], value: Any) -> bool:
    return schema.UNASKED not in list(schema.validator(found)(value))


@pytest.mark.parametrize(
    ("found", "value"),
    [
        (every({"type": "number", "enum": HALVES}), [12.0] * 10_000),
        (every({"enum": list(range(900))}), [899.0] * 5_000),
        (every({"enum": ["a", 10**30, *range(100)]}), [99] * 5_000),
        (every({"enum": [{"a": one} for one in range(100)]}), [{"a": 99}] * 5_000),
        (every({"const": list(range(1_000))}), [[0]] * 1_000),
        (every({"multipleOf": 1e-300}), [1.0] * 5_000),
        (every({"multipleOf": 0.01}), [10**4_000] * 1_000),
        (every({"required": [f"k{one}" for one in range(400)]}), [{"k0": 1} for _ in range(10_000)]),
        (every({"dependentRequired": {f"k{one}": ["a"] for one in range(200)}}), [{"k0": 1} for _ in range(10_000)]),
        ({"pattern": BACKTRACKING}, "a" * 200_000),
        ({"pattern": r"[ab]*a[ab]{199}c"}, "ab" * 50_000),
        ({"pattern": r"^[ab]*a([ab]{19}){20}c"}, "ab" * 50_000),
        (every({"pattern": r"^(a|aa)+\1$"}), ["a" * 50] * 2_000),
        ({"patternProperties": {BACKTRACKING: {}}}, {"a" * 200_000: 1}),
        ({"propertyNames": {"pattern": BACKTRACKING}}, {"a" * 200_000: 1}),
        ({"anyOf": [{"$ref": "#/$defs/a"}, {}], "$defs": {"a": {"pattern": BACKTRACKING}}}, "a" * 200_000),
    ],
)
def test_what_would_hold_every_other_call_is_not_asked(found: dict[str, Any], value: Any) -> None:
    """Ten thousand numbers of twenty-four took 0.4 s, a text of 200 KB against a look-ahead twenty."""
    assert not is_asked(found, value)


@pytest.mark.parametrize(
    ("found", "value"),
    [
        (every({"enum": HALVES}), [12.0] * 1_000),
        (every({"enum": list(range(900))}), [899] * 20_000),
        (every({"enum": [*(f"Region {one}" for one in range(280)), None, True]}), ["Region 279", None] * 10_000),
        (every({"multipleOf": 10}), [20] * 20_000),
        (every({"multipleOf": 0.01}), [1.01] * 2_000),
        (every({"required": ["id", "name"]}), [{"id": 1, "name": 2} for _ in range(5_000)]),
        ({"pattern": r"^(?!\s*$).+"}, "a b " * 100_000),
        ({"pattern": r"^(?=.*[A-Z])(?=.*\d)(?![)(|]).{8,}$"}, "aA1" * 100_000),
        ({"pattern": BACKTRACKING}, "a" * 3_000 + "b"),
        (every({"pattern": r"^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]$"}), ["a" * 64] * 10_000),
        (
            every({"pattern": r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}),
            [f"{0:08}-0000-0000-0000-{0:012}"] * 5_000,
        ),
        (
            every({"pattern": r"arn:[a-z0-9-]{1,63}:iam::\d{12}:role/.{0,1023}"}),
            ["arn:a:iam::123456789012:role/x"] * 2_000,
        ),
        ({"pattern": r"^(.|\n){1,1000}$"}, "a" * 999),
        ({"pattern": r"\bend$"}, "x " * 5_000 + "end"),
    ],
)
def test_what_documents_ordinarily_say_is_asked_and_fits(found: dict[str, Any], value: Any) -> None:
    assert list(schema.validator(found)(value)) == []


def test_a_search_that_backtracks_is_given_up() -> None:
    """What is no match after so many steps is none: with a back-reference the steps double with each letter."""
    (told,) = schema.validator({"pattern": r"^(a|aa)+\1$"})("a" * 200 + "!")
    assert told is not schema.UNASKED


@pytest.mark.parametrize(
    ("found", "value"),
    [
        ({"enum": HALVES}, 1.0),
        ({"enum": [[1, {"a": 2}]]}, [1]),
        ({"const": {"a": 1}}, {"a": 1}),
        ({"multipleOf": 0.5}, 1.5),
    ],
)
def test_a_list_costs_as_often_as_it_is_compared(found: dict[str, Any], value: Any) -> None:
    once, twice = (cost(every(found), [value] * count) for count in (50, 100))
    assert cost({}, value) < cost(found, value)
    assert twice - 1 == 2 * (once - 1)


def test_each_text_number_and_object_costs_its_own() -> None:
    found = every({"pattern": BACKTRACKING, "multipleOf": 0.5, "const": {"a": 1}})
    values = ["a", "a" * 900, 1, 1.5, 10**4_000, {"a": 1}, None, True]
    assert cost(found, values) == 1 + sum(cost(found["items"], one) for one in values)


def test_looking_ahead_at_every_place_grows_with_the_square_until_it_is_given_up() -> None:
    assert weights.search(BACKTRACKING, 2_000) > 3 * weights.search(BACKTRACKING, 1_000)
    many = 100 * weights.BACKTRACKS
    assert weights.search(BACKTRACKING, 2 * many) < 2.1 * weights.search(BACKTRACKING, many)


@pytest.mark.parametrize(
    ("pattern", "is_free"),
    [
        ("a+b", True),
        (r"^(?![a)\]])(b|c)", True),
        (r"^(?=\))b", True),
        ("(?!a)b", False),
        ("^(?!a)b|c*d", False),
        ("^(?=a)*b", False),
        ("^(?!x(?=y))b", False),
        (r"^(?!a)(b)\1", False),
        (r"\ba", False),
        (r"^[ab]{1000}[+*{2,3}]$", True),
        (r"^a{1,1000}b", True),
        (r"^a*b{1000}", False),
        (r"a{1000}", False),
        ("^(a{10}b){100}$", True),
        ("^(a|aa){100}$", False),
        ("^(a?b{2}){100}$", False),
        (r"^(?:.|\n){0,1000}$", True),
        (r"[\w-]{4,10000}", True),
        (".{0,1600}", True),
        (".{0,1600}$", False),
    ],
)
def test_which_patterns_cost_no_more_than_the_text_has(pattern: str, is_free: bool) -> None:
    assert (weights.search(pattern, 10_000) == 0) is is_free
