"""What `requires_scopes` takes: a scope that is none would break the challenge that names it."""

import pytest

from mcp_server import requires_scopes


@pytest.mark.parametrize("scopes", [(), ("",), ("a b",), ('a"b',), ("mcp:read", "a\r\nx: y")])
def test_what_is_no_scope_is_refused_when_the_guard_is_made(scopes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="scope"):
        requires_scopes(*scopes)


def test_scopes_make_a_guard() -> None:
    assert callable(requires_scopes("mcp:read", "mcp:write"))
