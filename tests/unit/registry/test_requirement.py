"""What a call needs, as a value: alternatives, variables, functions, and what is refused at registration."""

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server import McpServer, NeedsScopes, Principal, Scope, any_of
from mcp_server.authoring.errors import BadArguments
from mcp_server.registry.requirement import ParameterRules, Requirement, Undecided, required
from mcp_server.registry.scope_pattern import MAX_SCOPE, parse
from tests.kit.principals import principal

ON = ParameterRules(on=True)
REFUND = "orders:refund:{order_id}"


def needs(scopes: Any) -> Requirement:
    found = required(scopes)
    assert isinstance(found, Requirement)
    return found


@pytest.mark.parametrize(
    ("held", "needed", "missing"),
    [
        ((), {"a"}, {"a"}),
        (("b",), {"a"}, {"a"}),  # a tie with {b, c}: the first
        (("b", "c"), {"b", "c"}, set()),
        (("d", "e", "f"), {"d", "e", "f", "g"}, {"g"}),
        (("d", "e", "f", "a"), {"a"}, set()),
    ],
)
def test_of_alternatives_the_one_with_the_fewest_missing_is_chosen(
    held: tuple[str, ...], needed: set[str], missing: set[str]
) -> None:
    alternatives = any_of({"d", "e", "f", "g"}, {"a"}, {"b", "c"})
    found = alternatives.choose({}, principal(scopes=held), ON)
    assert (set(found.needed), set(found.missing)) == (needed, missing)
    assert alternatives.first(ON) == {"d", "e", "f", "g"}
    with pytest.raises(ValueError, match="takes sets"):
        any_of()


def test_an_alternative_that_is_held_needs_no_good_value_of_another() -> None:
    either = any_of({REFUND}, {"admin"})
    assert either.choose({"order_id": "a b"}, principal(scopes=["admin"]), ON).needed == {"admin"}
    with pytest.raises(BadArguments, match="order_id: has a blank"):
        either.choose({"order_id": "a b"}, principal(), ON)


@pytest.mark.parametrize(
    ("value", "scope"),
    [
        (42, "orders:refund:42"),
        (-1, "orders:refund:-1"),
        ("A-1_b.c~", "orders:refund:A-1_b.c~"),
        ("a:b", "orders:refund:a%3Ab"),
        ("*", "orders:refund:%2A"),
        ("50%", "orders:refund:50%25"),
        ("ü", "orders:refund:%C3%BC"),
        ("{order_id}", "orders:refund:%7Border_id%7D"),
        (UUID(int=1), "orders:refund:00000000-0000-0000-0000-000000000001"),
    ],
)
def test_a_value_stands_in_the_scope_as_one_segment(value: Any, scope: str) -> None:
    pattern = parse(REFUND)
    assert pattern.made({"order_id": value}) == scope
    assert pattern.fits(scope)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "empty"),
        ("a b", "blank"),
        ("a\u00a0b", "not printed"),
        ('a"b', "quotation mark"),
        ("a\\b", "backslash"),
        ("a\r\nb", "not printed"),
        ("\x00", "not printed"),
        ("\u202e", "not printed"),
        ("\ud800", "not printed"),
        ("x" * (MAX_SCOPE + 1), "too long"),
        ("ü" * 50, "too long"),
        pytest.param(10**5000, "no text or whole number", id="huge"),
        (True, "no text or whole number"),
        (1.5, "no text or whole number"),
        (None, "no text or whole number"),
        (["a"], "no text or whole number"),
        (object(), "no text or whole number"),
    ],
)
def test_a_value_that_no_scope_may_hold_is_a_wrong_argument(value: Any, why: str) -> None:
    with pytest.raises(BadArguments, match=f"order_id.*{why}") as refused:
        parse(REFUND).made({"order_id": value})
    assert len(str(refused.value)) < 200  # the value itself is not repeated


