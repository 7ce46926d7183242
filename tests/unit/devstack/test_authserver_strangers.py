"""What a stranger may register with the embedded issuer, how often, and for how long."""

from collections.abc import Iterator
from typing import Any

import pytest

from devstack.authserver.pace import Pace
from devstack.authserver.pending import Waiting
from devstack.authserver.store import UNUSED_S, RegisteredClient
from devstack.login import LoginFailed
from devstack.realm.model import Client
from tests.kit.embedded import BASE, Running, basic, embedded, login, redeem, register

CALLBACK = "http://127.0.0.1:9/callback"
DEVICE, CIBA = "urn:ietf:params:oauth:grant-type:device_code", "urn:openid:params:grant-type:ciba"


@pytest.fixture
def running() -> Iterator[Running]:
    with embedded() as found:
        yield found


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (["client_credentials"], ["authorization_code"]),
        (["authorization_code", "client_credentials", DEVICE, CIBA], ["authorization_code"]),
        (["implicit", "password", "refresh_token"], ["authorization_code", "refresh_token"]),
        (["something_new"], ["authorization_code"]),
        ([], ["authorization_code"]),
        (None, ["authorization_code", "refresh_token"]),
    ],
)
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none", None])
def test_a_stranger_has_grants_of_persons_alone(
    running: Running, asked: list[str] | None, given: list[str], method: str | None
) -> None:
    client, _ = running
    made = register(client, grant_types=asked, token_endpoint_auth_method=method).json()
    assert (made["grant_types"], made["response_types"]) == (given, ["code"])
    assert ("client_secret" in made) is (method != "none")
    headers = basic(made["client_id"], made.get("client_secret", ""))
    for grant in ("client_credentials", "password", "implicit", DEVICE, CIBA, "something_new"):
        form = {"grant_type": grant, "scope": "mcp:infer", "username": "bob", "password": "bob"}
        named = {"client_id": made["client_id"]} if method == "none" else {}
        answer = client.post(f"{BASE}/token", data=form | named, headers={} if named else headers)
        assert answer.status_code in (400, 401)
        assert "access_token" not in answer.json()


def test_a_client_without_the_refresh_grant_gets_no_refresh_token(running: Running) -> None:
    client, _ = running
    made = register(client, grant_types=["authorization_code"]).json()
    ours = {"client_id": made["client_id"], "redirect_uri": CALLBACK}
    answer = redeem(client, login(client, "bob", **ours)["code"], **ours).json()
    assert answer["access_token"]
    assert "refresh_token" not in answer


def test_a_client_is_given_a_secret_unless_it_says_that_it_can_keep_none(running: Running) -> None:
    client, _ = running
    made = register(client, token_endpoint_auth_method=None).json()
    assert made["token_endpoint_auth_method"] == "client_secret_basic"  # RFC 7591 §2
    ours = {"client_id": made["client_id"], "redirect_uri": CALLBACK}
    code = login(client, "bob", **ours)["code"]
    assert redeem(client, code, **ours).status_code == 401
    secret = {"client_secret": made["client_secret"]}
    code = login(client, "bob", **ours)["code"]
    assert redeem(client, code, **ours, **secret).status_code == 200
    refused = register(client, token_endpoint_auth_method="private_key_jwt")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")


@pytest.mark.parametrize(
    "scope", ["mcp:read offline_access", "offline_access", "orders-api-audience", "service_account"]
)
def test_a_stranger_may_not_have_a_scope_that_is_not_for_strangers(running: Running, scope: str) -> None:
    client, server = running
    refused = register(client, scope=scope)
    assert (refused.status_code, "specified clientScope" in refused.text) == (403, True)
    made = register(client).json()
    assert not {*scope.split(), *made["scope"].split()} & {"offline_access"} or "offline_access" not in made["scope"]
    ours = {"client_id": made["client_id"], "redirect_uri": CALLBACK}
    assert login(client, "bob", **ours, scope=scope)["error"] == "invalid_scope"
    assert server.store.clients[made["client_id"]].client.consent


def test_everything_that_the_metadata_lists_may_be_registered(running: Running) -> None:
    client, _ = running
    listed = client.get("/realms/mcp/.well-known/openid-configuration").json()["scopes_supported"]
    assert "offline_access" not in listed
    made = register(client, scope=" ".join(listed))
    assert made.status_code == 201, made.text
    ours = {"client_id": made.json()["client_id"], "redirect_uri": CALLBACK}
    assert "code" in login(client, "carol", **ours, scope=" ".join(listed))


@pytest.mark.parametrize(
    ("redirect", "status"),
    [
        ("http://[::1]:8888/cb", 201), ("http://[::1]/cb", 201), ("http://127.0.0.1:1455/callback", 201),
        ("https://vscode.dev/redirect", 201), ("cursor://anysphere.cursor-mcp/oauth/callback", 201),
        ("http://localhost/cb#x", 400), ("http://evil.example\\@localhost/cb", 403), ("http://u@localhost/cb", 403),
        ("javascript://localhost/%0aalert(1)", 403), ("data:text/html,x", 403), ("ftp://localhost/cb", 403),
        ("foo://localhost/cb", 403), ("cursor://localhost/cb", 403), ("http://localhost:1/cb\r\nx: y", 403),
        ("http://localhost:x/cb", 403), ("http://127.1/cb", 403), ("/cb", 403), ("", 403), ("http://vscode.dev/x", 403),
        ("cursor://evil.example/oauth/callback", 403), ("http://127.0.0.2/cb", 403), ("http://localhost\u2044@evil/", 403),
    ],
)  # fmt: skip
def test_a_code_goes_to_known_places_alone(running: Running, redirect: str, status: int) -> None:
    made = register(running[0], redirect_uris=[redirect])
    assert made.status_code == status, made.text
    if status == 201:
        ours = {"client_id": made.json()["client_id"], "redirect_uri": redirect}
        assert "code" in login(running[0], "bob", **ours)
        (origin,) = running[1].store.clients[ours["client_id"]].client.origins or ("none",)
        assert origin in redirect or origin == "none"


