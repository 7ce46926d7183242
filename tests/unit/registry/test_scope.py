"""Scopes are declared once, and what needs an undeclared one is refused at the start."""

import pytest

from mcp_server import McpServer, Scope


def test_a_scope_without_a_text_says_its_name() -> None:
    assert Scope("orders:read").consent == "Use orders:read"


@pytest.mark.parametrize("name", ["", "a b", 'a"b'])
def test_what_is_no_scope_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="scope-token"):
        Scope(name)


def test_a_scope_is_declared_once() -> None:
    with pytest.raises(ValueError, match="more than once"):
        McpServer("s", scopes=(Scope("a"), Scope("a")))


def test_a_misspelt_scope_is_found_at_registration() -> None:
    server = McpServer("s", scopes=(Scope("orders:read"),))
    server.tool(name="public", public=True)(lambda: "x")
    server.tool(name="default")(lambda: "x")
    with pytest.raises(ValueError, match="'list' needs orders:raed: no declared scope"):
        server.tool(name="list", scopes={"orders:raed"})(lambda: "x")


def test_a_scope_implies_declared_ones_only() -> None:
    with pytest.raises(ValueError, match="scope 'write' implies raed: no declared scope"):
        McpServer("s", scopes=(Scope("read"), Scope("write", implies=("raed",))))
    server = McpServer("s", scopes=(Scope("read"), Scope("write", implies=("read",))))
    assert server.implied_scopes() == {"write": {"read"}}


def test_described_are_the_declared_and_the_needed() -> None:
    loose = McpServer("s")
    loose.tool(name="list", scopes={"b"})(lambda: "x")
    assert loose.described_scopes() == [Scope("b")]
    strict = McpServer("s", scopes=(Scope("b", "Bee", roles=("r",)), Scope("a")))
    strict.tool(name="list", scopes={"b"})(lambda: "x")
    assert strict.described_scopes() == [Scope("b", "Bee", roles=("r",)), Scope("a")]