TEXTS = st.text(max_size=300) | st.text(alphabet='%:{}* "\\\r\n\t\x00\x1c\u2003abc42', max_size=20)


@given(TEXTS, TEXTS)
def test_two_values_make_one_scope_only_when_they_are_one(one: str, other: str) -> None:
    pattern, made = parse("a:{x}:{y}"), {}
    for pair in ((one, other), (other, one)):
        try:
            made[pair] = pattern.made({"x": pair[0], "y": pair[1]})
        except BadArguments:
            return
    assert (made[one, other] == made[other, one]) == (one == other)
    assert all(scope.count(":") == 2 and scope.isascii() and scope.isprintable() for scope in made.values())
    assert not {'"', "\\", " ", "*"} & set(made[one, other])


@given(TEXTS)
def test_no_value_is_held_by_who_holds_another_ones_scope(value: str) -> None:
    who = principal(scopes=["orders:refund:4", "orders:refund", "orders:refund:*", "orders:refund:4:2"])
    try:
        found = needs({REFUND}).choose({"order_id": value}, who, ON)
    except BadArguments:
        return
    assert bool(found.missing) == (value != "4")


@pytest.mark.parametrize(
    "held", ["orders:refund", "orders:refund:4", "orders:refund:*", "orders:*", "orders:refund:421"]
)
def test_another_scope_opens_nothing(held: str) -> None:
    assert needs({REFUND}).choose({"order_id": 42}, principal(scopes=[held]), ON).missing == {"orders:refund:42"}


def test_what_implies_all_of_them_opens_each_and_is_what_was_relied_on() -> None:
    rules = ParameterRules(on=True, opened_by={"orders:refund:": frozenset({"orders:refund", "clerk"})})
    found = needs({REFUND, "x"}).choose({"order_id": 42}, principal(scopes=["clerk", "x"]), rules)
    assert (set(found.needed), set(found.missing)) == ({"orders:refund:42", "x"}, set())
    assert found.relied_on == {"clerk", "x"}
    assert needs({REFUND}).choose({"order_id": 1}, principal(scopes=["orders:refund:*"]), rules).missing
    other = needs({"orders:cancel:{order_id}"}).choose({"order_id": 42}, principal(scopes=["clerk"]), rules)
    assert other.missing == {"orders:cancel:42"}


def test_off_the_base_scope_stands_for_all_values() -> None:
    off = ParameterRules()
    found = needs({REFUND}).choose({"order_id": "a b"}, principal(scopes=["orders:refund"]), off)
    assert (set(found.needed), set(found.missing)) == ({"orders:refund"}, set())
    assert not needs({REFUND}).asks_values(off)
    assert needs({REFUND}).first(off) == {"orders:refund"}


def test_a_value_never_makes_a_scope_that_has_a_meaning() -> None:
    rules = ParameterRules(on=True, fixed=frozenset({"orders:admin"}))
    with pytest.raises(BadArguments, match="makes the name of another scope"):
        needs({"orders:{name}"}).choose({"name": "admin"}, principal(scopes=["orders:admin"]), rules)


def test_what_is_in_reach_without_a_call() -> None:
    rules = ParameterRules(on=True, opened_by={"orders:refund:": frozenset({"clerk"})})
    either = any_of({"x", REFUND}, {"admin"})
    for held, reach in (
        (["admin"], True),
        (["x", "orders:refund:7"], True),
        (["x", "clerk"], True),
        (["orders:refund:7"], False),
        (["x", "orders:refund"], True),  # where an issuer grants it, it is for what has no value yet
        (["x", "orders:refund:*"], False),
    ):
        assert either.within_reach(principal(scopes=held), rules) == reach, held
    assert either.within_reach(principal(scopes=["x", "orders:refund"]), ParameterRules())
    assert not either.within_reach(None, rules)
    told = needs(lambda arguments, who: {"a"})
    assert (told.within_reach(principal(), rules), told.within_reach(None, rules)) == (True, False)