@pytest.mark.parametrize(
    "page", ["http://evil.example\\@github.com/", "javascript://github.com/", "https://u@github.com/", "github.com"]
)
def test_a_clients_page_is_an_address_on_a_known_host(running: Running, page: str) -> None:
    assert register(running[0], client_uri=page).status_code == 403
    assert register(running[0], client_uri="https://opencode.ai").status_code == 201


def test_a_name_cannot_turn_the_line_that_it_stands_in(running: Running) -> None:
    made = register(running[0], client_name="Good\u202e\u0000 tool" + "x" * 200).json()
    assert made["client_name"].startswith("Good tool")
    assert len(made["client_name"]) <= 100


def test_what_is_null_is_not_there(running: Running) -> None:
    members = ("client_uri", "contacts", "scope", "grant_types", "client_name", "jwks", "logo_uri", "response_types")
    made = register(running[0], **dict.fromkeys(members))
    assert made.status_code == 201, made.text
    assert register(running[0], redirect_uris=[None]).status_code == 400


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"x"', b"\xff", b"{", b"[" * 5000, b'{"jwks": ' + b"[" * 5000])
def test_a_registration_that_is_none_is_no_failure_of_ours(running: Running, body: bytes) -> None:
    url = "/realms/mcp/clients-registrations/openid-connect"
    assert running[0].post(url, content=body).status_code == 400
    assert running[0].post(url, content=b" " * 70_000).status_code == 413


@pytest.mark.parametrize(
    "wanted",
    [
        {"access_token_lifespan": 31536000}, {"attributes": {"access.token.lifespan": "31536000"}},
        {"webOrigins": ["*"]}, {"protocolMappers": []}, {"serviceAccountsEnabled": True}, {"consentRequired": False},
        {"clientId": "mcp-public"}, {"fullScopeAllowed": True},
    ],
)  # fmt: skip
def test_a_stranger_chooses_no_life_mapper_or_origin(running: Running, wanted: dict[str, Any]) -> None:
    assert register(running[0], **wanted).status_code == 400
    made = register(running[0], client_id="mcp-public", redirect_uris=[CALLBACK]).json()
    assert made["client_id"] != "mcp-public"
    assert running[1].store.clients[made["client_id"]].client.origins == ("http://127.0.0.1:9",)


def test_unused_clients_make_room_and_those_that_a_person_allowed_stay(running: Running) -> None:
    client, server = running
    ours = {"client_id": register(client).json()["client_id"], "redirect_uri": CALLBACK}
    login(client, "bob", **ours)
    most = server.realm.registration.max_clients
    unused = [
        RegisteredClient(Client(client_id=f"dcr-{number}"), server.realm, by_itself=True) for number in range(most - 1)
    ]
    server.store.clients |= {one.client_id: one for one in unused}
    full = register(client)
    assert (full.status_code, "Max Clients Limit" in full.text) == (403, True)
    for one in unused:
        one.unused_until = 1.0
    assert register(client).status_code == 201
    assert not {one.client_id for one in unused} & {*server.store.clients}
    assert "code" in login(client, "bob", **ours)
    assert {one.client_id for one in server.realm.clients} <= {*server.store.clients}


def test_a_client_that_was_forgotten_during_a_login_is_told_to_the_person(running: Running) -> None:
    client, server = running
    ours = {"client_id": register(client).json()["client_id"], "redirect_uri": CALLBACK}
    for action in ("authenticate", "consent"):
        transaction = server.store.pending.put(Waiting(ours, server.realm.users[0]))
        kept = server.store.clients.pop(ours["client_id"])
        gone = client.post(f"/realms/mcp/login-actions/{action}?tx={transaction}", data={"username": "bob"})
        assert (gone.status_code, "timed out" in gone.text) == (400, True)
        server.store.clients[ours["client_id"]] = kept
    del server.store.clients[ours["client_id"]]
    with pytest.raises(LoginFailed, match="Client not found"):
        login(client, "bob", **ours)


def test_registrations_have_a_pace_by_address(running: Running) -> None:
    client, server = running
    answers = [register(client) for _ in range(120)]
    taken = [one.status_code for one in answers].index(429)
    assert {one.status_code for one in answers[taken:]} == {429}
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 10
    assert answers[-1].json()["error"] == "temporarily_unavailable"
    # Whoever goes on at this pace leaves room: what expires is more than what comes.
    pace, s = server.pace, UNUSED_S
    assert taken + s / 10 < server.realm.registration.max_clients
    assert pace.wait_s("127.0.0.1") == 0


def test_the_pace_of_an_address_is_its_own_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devstack.authserver.pace.MAX_ADDRESSES", 3)
    pace = Pace(burst=2, every_s=1000)
    assert [pace.wait_s("a") > 0 for _ in range(4)] == [False, False, True, True]
    assert pace.wait_s("b") == 0
    for other in "cde":
        pace.wait_s(other)
    assert pace.wait_s("a") == 0  # forgotten: the one that was quiet longest
    assert len(pace._due) == 3
