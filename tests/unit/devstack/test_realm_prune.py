"""Which clients that registered themselves are ended."""

from typing import Any

import pytest

from devstack.realm.prune import DAY_MS, Bounds, Found, registered, unsafe, verdict

NOW, BOUNDS = 1_000 * DAY_MS, Bounds(idle_days=30, unused_days=1)
CLIENT: dict[str, Any] = {
    "clientId": "5ea13422-71db-4926-9ffe-5c49fd9184a0", "consentRequired": True, "fullScopeAllowed": False,
    "attributes": {"pkce.code.challenge.method": "S256"},
}  # fmt: skip


def days_ago(days: float | None) -> int | None:
    return None if days is None else NOW - int(days * DAY_MS)


@pytest.mark.parametrize(
    ("registered_at", "used_at", "sessions", "since", "judged"),
    [
        (0.5, None, 0, 90, "new"), (1, None, 0, 90, "unused"), (40, 29, 0, 90, "used"), (40, 30, 0, 90, "unused"),
        (40, 35, 1, 90, "used"), (None, 29, 0, 90, "used"), (None, None, 0, 30, "unused"), (None, None, 0, 29, "used"),
        (None, None, 1, 90, "used"),
    ],
)  # fmt: skip
def test_a_client_is_judged_by_its_use(
    registered_at: float | None, used_at: float | None, sessions: int, since: float, judged: str
) -> None:
    first, last = days_ago(registered_at), days_ago(used_at)
    found = Found(id="1", client_id="x", name="", registered_at=first, used_at=last, sessions=sessions)
    assert verdict(found, BOUNDS, NOW, days_ago(since) or 0) == judged


def test_one_that_holds_what_strangers_may_not_have_goes_in_use_or_not() -> None:
    found = Found(id="1", client_id="x", name="", registered_at=NOW, used_at=NOW, sessions=3, unsafe="a mapper")
    assert verdict(found, BOUNDS, NOW, 0) == "unsafe"


@pytest.mark.parametrize(
    ("changed", "by_itself"),
    [
        ({}, True), ({"clientId": "mcp-public"}, False), ({"consentRequired": False}, False), ({"fullScopeAllowed": True}, False),
        ({"clientId": "https://claude.ai/x", "attributes": {"cimd.cache.expiry.time.in.sec": "1"}}, True),
        ({"clientId": "https://mcp.example.com/mcp"}, False),
    ],
)  # fmt: skip
def test_clients_that_came_by_themselves(changed: dict[str, Any], by_itself: bool) -> None:
    assert registered(CLIENT | changed) is by_itself


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""), ({"attributes": {"access.token.lifespan": "31536000"}}, "access.token.lifespan"),
        ({"attributes": {"access.token.lifespan": ""}}, ""), ({"implicitFlowEnabled": True}, "implicit flow"),
        ({"attributes": {"client.session.idle.timeout": "9"}}, "client.session.idle.timeout"),
        ({"protocolMappers": [{"protocolMapper": "oidc-usermodel-attribute-mapper"}]}, "oidc-usermodel-attribute-mapper"),
        ({"protocolMappers": [{"protocolMapper": "oidc-sha256-pairwise-sub-mapper"}]}, ""),
    ],
)  # fmt: skip
def test_what_was_registered_while_a_realm_was_open(changed: dict[str, Any], said: str) -> None:
    assert unsafe(CLIENT | changed) == said