def test_a_function_says_what_is_needed() -> None:
    def told(arguments: Mapping[str, Any], who: Principal) -> Any:
        with pytest.raises(TypeError):
            arguments["amount"] = 0  # type: ignore[index]
        if arguments["amount"] > 100:
            return any_of({"boss"}, {REFUND})
        return {"clerk"} if who.subject == "user" else set()

    small, large = {"amount": 1, "order_id": 42}, {"amount": 101, "order_id": 42}
    who = principal(scopes=["orders:refund:42"])
    assert needs(told).choose(small, who, ON).missing == {"clerk"}
    assert needs(told).choose(large, who, ON).needed == {"orders:refund:42"}
    free = needs(told).choose(small, msgspec.structs.replace(who, subject="other"), ON)
    assert not free.needed | free.missing


def asks(arguments: Any, who: Any) -> Any:
    raise NeedsScopes({REFUND})


def test_a_function_may_raise_what_is_needed() -> None:
    assert needs(asks).choose({"order_id": 42}, principal(), ON).missing == {"orders:refund:42"}


async def later() -> set[str]:
    return {"a"}


@pytest.mark.parametrize(
    "word",
    [
        lambda: str(1 // 0),
        sys.exit,
        lambda: "mcp:read",
        lambda: None,
        list,
        lambda: {"a b"},
        lambda: {5},
        later,
        lambda: needs(lambda arguments, who: {"a"}),
        lambda: {"undeclared"},
        lambda: {"undeclared:{order_id}"},
    ],
)
def test_a_function_that_does_not_say_refuses(word: Any) -> None:
    rules = ParameterRules(on=True, declared=frozenset({"mcp:read"}))
    with pytest.raises(Undecided):
        needs(lambda arguments, who: word()).choose({"order_id": 1}, principal(), rules)


@pytest.mark.parametrize(
    ("scopes", "said"),
    [
        ("mcp:read", "one text"),
        ({"a:{x"}, "whole segment"),
        ({"a:x}"}, "whole segment"),
        ({"a:{}"}, "whole segment"),
        ({"a:b{order_id}"}, "whole segment"),
        ({"a:{order_id}{order_id}"}, "whole segment"),
        ({"a::{order_id}"}, "whole segment"),
        ({"{order_id}:a"}, "begins with a name"),
        ({"{order_id}"}, "begins with a name"),
        ({"a:{order_id}:{order_id}"}, "repeated"),
        ({"a b:{order_id}"}, "scope-token"),
        ({"a:{other}"}, "'other' of scope 'a:{other}' is no argument that is always there: order_id, note"),
        ({"a:{ctx}"}, "no argument"),
        (later, "coroutine"),
        ({"a", 5}, ""),
        (set(), "empty"),
    ],
)
def test_what_could_not_be_asked_for_is_refused_at_registration(scopes: Any, said: str) -> None:
    def tool(order_id: int, note: str = "") -> str:
        return ""

    with pytest.raises((ValueError, TypeError)) as refused:
        McpServer("s").tool(scopes=scopes)(tool)
    assert said in str(refused.value)


class Colour(msgspec.Struct):
    name: str


@pytest.mark.parametrize(
    ("hint", "may"),
    [
        (int, True),
        (str, True),
        (UUID, True),
        (Literal["a", "b"], True),
        (Literal[1, "2"], True),
        (Literal[1, "1"], False),  # two things, one scope
        (Annotated[int, msgspec.Meta(ge=1)], True),
        (float, False),
        (bool, False),
        (int | None, False),
        (Literal["a"] | None, False),
        (list[str], False),
        (Colour, False),
    ],
)
def test_a_variable_is_a_text_or_a_whole_number(hint: Any, may: bool) -> None:
    def tool(x: Any) -> str:
        return ""

    tool.__annotations__["x"] = hint
    says = nullcontext() if may else pytest.raises(ValueError, match="not always a text or a whole number")
    with says:
        McpServer("s").tool(scopes={"a:{x}"})(tool)


def test_with_a_schema_a_variable_is_a_required_property() -> None:
    def tool(arguments: dict[str, Any]) -> str:
        return ""

    properties = {"x": {"type": "string"}, "y": {"type": "integer", "default": 1}, "z": {"$ref": "#/$defs/z"}}
    schema = {"type": "object", "properties": properties, "required": ["x", "z"], "$defs": {"z": {"const": "only"}}}
    McpServer("s").tool(scopes={"a:{x}:{z}"}, input_schema=schema)(tool)
    with pytest.raises(ValueError, match=r"'y' of scope .* is no argument that is always there: x, z"):
        McpServer("s").tool(scopes={"a:{y}"}, input_schema=schema)(tool)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"orders:{x}"}, {"orders:refund"}),
        ({"orders:refund"}, {"orders:{x}"}),
        ({"orders:{x}"}, {"orders:refund:{x}"}),  # whose base scope is orders:refund
        ({"orders:{x}:done"}, {"orders:all:{x}"}),
    ],
)
def test_scopes_that_a_value_could_confuse_are_refused(first: Any, second: Any) -> None:
    server = McpServer("s")
    server.tool("one", scopes=first)(one_of)
    with pytest.raises(ValueError, match=r"could (be made by|make the same)"):
        server.tool("two", scopes=second)(one_of)
    assert list(server.tools) == ["one"]


