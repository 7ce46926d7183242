"""Scopes are declared once, and what needs an undeclared one is refused at the start."""

import re
from typing import Any

import pytest

from mcp_server import McpServer, Scope, requires_scopes


def test_a_scope_without_a_text_says_its_name() -> None:
    assert Scope("orders:read").consent == "Use orders:read"


@pytest.mark.parametrize("name", ["", "a b", 'a"b'])
def test_what_is_no_scope_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="scope-token"):
        Scope(name)


def test_a_scope_is_declared_once() -> None:
    with pytest.raises(ValueError, match="more than once"):
        McpServer("s", scopes=(Scope("a"), Scope("a")))


@pytest.mark.parametrize("given", [{"mcp:read"}, ["mcp:read"], "mcp:read", Scope("mcp:read"), [Scope("a"), "mcp:read"]])
def test_what_is_no_scope_is_refused_by_what_it_is(given: Any) -> None:
    with pytest.raises(TypeError, match=r"takes several Scopes, \[Scope\('mcp:read', .*not .*mcp:read"):
        McpServer("s", scopes=given)


@pytest.mark.parametrize("given", [Scope("a"), [Scope("a")], {Scope("a")}, [5], b"a", [{"a": 1}]])
def test_a_tool_names_scopes_by_their_names(given: Any) -> None:
    server = McpServer("s", scopes=[Scope("a")])
    with pytest.raises(TypeError, match="tool 'find': scopes is a set of texts, the scopes' names, and not of "):
        server.tool(name="find", scopes=given)(lambda: "x")
    with pytest.raises(TypeError, match="scopes is a set of texts, the scopes' names, and not of "):
        requires_scopes(given)


@pytest.mark.parametrize("given", [(5,), (b"a",), ("a", 5)])
def test_a_scope_is_made_of_texts(given: Any) -> None:
    with pytest.raises(TypeError, match=r"Scope\(name, consent\): both are texts"):
        Scope(*given)


def test_scopes_may_come_one_by_one() -> None:
    assert list(McpServer("s", scopes=(Scope(name) for name in ("a", "b"))).scopes) == ["a", "b"]
    assert McpServer("s", scopes=iter(())).scopes == {}


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


def test_a_scope_with_a_variable_declares_its_base_scope_and_is_told_with_it() -> None:
    server = McpServer(
        "s", scopes=[Scope("orders:{x}", "See an order", ("reader",)), Scope("a"), Scope("orders:{x}:log")]
    )
    patterns = ("orders:{x}", "orders:{x}:log")
    assert server.described_scopes() == [Scope("orders", "See an order", ("reader",), patterns=patterns), Scope("a")]
    assert [one.text for one in server.scope_patterns()] == list(patterns)
    assert Scope("orders:{x}").consent == "Use orders"
    loose = McpServer("s", scopes=[Scope("orders", implies=("orders:*",)), Scope("orders:{x}", roles=("reader",))])
    assert loose.described_scopes() == [
        Scope("orders", "Use orders", ("reader",), implies=("orders:*",), patterns=("orders:{x}",))
    ]


@pytest.mark.parametrize(
    ("scopes", "said"),
    [
        ([Scope("a:{x}"), Scope("a:{x}")], "more than once"),
        ([Scope("a:{x}", roles=("r",)), Scope("a", roles=("s",))], "scopes a:{x}, a are one to an issuer"),
        ([Scope("a:{x}", "One"), Scope("a:{x}:{y}", "Other")], "are one to an issuer"),
        ([Scope("a:{x}"), Scope("a:b")], "'a:b' could be made by 'a:{x}'"),
        ([Scope("a:{x}"), Scope("a:b:{x}")], "'a:b' could be made by 'a:{x}'"),
        ([Scope("a:{x}:b"), Scope("a:c:{x}")], "could make the same one"),
        ([Scope("a:{x}"), Scope("b", implies=("a:{x}",))], "implies a:{x}: no declared scope"),
        ([Scope("a", patterns=("a:{x}",))], "a Scope of its own declares a:{x}"),
    ],
)
def test_what_an_issuer_could_not_tell_apart_is_refused(scopes: list[Scope], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        McpServer("s", scopes=scopes)


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("a:{x", {}, "whole segment"),
        ("{x}", {}, "begins with a name"),
        ("a:{x}", {"implies": ("b",)}, "has a variable and implies nothing: a may"),
        ("a" * 256, {}, "longer than 255"),
        ("a:{x" + "x" * 1000, {}, "longer than 255"),
    ],
)
def test_what_cannot_be_declared_is_refused(name: str, more: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Scope(name, **more)


def test_no_value_of_what_is_declared_is_what_a_tool_needs() -> None:
    server = McpServer("s", scopes=[Scope("a:{x}"), Scope("b")])
    server.tool("one", scopes={"a"})(lambda: "x")
    with pytest.raises(ValueError, match="no declared scope"):
        server.tool("two", scopes={"a:b"})(lambda: "x")
    loose = McpServer("s", scopes=[Scope("a:{x}:b"), Scope("a:c")])
    with pytest.raises(ValueError, match="could make the same one"):
        loose.tool("one", scopes={"a:c:{y}"})(needing)
    loose.tool("two", scopes={"a:{y}:b"})(needing)  # the same ones


def needing(y: str) -> str:
    return y
