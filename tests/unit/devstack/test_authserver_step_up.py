"""Logins that are asked for anew, a second factor, and scopes with a parameter, as Keycloak was seen to have them."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from devstack.authserver.store import Session
from devstack.login import LoginFailed, one_time_code
from devstack.realm.client_scopes import MAX_SCOPE, PARAMETERS, consent_text, shown
from devstack.realm.clients import ONE_TIME_SECRET
from tests.kit import refunds
from tests.kit.embedded import ASKED, AUTHORIZE, BASE, Running, basic, claims, embedded, login, redeem, register

ONE_TIME = 'name="otp"'
HOUR_AGO = int(time.time()) - 3600


@pytest.fixture(scope="module", params=[(PARAMETERS,)], ids=["on"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with embedded(request.param, refunds.realm_file(tmp_path_factory.mktemp("realm"), request.param)) as found:
        yield found


OFF = pytest.mark.parametrize("running", [()], indirect=True, ids=["off"])


@pytest.fixture
def registered(running: Running) -> Iterator[str]:
    """A client that lets a session do, with a person who logged in an hour ago."""
    client, server = running
    made = register(client).json()["client_id"]
    server.store.logins["old"] = Session(server.store.users["bob"], HOUR_AGO)
    client.cookies.clear()
    client.cookies.set("DEV_IDENTITY", "old", domain="localhost.local", path="/")
    yield made
    client.cookies.clear()


def asked(running: Running, client_id: str = "mcp-public", **more: Any) -> dict[str, Any]:
    """What the access token says."""
    mine = {
        "client_id": client_id,
        **({} if client_id == "mcp-public" else {"redirect_uri": "http://127.0.0.1:9/callback"}),
    }
    back = login(running[0], "bob", **{"scope": "openid orders:read", **mine, **more})
    assert "code" in back, back
    answer = redeem(running[0], back["code"], **mine)
    assert answer.status_code == 200, answer.text
    return claims(answer.json()["access_token"])


def told(said: dict[str, Any]) -> tuple[str, bool]:
    """How the person logged in, and whether that was just now."""
    return said["acr"], said["auth_time"] > HOUR_AGO


@pytest.mark.parametrize(
    ("more", "login_is"),
    [
        ({}, ("0", False)), ({"max_age": "7200"}, ("0", False)), ({"acr_values": "0"}, ("0", False)),
        ({"acr_values": "gold"}, ("0", False)), ({"max_age": "60"}, ("1", True)), ({"max_age": "0"}, ("1", True)),
        ({"max_age": "-5"}, ("1", True)), ({"prompt": "login"}, ("1", True)), ({"acr_values": "1"}, ("1", True)),
        ({"acr_values": "2"}, ("2", True)), ({"acr_values": "gold 2"}, ("2", True)), ({"acr_values": "2 1"}, ("1", True)),
        ({"acr_values": "2", "max_age": "60"}, ("2", True)),
    ],
)  # fmt: skip
def test_a_session_does_unless_more_is_asked_for(
    running: Running, registered: str, more: dict[str, str], login_is: tuple[str, bool]
) -> None:
    assert told(asked(running, registered, **more)) == login_is


@pytest.mark.parametrize(("more", "acr"), [({}, "1"), ({"max_age": "7200"}, "1"), ({"acr_values": "2"}, "2")])
def test_a_client_that_any_program_may_say_it_is_asks_for_the_person(
    running: Running, registered: str, more: dict[str, str], acr: str
) -> None:
    assert told(asked(running, **more)) == (acr, True)


@pytest.mark.parametrize("more", [{"acr_values": "2"}, {"acr_values": "1"}, {"max_age": "60"}])
def test_nobody_is_asked_unseen(running: Running, registered: str, more: dict[str, str]) -> None:
    mine = {"client_id": registered, "redirect_uri": "http://127.0.0.1:9/callback", "scope": "openid"}
    assert login(running[0], "bob", **mine, prompt="none", **more)["error"] == "login_required"


@pytest.mark.parametrize("max_age", ["soon", "", "1e9", "1" * 5000])
def test_a_max_age_that_is_no_number_is_told_to_the_person(running: Running, registered: str, max_age: str) -> None:
    with pytest.raises(LoginFailed, match=r"Invalid [Rr]equest"):
        login(running[0], "bob", scope="openid orders:read", max_age=max_age)


def test_a_wrong_code_is_asked_again_and_gives_nothing(running: Running) -> None:
    client, server = running
    client.cookies.clear()
    server.store.consents.clear()
    page = client.get(str(httpx.URL(AUTHORIZE, params=ASKED | {"scope": "openid orders:read", "acr_values": "2"})))
    action = page.text.partition('action="')[2].partition('"')[0]
    early = client.post(action, data={"otp": one_time_code(ONE_TIME_SECRET, time.time())})
    assert early.status_code == 400  # a code without a password is no login
    page = client.post(action, data={"username": "bob", "password": "bob"})
    assert ONE_TIME in page.text
    for wrong in ("", "12345", "<b>", "é", one_time_code(ONE_TIME_SECRET, 0)):
        page = client.post(action, data={"otp": wrong})
        assert (page.status_code, "Invalid authenticator code" in page.text, "<b>" in page.text) == (200, True, False)
    before = one_time_code(ONE_TIME_SECRET, time.time() - 30)
    assert "Allow access" in client.post(action, data={"otp": before}).text
    client.cookies.clear()


def test_a_code_shown_on_a_session_alone_is_no_second_factor(running: Running, registered: str) -> None:
    """The session is an hour old and its consent page is open: the password comes first."""
    client, server = running
    server.store.consents.clear()
    mine = {"client_id": registered, "redirect_uri": "http://127.0.0.1:9/callback", "scope": "openid orders:read"}
    page = client.get(str(httpx.URL(AUTHORIZE, params=ASKED | mine)))
    assert "Allow access" in page.text
    action = page.text.partition('action="')[2].partition('"')[0].replace("consent", "authenticate")
    assert client.post(action, data={"otp": one_time_code(ONE_TIME_SECRET, time.time())}).status_code == 400
    assert told(asked(running, registered)) == ("0", False)


def test_who_has_no_second_factor_is_told_so(running: Running) -> None:
    client, server = running
    bob = server.store.users["bob"]
    server.store.users["bob"] = msgspec.structs.replace(bob, one_time_secret="")
    try:
        with pytest.raises(LoginFailed, match="no second factor"):
            login(client, "bob", scope="openid orders:read", acr_values="2")
    finally:
        server.store.users["bob"] = bob


def test_codes_are_those_of_an_authenticator() -> None:
    """The table of RFC 6238, appendix B, of which the last six digits count."""
    secret = "12345678901234567890"
    assert [one_time_code(secret, at) for at in (59, 1111111109, 20000000000)] == ["287082", "081804", "353130"]


@pytest.mark.parametrize("value", ["42", "%3Cb%3E", "a.b_c~d-e", "x" * (MAX_SCOPE - len("orders:refund:"))])
def test_a_scope_holds_exactly_its_parameter(running: Running, value: str) -> None:
    scope = f"orders:refund:{value}"
    said = asked(running, scope=f"openid {scope}")
    assert set(said["scope"].split()) == {"openid", "profile", "email", scope}
    assert said["realm_access"] == {"roles": ["writer"]}


@pytest.mark.parametrize(
    "scope",
    [
        "orders:refund", "orders:refund:", "orders:refund:4:2", "orders:refund:orders:read", "orders:refund:<b>", "orders:refund:é", "ORDERS:REFUND:42", "orders:refundx:42", "orders:read:42", "orders:refund:4\u00a02",
        "orders:refund:*", "orders:refund:" + "x" * (MAX_SCOPE + 1 - len("orders:refund:")),
    ],
)  # fmt: skip
def test_nothing_else_is_such_a_scope(running: Running, scope: str) -> None:
    assert login(running[0], "bob", scope=f"openid {scope}")["error"] == "invalid_scope"


def test_a_person_allows_each_parameter_and_is_shown_it(running: Running) -> None:
    client, server = running
    client.cookies.clear()

    def consent(value: str) -> str:
        page = client.get(str(httpx.URL(AUTHORIZE, params=ASKED | {"scope": f"openid orders:refund:{value}"})))
        action = page.text.partition('action="')[2].partition('"')[0]
        return str(client.post(action, data={"username": "bob", "password": "bob"}).text)

    server.store.consents.clear()
    assert "Refund an order&#x27;s price: 42<code>orders:refund:42</code>" in consent("42")
    server.store.allow(server.store.users["bob"], "mcp-public", ["orders:refund:42", "openid", "profile", "email"])
    server.store.consents |= {
        ("bob", "mcp-public", one.name) for one in server.realm.scopes if one.name != "orders:refund"
    }
    assert consent("42") == "null"  # allowed before: back to the client at once
    assert "Refund an order&#x27;s price: 43" in consent("43")


def test_a_role_gates_every_parameter(running: Running) -> None:
    client, _ = running
    client.cookies.clear()
    back = login(client, "alice", scope="openid orders:read orders:refund:42")
    assert "orders:refund" not in redeem(client, back["code"]).json()["scope"]


def test_a_refresh_never_gets_another_parameter(running: Running) -> None:
    client, _ = running
    tokens = redeem(client, login(client, "bob", scope="openid orders:refund:42")["code"]).json()
    form = {"grant_type": "refresh_token", "client_id": "mcp-public", "refresh_token": tokens["refresh_token"]}
    refused = client.post(f"{BASE}/token", data=form | {"scope": "openid orders:refund:43"})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")
    again = client.post(f"{BASE}/token", data=form).json()
    assert "orders:refund:42" in again["scope"].split()
    first, second = (claims(one["access_token"]) for one in (tokens, again))
    assert (first["acr"], first["auth_time"]) == (second["acr"], second["auth_time"])


def test_who_registers_for_the_base_may_ask_for_its_parameters(running: Running) -> None:
    client, _ = running
    client.cookies.clear()
    base = register(client, scope="openid orders:read orders:refund").json()["client_id"]
    assert "orders:refund:42" in asked(running, base, scope="openid orders:refund:42")["scope"].split()
    other = register(client, scope="openid orders:read").json()["client_id"]
    mine = {"client_id": other, "redirect_uri": "http://127.0.0.1:9/callback"}
    assert login(client, "bob", scope="openid orders:refund:42", **mine)["error"] == "invalid_scope"
    assert register(client, scope="orders:refund:42").status_code == 403


def test_a_client_of_its_own_right_is_gated_and_has_not_logged_in(running: Running) -> None:
    agent = basic("mcp-agent", "dev-only-agent-secret")
    form = {"grant_type": "client_credentials", "scope": "orders:read orders:refund:42"}
    said = claims(running[0].post(f"{BASE}/token", data=form, headers=agent).json()["access_token"])
    assert ("orders:refund" in said["scope"], "auth_time" in said) == (False, False)


@OFF
def test_without_the_feature_the_base_scope_stands_for_all(running: Running) -> None:
    assert login(running[0], "bob", scope="openid orders:refund:42")["error"] == "invalid_scope"
    assert "orders:refund" in asked(running, scope="openid orders:refund")["scope"].split()


@pytest.mark.parametrize("text", ["Refund", "it's {0}'s", "{'}", "''", "{x} '{0}'", "a: {0}"])
def test_a_consent_text_says_what_was_written(text: str) -> None:
    assert shown(consent_text(text), "4'2") == f"{text}: 4'2"


def test_the_longest_beginning_decides(tmp_path: Path) -> None:
    """Of two scopes with a parameter Keycloak takes any (keycloak#50469): here it is never the wider one."""
    with embedded((PARAMETERS,), refunds.realm_file(tmp_path, (PARAMETERS,))) as (_, server):
        wide = msgspec.structs.replace(server.realm.scopes[-1], name="orders", parameter=".+")
        realm = msgspec.structs.replace(server.realm, scopes=(wide, *server.realm.scopes))
        found = [realm.registered(one) for one in ("orders:refund:42", "orders:x", "orders")]
        assert [one and one.name for one in found] == ["orders:refund", "orders", None]