def one_of(x: str) -> str:
    return x


def test_a_declared_scope_is_no_value_of_another() -> None:
    server = McpServer("s", scopes=[Scope("orders"), Scope("orders:admin")])
    with pytest.raises(ValueError, match=r"'orders:admin' could be made by 'orders:\{x\}'"):
        server.tool(scopes={"orders:{x}"})(one_of)
    with pytest.raises(ValueError, match=r"'orders:admin' could be made by 'orders:\{x\}'"):
        McpServer("s", scopes=[Scope("orders:{x}"), Scope("orders:admin")])


def test_a_pattern_is_told_with_its_base_scope() -> None:
    server = McpServer("s", scopes=[Scope("orders:refund", implies=("orders:refund:*",)), Scope("mcp:read")])
    server.tool("one", scopes=any_of({"mcp:read"}, {"orders:refund:{x}"}))(one_of)
    assert server.declared_scopes() == {"orders:refund", "mcp:read"}
    assert server.declared_scopes(parameterized=True) == {"mcp:read"}  # no login can ask for the other
    assert [one.patterns for one in server.described_scopes()] == [("orders:refund:{x}",), ()]
    with pytest.raises(ValueError, match="needs orders:cancel: no declared scope"):
        server.tool("two", scopes={"orders:cancel:{x}"})(one_of)


def test_a_function_may_need_whatever_is_declared() -> None:
    server = McpServer("s", scopes=[Scope("a"), Scope("b")])
    server.tool("one", scopes=lambda arguments, who: {"a"})(one_of)
    assert server.declared_scopes() == {"a", "b"}


@pytest.mark.parametrize("scopes", [set(), [], "a", {"a b"}])
def test_a_demand_names_scopes(scopes: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        NeedsScopes(scopes)
    assert str(NeedsScopes(any_of({"b", "a"}, {"c:{x}"}), x=1)) == "needs a b or c:{x}"


@pytest.mark.parametrize("fresh", [-1, True, 1.5, "60"])
def test_a_login_is_so_many_seconds_old(fresh: Any) -> None:
    with pytest.raises(ValueError, match="fresh is a whole number of seconds"):
        McpServer("s").tool(fresh=fresh)(one_of)
    with pytest.raises(ValueError, match="cannot be public and need a login"):
        McpServer("s").tool(public=True, fresh=5)(one_of)
    with pytest.raises(ValueError, match="cannot be public and need scopes"):
        McpServer("s").tool(public=True, scopes={"a"})(one_of)
