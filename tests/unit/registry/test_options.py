"""Options of an author's that mean nothing: refused at registration, with what to write in their place."""

from typing import Any

import pytest

from mcp_server import McpServer, Scope


def pay(order_id: int) -> str:
    return f"{order_id} is paid"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"task": "allow"}, r"tool 'pay': task is one of never, allowed, required.* did you mean 'allowed'\?"),
        ({"task": True}, "tool 'pay': task is one of never, allowed, required, and not True$"),
        ({"on_lost": "retr"}, r"tool 'pay': on_lost is one of retry, fail.* did you mean 'retry'\?"),
        ({"acr": 2}, "tool 'pay': acr is a text, acr=\"2\", or several of them, and not 2"),
        ({"acr": ["2", 3]}, r"tool 'pay': acr is a text.* not \['2', 3\]"),
        ({"requires": {"smpling"}}, "tool 'pay': requires names smpling: no client capability of elicitation"),
        ({"scope": {"mcp:read"}}, r"tool 'pay': scope is no option; did you mean scopes\?"),
        ({"qqq": 1}, "tool 'pay': qqq is no option; there are scopes, fresh"),
        ({"limits": ["30/m", "30/min"]}, "tool 'pay': '30/min' is not a limit: a limit reads '30/m', '500/h', "),
        ({"limits": "9/day burst 2"}, "tool 'pay': a quota of a day or a month has no burst, as '9/day burst 2' says"),
        ({"public": "no"}, "tool 'pay': public is True or False, and not 'no'"),
        ({"single_use": 1}, "tool 'pay': single_use is True or False, and not 1"),
    ],
)
def test_an_option_that_means_nothing_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        McpServer("shop").tool(**options)(pay)


@pytest.mark.parametrize("name", ["prompt", "resource"])
def test_so_it_is_of_prompts_and_resources(name: str) -> None:
    server = McpServer("shop")
    register: Any = {"prompt": server.prompt, "resource": lambda **more: server.resource("orders://all", **more)}[name]
    for options, told in (({"acr": 2}, "acr is a text"), ({"public": "no"}, "public is True or False")):
        with pytest.raises(TypeError, match=f"{name} '[^']+': {told}"):
            register(**options)(lambda: "x") if name == "resource" else register(**options)(pay)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"roles": "writer"}, r"scope 'mcp:write': roles is several texts, not one: roles=\('writer',\)"),
        ({"implies": "mcp:read"}, r"scope 'mcp:write': implies is several texts, not one: implies=\('mcp:read',\)"),
        ({"roles": ("writer", 1)}, "scope 'mcp:write': roles is several texts, and not "),
    ],
)
def test_roles_and_implications_of_a_scope_are_several_texts(members: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        Scope("mcp:write", **members)
    assert Scope("mcp:write", roles=("writer",), implies=()).roles == ("writer",)
