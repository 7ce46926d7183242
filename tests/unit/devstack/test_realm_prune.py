"""Which clients that registered themselves are ended."""

import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from devstack.cli import main
from devstack.realm.apply.prune import DAY_MS, HOUR_MS, NEEDED, Bounds, Found, registered, unsafe, verdict
from devstack.realm.commands import prune_clients
from devstack.realm.description import describe
from devstack.realm.registration import MAX_CLIENTS
from tests.kit.scripted import Scripted, scripted

ROOT = Path(__file__).parents[3]

NOW, BOUNDS = 1_000 * DAY_MS, Bounds(idle_days=30, unused_hours=1)
CLIENT: dict[str, Any] = {
    "clientId": "5ea13422-71db-4926-9ffe-5c49fd9184a0", "consentRequired": True, "fullScopeAllowed": False,
    "attributes": {"pkce.code.challenge.method": "S256"},
}  # fmt: skip


def days_ago(days: float | None) -> int | None:
    return None if days is None else NOW - int(days * DAY_MS)


@pytest.mark.parametrize(
    ("registered_at", "used_at", "sessions", "since", "judged"),
    [
        (0.5 / 24, None, 0, 90, "new"), (1 / 24, None, 0, 90, "unused"), (40, 29, 0, 90, "used"), (40, 30, 0, 90, "unused"),
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


@pytest.fixture
def keycloak() -> Iterator[Scripted]:
    with scripted(describe(())) as running:
        running.realm["eventsEnabled"] = True
        yield running


def prune(keycloak: Scripted, *more: str) -> Result:
    asked = ["realm", "prune", "--keycloak", keycloak.origin, *more]
    return CliRunner().invoke(main, asked, env={"KEYCLOAK_ADMIN_PASSWORD": "x"})


def register(keycloak: Scripted, hours_ago: float, *used: str) -> str:
    """A client that registered, and used itself just now in these ways."""
    client_id, now = str(uuid.uuid4()), time.time_ns() // 1_000_000
    keycloak.collections["/clients"].append(CLIENT | {"id": f"i-{client_id}", "clientId": client_id})
    kinds = {"CLIENT_REGISTER": now - int(hours_ago * HOUR_MS), **dict.fromkeys(used, now)}
    keycloak.events += [{"clientId": client_id, "type": kind, "time": at} for kind, at in kinds.items()]
    return client_id


def test_all_who_are_unused_go_in_one_run_however_many_pages_they_are(
    keycloak: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devstack.realm.apply.prune.PAGE", 10)
    unused = [register(keycloak, 2) for _ in range(25)]
    kept = {register(keycloak, 0.5), register(keycloak, 2, "LOGIN")}
    told = prune(keycloak, "--yes")
    assert told.output.splitlines()[-1] == f"{len(unused)} clients"
    assert {one["clientId"] for one in keycloak.collections["/clients"]} == kept


@pytest.mark.parametrize("kept", [(), *((one,) for one in NEEDED)])
def test_where_an_event_is_not_kept_nothing_is_judged(keycloak: Scripted, kept: tuple[str, ...]) -> None:
    """An operator keeps registrations and errors alone: a client in daily use looks like one that is never used."""
    keycloak.realm["enabledEventTypes"] = ["LOGIN_ERROR", *kept]
    register(keycloak, 72, "LOGIN", "CODE_TO_TOKEN")
    told = prune(keycloak, "--yes")
    assert (told.exit_code, len(keycloak.collections["/clients"])) == (1, 1)
    assert all((one in told.output) is (one not in kept) for one in NEEDED)
    keycloak.realm["enabledEventTypes"] = ["LOGIN_ERROR", *NEEDED]
    assert prune(keycloak, "--yes").output == "0 clients\n"


def test_events_of_a_time_before_they_were_turned_off_prove_nothing(keycloak: Scripted) -> None:
    register(keycloak, 72)
    keycloak.realm["eventsEnabled"] = False
    told = prune(keycloak, "--yes")
    assert (told.exit_code, "keeps no events" in told.output) == (1, True)


def test_strangers_cannot_fill_the_room_while_an_unused_client_lives() -> None:
    """All of them together, from as many addresses as they like; a quarter of the room is left to clients in use."""
    nginx = (ROOT / "devstack/nginx/keycloak.conf.template").read_text()
    compose = (ROOT / "docker-compose.yml").read_text()
    (rate,) = re.findall(r"zone=registrations:\w+ rate=(\d+)r/m", nginx)
    (burst,) = re.findall(r"limit_req zone=registrations burst=(\d+)", nginx)
    (command,) = re.findall(r"command: \[(prune, .*)\]", compose)
    asked = [one.strip(' "') for one in command.split(",")][1:]
    given = prune_clients.make_context("prune", asked).params
    life = 60 * given["unused_hours"] + given["every"]
    assert given["yes"]
    assert int(rate) * life + int(burst) <= MAX_CLIENTS * 3 / 4
    (lock,) = re.findall(r"zone=registrations_from_one_address:\w+ rate=(\d+)r/m", nginx)
    assert int(lock) * 4 <= int(rate)  # one address does not use up what all have together
