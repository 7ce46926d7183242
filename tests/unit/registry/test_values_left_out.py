"""What a call needs, where something of it is not there or not declared: never less than it would need whole."""

from typing import Any

import pytest

from mcp_server import McpServer, NeedsScopes, Scope
from mcp_server.authoring.errors import BadArguments
from mcp_server.registry.requirement import ParameterRules, Undecided
from mcp_server.registry.scope_pattern import parse
from tests.kit.principals import principal
from tests.unit.registry.test_requirement import ON, REFUND, needs


def test_a_call_without_the_value_of_a_variable_is_not_judged() -> None:
    """Who holds the scope of any other value would be let in."""
    for held in ((), ("orders:refund:7",), ("orders:refund",)):
        with pytest.raises(Undecided, match="no value for order_id"):
            needs({REFUND}).choose({}, principal(scopes=held), ON)
    completing = needs({REFUND}).choose({}, principal(scopes=["orders:refund:7"]), ON, whole=False)
    assert not completing.missing


def test_a_completion_counts_the_values_that_are_settled() -> None:
    two = needs({"docs:{tenant}:{doc}"})
    who = principal(scopes=["docs:evil:1"])
    assert two.choose({"tenant": "acme"}, who, ON, whole=False).missing == {"docs"}
    assert not two.choose({"tenant": "evil"}, who, ON, whole=False).missing
    with pytest.raises(BadArguments):
        two.choose({"tenant": "a b"}, who, ON, whole=False)


def test_a_function_that_raises_brings_its_values_along() -> None:
    def raises(arguments: Any, who: Any) -> Any:
        raise NeedsScopes({"tenant:{owner}"}, owner="acme")

    assert needs(raises).choose({}, principal(scopes=["tenant:evil"]), ON).missing == {"tenant:acme"}


def test_what_is_raised_must_be_declared_where_scopes_are() -> None:
    rules = ParameterRules(on=True, declared=frozenset({"mcp:read", "orders"}), patterns=(parse("orders:{name}:log"),))
    assert NeedsScopes({"orders:{name}:log"}).requirement.known(rules).named(parameterized=False) == {"orders"}
    for undeclared in ("orders:admin", "orders:{name}", "orders:{order}:log", "orders:{name}:{log}"):
        with pytest.raises(Undecided, match="no declared scope"):
            NeedsScopes({undeclared}).requirement.known(rules)


def test_what_comes_is_compared_with_all_that_is_there() -> None:
    server = McpServer("s")
    for n in range(100):
        server.tool(name=f"t{n}", scopes={f"k{n}:{{order_id}}"})(needing)
    with pytest.raises(ValueError, match=r"'k7:fixed' could be made by 'k7:\{order_id\}'"):
        server.tool(name="fixed", scopes={"k7:fixed"})(needing)
    server.tool(name="one", scopes={"m:{order_id}:b"})(needing)
    with pytest.raises(ValueError, match="could make the same one"):
        server.tool(name="two", scopes={"m:c:{order_id}"})(needing)
    with pytest.raises(ValueError, match="could be made by"):
        McpServer("t", scopes=[Scope("k"), Scope("k:a")]).tool(scopes={"k:{order_id}"})(needing)


def needing(order_id: str) -> str:
    return order_id
