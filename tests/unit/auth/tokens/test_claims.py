"""Claims → principal: scopes, roles of the realm and of our client, and odd shapes of both."""

from typing import Any

import pytest

from mcp_server.auth.tokens import claims, profile
from mcp_server.identity import Principal, ScopeRules
from tests.kit.issuers import Paper, policy

RULES = ScopeRules(
    implies={"mcp:admin": frozenset({"mcp:write"})},
    role_scopes={"admin": frozenset({"mcp:admin"}), "clerk": frozenset({"orders:read"})},
)


def principal(**changed: Any) -> Principal:
    raw = Paper().claims(exp=2000, iat=1000, **changed)
    found = profile.check_claims(raw, b"{}", policy(leeway_s=7), now=1500, rfc9068=False)
    return claims.to_principal(found, RULES, client_id="ours", digest="d")


@pytest.mark.parametrize(
    ("changed", "roles", "scopes"),
    [
        ({}, set(), {"mcp:read"}),
        ({"realm_access": {"roles": ["admin"]}}, {"admin"}, {"mcp:read", "mcp:admin", "mcp:write"}),
        ({"resource_access": {"ours": {"roles": ["clerk"]}}}, {"clerk"}, {"mcp:read", "orders:read"}),
        ({"resource_access": {"theirs": {"roles": ["admin"]}}}, set(), {"mcp:read"}),
        ({"realm_access": {"roles": ["admin", 5, None]}}, {"admin"}, {"mcp:read", "mcp:admin", "mcp:write"}),
        ({"realm_access": {"roles": "admin"}, "resource_access": []}, set(), {"mcp:read"}),
        ({"realm_access": ["admin"], "scope": ["mcp:admin"]}, set(), set()),
        ({"scope": "a\u2003mcp:admin  b"}, set(), {"b"}),
    ],
)
def test_scopes_come_from_the_token_and_from_roles(changed: dict[str, Any], roles: set[str], scopes: set[str]) -> None:
    found = principal(**changed)
    assert (found.roles, found.scopes) == (frozenset(roles), frozenset(scopes))


def test_a_principal_lasts_as_long_as_its_token_is_accepted() -> None:
    assert principal().expires_at == 2007


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"auth_time": 1490, "acr": "2"}, (1490.0, "2", 7)),
        ({"auth_time": 0, "acr": ""}, (0.0, "", 7)),
        ({}, (None, "", 7)),
        ({"auth_time": "1490", "acr": 2}, (None, "", 7)),
        ({"auth_time": True, "acr": ["2"]}, (None, "", 7)),
        ({"auth_time": 10**400}, (None, "", 7)),
        ({"auth_time": None, "acr": None}, (None, "", 7)),
    ],
)
def test_when_and_how_a_person_logged_in_is_taken_from_claims_of_the_right_type(
    changed: dict[str, Any], said: tuple[float | None, str, int]
) -> None:
    found = principal(**changed)
    assert (found.auth_time, found.acr, found.leeway_s) == said
