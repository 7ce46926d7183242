"""What opens a page of the embedded issuer, how much it keeps of that, and what the consent page says."""

from collections.abc import Iterator

import httpx
import pytest

from devstack.authserver.authorize import MAX_PARAMETER, MAX_QUERY
from devstack.authserver.pending import ENTRY_BYTES, MAX_BYTES, Pending, Waiting
from devstack.login import LoginFailed
from devstack.realm.model import read
from tests.kit.embedded import ASKED, AUTHORIZE, Running, claims, embedded, login, redeem, register

CALLBACK = {"redirect_uri": "http://127.0.0.1:9/callback"}
WINDOW = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
ACTIONS = ("authenticate", "consent")


@pytest.fixture
def running() -> Iterator[Running]:
    with embedded() as found:
        yield found


@pytest.mark.parametrize(
    "told",
    [
        {"sec-fetch-mode": "no-cors"}, {"sec-fetch-mode": "cors"}, {"sec-fetch-mode": "websocket"}, {"sec-fetch-mode": ""},
        {"sec-fetch-dest": "iframe"}, {"sec-fetch-dest": "frame"}, {"sec-fetch-dest": "embed"}, {"sec-fetch-dest": ""},
        {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, {"sec-purpose": "prefetch"},
        {"sec-purpose": "prefetch;prerender"},
    ],
)  # fmt: skip
def test_no_page_opens_the_pages_by_itself(running: Running, told: dict[str, str]) -> None:
    client, server = running
    listed = ASKED | {"client_id": "https://claude.ai/x.json"}
    answers = [client.get(AUTHORIZE, params=asked, headers=WINDOW | told) for asked in (ASKED, listed)]
    waiting = server.store.pending.put(Waiting(ASKED))
    address = AUTHORIZE.partition("/protocol/")[0] + "/login-actions/"
    form = {"username": "bob", "password": "bob"}
    answers += [client.post(f"{address}{one}?tx={waiting}", data=form, headers=WINDOW | told) for one in ACTIONS]
    assert {one.status_code for one in answers} == {403}
    assert (len(server.store.pending), server.store.logins) == (1, {})


def test_a_second_value_does_not_hide_the_first(running: Running) -> None:
    twice = [("sec-fetch-mode", "navigate"), ("sec-fetch-mode", "no-cors")]
    assert running[0].get(AUTHORIZE, params=ASKED, headers=httpx.Headers(twice)).status_code == 403


@pytest.mark.parametrize("told", [{}, WINDOW, {"sec-fetch-mode": "navigate"}, {"sec-purpose": ""}])
def test_a_window_and_a_program_open_them(running: Running, told: dict[str, str]) -> None:
    client, _ = running
    page = client.get(AUTHORIZE, params=ASKED, headers=told)
    assert page.status_code == 200
    action = page.text.partition('action="')[2].partition('"')[0]
    entered = client.post(action, data={"username": "bob", "password": "bob"}, headers=told)
    assert "Allow access" in entered.text


def test_documents_are_everyones_whoever_asks(running: Running) -> None:
    script = {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "origin": "https://evil.example"}
    assert running[0].get("/realms/mcp/.well-known/openid-configuration", headers=script).status_code == 200


def test_parameters_are_bounded_in_bytes(running: Running) -> None:
    client, server = running
    room = MAX_PARAMETER - len("state")
    assert client.get(AUTHORIZE, params=ASKED | {"state": "s" * room}).status_code == 200
    # A sign of several bytes counts as such; a name counts as well as a value; many short ones make a long query.
    long = [{"state": "s" * (room + 1)}, {"state": "ü" * (room // 2 + 1)}, {"n" * MAX_PARAMETER: "x"}]
    many = {f"x{number}": "x" * (MAX_QUERY // 20) for number in range(20)}
    for refused in (*long, many):
        page = client.get(AUTHORIZE, params=ASKED | refused)
        assert (page.status_code, "too long" in page.text) == (400, True)
    assert len(server.store.pending) == 1
    with pytest.raises(LoginFailed, match="too long"):
        login(client, "bob", state="s" * 20_000)


def test_what_waits_is_bounded_and_a_flood_pushes_out_its_own(running: Running) -> None:
    client, server = running
    ours = {"client_id": register(client).json()["client_id"], **CALLBACK}
    honest = client.get(AUTHORIZE, params=ASKED | ours).text.partition('action="')[2].partition('"')[0]
    own = client.get(AUTHORIZE, params=ASKED).text.partition('action="')[2].partition('"')[0]
    pending = server.store.pending
    for number in range(MAX_BYTES // ENTRY_BYTES):
        pending.put(Waiting(ASKED | {"state": f"{number}" + "s" * 4000}))
        assert pending.held <= MAX_BYTES
    assert len(pending) < MAX_BYTES / (4000 + ENTRY_BYTES)
    form = {"username": "bob", "password": "bob"}
    assert "Allow access" in client.post(honest, data=form).text
    assert "timed out" in client.post(own, data=form).text


def test_entries_have_a_weight_of_their_own_and_leave_nothing() -> None:
    pending = Pending(10 * ENTRY_BYTES)
    names = [pending.put(Waiting({"client_id": f"c{number % 3}"})) for number in range(50)]
    kept = [name for name in names if pending.get(name)]
    assert (len(kept), len(pending), kept[-1]) == (len(pending), 9, names[-1])
    for name in kept:
        assert pending.pop(name).client_id.startswith("c")
    assert (pending.held, len(pending)) == (0, 0)
    large = pending.put(Waiting({"client_id": "c", "state": "s" * 20 * ENTRY_BYTES}))
    assert pending.get(large)
    assert pending.get(pending.put(Waiting({"client_id": "c"})))
    assert pending.get(large) is None


def test_a_client_without_a_scope_has_the_defaults_of_its_protocol(running: Running) -> None:
    client, server = running
    ours = {"client_id": register(client).json()["client_id"], **CALLBACK}
    waiting = Waiting(ASKED | ours, server.realm.users[0])
    action = (
        AUTHORIZE.partition("/protocol/")[0] + f"/login-actions/authenticate?tx={server.store.pending.put(waiting)}"
    )
    page = client.post(action, data={"username": "bob", "password": "bob"}).text
    assert ("See your user profile" in page, "${" in page, "role_list" in page) == (True, False, False)
    tokens = redeem(client, login(client, "bob", **ours)["code"], **ours).json()
    assert {*tokens["scope"].split()} == {"openid", "mcp:read", "mcp:write", "profile", "email"}
    assert tokens["scope"] == claims(tokens["access_token"])["scope"]


def test_no_scope_has_a_text_that_is_a_name() -> None:
    realm = read()
    assert not [one for one in realm.scopes if "${" in one.consent]
    assert {"role_list", "saml_organization", "AuthnContextClassRef"}.isdisjoint(one.name for one in realm.scopes)
    for names in (realm.default_scopes, realm.optional_scopes):
        assert all(map(realm.scope, names))
