"""The embedded authorization server answers as the real one was seen to."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import KeySet

from devstack.authserver import store
from devstack.authserver.app import application
from devstack.authserver.clients.redirects import matches
from devstack.authserver.exchange import ACCESS_TOKEN, EXCHANGE
from devstack.authserver.pending import Waiting
from devstack.authserver.store import MAX_ENTRIES, RegisteredClient
from devstack.login import LoginFailed, authorize
from devstack.realm.model import Client
from tests.kit.embedded import ASKED, BASE, RESOURCE, Running, basic, claims, embedded, login, redeem, register


@pytest.fixture(params=[("cimd",)])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with embedded(request.param) as found:
        yield found


def test_a_role_gates_a_scope_without_a_word(running: Running) -> None:
    client, _ = running
    back = login(client, "alice")
    assert (back["state"], back["iss"]) == ("s", "http://localhost:8180/realms/mcp")
    tokens = redeem(client, back["code"]).json()
    assert set(tokens["scope"].split()) == {"openid", "mcp:read", "profile", "email"}
    access = claims(tokens["access_token"])
    assert (access["aud"], access["azp"], access["typ"]) == (RESOURCE, "mcp-public", "Bearer")
    assert access["realm_access"]["roles"] == ["reader"]
    assert claims(tokens["id_token"])["typ"] == "ID"
    client.cookies.clear()
    assert "mcp:write" in redeem(client, login(client, "bob")["code"]).json()["scope"].split()


WITH_INDICATORS = pytest.mark.parametrize("running", [("cimd", "resource-indicators")], indirect=True)


@WITH_INDICATORS
@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"scope": "openid nosuch"}, "invalid_scope"),
        ({"resource": "http://localhost:8000/mcp#f"}, "invalid_target"),
        ({"resource": "mcp"}, "invalid_target"),
        ({"response_type": "token"}, "unsupported_response_type"),
    ],
)
def test_a_wrong_request_goes_back_to_the_client_with_the_issuer(
    running: Running, changed: dict[str, Any], error: str
) -> None:
    back = login(running[0], "bob", **changed)
    assert (back["error"], back["iss"], back.get("state")) == (error, "http://localhost:8180/realms/mcp", "s")


def test_a_parameter_twice_is_refused(running: Running) -> None:
    url = str(httpx.URL(f"{BASE}/auth", params=ASKED)) + "&resource=http://a&resource=http://b"
    assert authorize(running[0], url, "bob")["error_description"] == "duplicated parameter"


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "nobody"},
        {"redirect_uri": "https://evil.example/cb"},
        {"redirect_uri": "http://127.0.0.1.evil.com/callback"},
    ],
)
def test_a_foreign_address_is_told_to_the_person_and_not_to_it(running: Running, changed: dict[str, str]) -> None:
    with pytest.raises(LoginFailed):
        login(running[0], "bob", **changed)


def test_a_wrong_password_asks_again_and_an_unknown_page_ends(running: Running) -> None:
    client, _ = running
    page = client.get(str(httpx.URL(f"{BASE}/auth", params=ASKED)))
    action = page.text.partition('action="')[2].partition('"')[0]
    again = client.post(action, data={"username": 'b"ob', "password": "no"})
    assert "Invalid username or password" in again.text
    assert 'value="b&quot;ob"' in again.text
    assert again.text.index("autofocus") > again.text.index('id="password"')
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    for action in ("authenticate", "consent"):
        assert client.post(f"/realms/mcp/login-actions/{action}?tx=unknown").status_code == 400
    with pytest.raises(LoginFailed, match="no such user, or wrong password: nobody"):
        login(client, "nobody")


@WITH_INDICATORS
@pytest.mark.parametrize(
    ("asked", "sent", "error"),
    [
        (RESOURCE, RESOURCE, None), (RESOURCE, None, None), (None, None, None), (None, RESOURCE, "invalid_target"),
        (RESOURCE, RESOURCE + "/", "invalid_target"), ("http://unknown/mcp", "http://unknown/mcp", "invalid_target"),
    ],
)  # fmt: skip
def test_resource_indicators(running: Running, asked: str | None, sent: str | None, error: str | None) -> None:
    answer = redeem(running[0], login(running[0], "bob", resource=asked)["code"], resource=sent)
    assert (answer.status_code, answer.json().get("error")) == ((400, error) if error else (200, None))


@pytest.mark.parametrize(
    "changed",
    [
        {"code_verifier": "w" * 50},
        {"code_verifier": None},
        {"code": "none"},
        {"redirect_uri": "http://127.0.0.1:6/callback"},
        {"grant_type": "password"},
    ],
)
def test_a_code_is_bound_to_its_proof(running: Running, changed: dict[str, Any]) -> None:
    assert redeem(running[0], login(running[0], "bob")["code"], **changed).status_code == 400


def test_a_code_works_once(running: Running) -> None:
    code = login(running[0], "bob")["code"]
    assert [redeem(running[0], code).status_code for _ in range(2)] == [200, 400]
    assert redeem(running[0], "none").status_code == 400


@pytest.mark.parametrize("other", [{}, {"code_verifier": "w" * 50}, {"client_id": "DCR"}])
def test_a_code_that_comes_again_ends_what_it_was_traded_for(running: Running, other: dict[str, str]) -> None:
    """Whoever shows it, and with whatever proof: two have it, and nobody knows which of them should."""
    client, _ = running
    if "client_id" in other:
        other = {"client_id": register(client).json()["client_id"]}
    code = login(client, "bob")["code"]
    tokens = redeem(client, code).json()
    assert redeem(client, code, **other).json()["error"] == "invalid_grant"
    form = {"grant_type": "refresh_token", "client_id": "mcp-public", "refresh_token": tokens["refresh_token"]}
    assert client.post(f"{BASE}/token", data=form).json()["error"] == "invalid_grant"
    ours = basic(RESOURCE, "dev-only-server-secret")
    form = {"token": tokens["access_token"]}
    assert client.post(f"{BASE}/token/introspect", data=form, headers=ours).json() == {"active": False}


def test_a_login_that_has_ended_is_not_good_again_once_others_have_pushed_it_out(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody who can log in can do so ten thousand times."""
    client, server = running
    tokens = redeem(client, login(client, "alice")["code"]).json()
    form = {"refresh_token": tokens["refresh_token"], "client_id": "mcp-public"}
    assert client.post(f"{BASE}/logout", data=form).status_code == 204
    monkeypatch.setattr(store, "MAX_ENTRIES", len(server.store.grants))
    client.cookies.clear()
    redeem(client, login(client, "bob")["code"])
    ours = basic(RESOURCE, "dev-only-server-secret")
    form = {"token": tokens["access_token"]}
    assert client.post(f"{BASE}/token/introspect", data=form, headers=ours).json() == {"active": False}
    exchanged = {"subject_token": tokens["access_token"], "subject_token_type": ACCESS_TOKEN, "grant_type": EXCHANGE}
    assert client.post(f"{BASE}/token", data=exchanged, headers=ours).json()["error_description"] == "Invalid token"


@pytest.mark.parametrize("wrong", [{"code_verifier": "w" * 50}, {"redirect_uri": "http://127.0.0.1:6/callback"}])
def test_a_code_shown_with_the_wrong_proof_is_spent(running: Running, wrong: dict[str, str]) -> None:
    code = login(running[0], "bob")["code"]
    assert [redeem(running[0], code, **more).status_code for more in (wrong, {})] == [400, 400]


@WITH_INDICATORS
def test_refresh_rotates_and_reuse_kills_the_line(running: Running) -> None:
    client, _ = running
    first = redeem(client, login(client, "bob")["code"]).json()

    def refresh(token: str, **more: str) -> Any:
        form = {"grant_type": "refresh_token", "client_id": "mcp-public", "refresh_token": token, **more}
        return client.post(f"{BASE}/token", data=form)

    assert refresh("garbage").json()["error"] == "invalid_grant"
    second = refresh(first["refresh_token"], scope="openid mcp:read").json()
    assert "mcp:write" not in second["scope"].split()
    assert refresh(second["refresh_token"], resource="http://other/mcp").json()["error"] == "invalid_target"
    reused = refresh(first["refresh_token"]).json()
    assert reused == {"error": "invalid_grant", "error_description": "Maximum allowed refresh token reuse exceeded"}
    assert refresh(second["refresh_token"]).json()["error"] == "invalid_grant"


@pytest.mark.requirement("25.25")
def test_a_service_account_gets_what_its_roles_allow(running: Running) -> None:
    client, _ = running
    form = {"grant_type": "client_credentials", "scope": "mcp:read mcp:write"}
    tokens = client.post(f"{BASE}/token", data=form, headers=basic("mcp-agent", "dev-only-agent-secret")).json()
    assert "mcp:write" not in tokens["scope"].split()
    access = claims(tokens["access_token"])
    assert (access["aud"], access["preferred_username"]) == (RESOURCE, "service-account-mcp-agent")
    wrong = client.post(f"{BASE}/token", data=form, headers=basic("mcp-agent", "no"))
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    asked = {"grant_type": "client_credentials", "scope": "nosuch"}
    assert (
        client.post(f"{BASE}/token", data=asked, headers=basic("mcp-agent", "dev-only-agent-secret")).json()["error"]
        == "invalid_scope"
    )


def test_introspection_and_revocation(running: Running) -> None:
    client, _ = running
    tokens = redeem(client, login(client, "bob")["code"]).json()
    ours = basic(RESOURCE, "dev-only-server-secret")

    def active(token: str, headers: dict[str, str] = ours) -> Any:
        return client.post(f"{BASE}/token/introspect", data={"token": token}, headers=headers).json().get("active")

    assert active(tokens["access_token"]) is True
    assert active(tokens["access_token"], basic("mcp-agent", "dev-only-agent-secret")) is False
    assert active("garbage") is False
    assert client.post(f"{BASE}/token/introspect", data={"token": "x", "client_id": "mcp-public"}).status_code >= 400
    other = redeem(client, login(client, "bob")["code"]).json()
    client.post(f"{BASE}/revoke", data={"token": tokens["access_token"], "client_id": "mcp-public"})
    assert active(tokens["access_token"]) is False
    client.post(f"{BASE}/revoke", data={"token": other["refresh_token"], "client_id": "mcp-public"})
    assert active(other["access_token"]) is False
    assert client.post(f"{BASE}/revoke", data={"token": "unknown", "client_id": "mcp-public"}).status_code in (200, 400)


def test_registration_binds_a_client_to_what_it_states(running: Running) -> None:
    client, server = running
    made = register(client, scope="mcp:read", client_name="<b>Tool</b>").json()
    assert (made["scope"], made["token_endpoint_auth_method"]) == ("mcp:read", "none")
    redirect = {"client_id": made["client_id"], "redirect_uri": "http://127.0.0.1:9/callback"}
    assert login(client, "bob", **redirect)["error"] == "invalid_scope"
    page = client.get(str(httpx.URL(f"{BASE}/auth", params=ASKED | redirect | {"scope": "mcp:read"})))
    assert "<b>Tool" not in page.text
    assert "code" in login(client, "bob", **redirect, scope="mcp:read")
    waiting = Waiting(ASKED | redirect | {"scope": "mcp:read"}, server.realm.users[0])
    transaction = "consent?tx=" + server.store.pending.put(waiting)
    refused = client.post(f"/realms/mcp/login-actions/{transaction}", data={"cancel": "No"})
    assert parse_qs(urlsplit(refused.headers["location"]).query)["error"] == ["access_denied"]
    secret = register(client, token_endpoint_auth_method="client_secret_basic").json()
    assert len(secret["client_secret"]) > 30


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"redirect_uris": ["https://evil.example/cb"]}, 403),
        ({"redirect_uris": ["https://github.com/cb"]}, 403),
        ({"redirect_uris": ["http://localhost/*"]}, 403),
        ({"redirect_uris": ["no-uri"]}, 403),
        ({"client_uri": "https://evil.example"}, 403),
        ({"scope": "admin"}, 403),
        ({"redirect_uris": "x"}, 400),
        ({"some_new_field": 1}, 400),
    ],
)
def test_a_foreign_registration_is_refused(running: Running, body: dict[str, Any], status: int) -> None:
    assert register(running[0], **body).status_code == status


def test_a_browser_of_another_origin_gets_no_token(running: Running) -> None:
    """As Keycloak: every preflight passes, the request itself is judged, documents are everyone's."""
    client, server = running
    evil, good = {"origin": "http://evil.example"}, {"origin": "http://localhost:6274"}
    url = f"{BASE}/token"
    assert client.options(url, headers=evil).headers["access-control-allow-origin"] == "http://evil.example"
    form = {"grant_type": "authorization_code", "client_id": "mcp-public", "code": "x"}
    refused = client.post(url, data=form, headers=evil)
    assert (refused.status_code, refused.json()) == (403, {"error": "Invalid origin"})
    assert "access-control-allow-origin" not in refused.headers
    wrong = client.post(url, data=form, headers=good)
    assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (400, "http://localhost:6274")
    registration = "/realms/mcp/clients-registrations/openid-connect"
    assert client.post(registration, json={}, headers=evil).status_code == 403
    body = {"redirect_uris": ["http://localhost:6274/oauth/callback"], "token_endpoint_auth_method": "none"}
    made = client.post(registration, json=body, headers=good)
    assert (made.status_code, made.headers["access-control-allow-origin"]) == (201, "http://localhost:6274")
    assert server.store.clients[made.json()["client_id"]].client.origins == ("http://localhost:6274",)
    document = client.get("/realms/mcp/.well-known/openid-configuration", headers=evil)
    assert document.headers["access-control-allow-origin"] == "http://evil.example"


@pytest.mark.parametrize("running", [()], indirect=True)
def test_without_the_feature_no_document_is_fetched(running: Running) -> None:
    client, _ = running
    metadata = client.get("/realms/mcp/.well-known/openid-configuration").json()
    assert metadata["client_id_metadata_document_supported"] is False
    with pytest.raises(LoginFailed, match="Client not found"):
        login(client, "bob", client_id="http://127.0.0.1:9/client.json")


def test_registrations_and_memory_are_bounded(running: Running) -> None:
    client, server = running
    most = server.realm.registration.max_clients
    waiting = [
        RegisteredClient(Client(client_id=f"dcr-{number}"), server.realm, by_itself=True) for number in range(most)
    ]
    server.store.clients |= {one.client_id: one for one in waiting}
    assert "Max Clients" in register(client).text
    for _ in range(MAX_ENTRIES + 5):
        server.store.put(server.store.references, "")
    assert len(server.store.references) == MAX_ENTRIES
    code = login(client, "bob")["code"]
    server.store.codes[code].expires_at = 0
    login(client, "bob")
    assert code not in server.store.codes


@pytest.mark.parametrize(
    ("known", "asked", "good"),
    [
        ("http://127.0.0.1/callback", "http://127.0.0.1:8/callback", True),
        ("http://[::1]/callback", "http://[::1]:8/callback", True),
        ("http://127.0.0.1/callback", "http://localhost:8/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:8/other", False),
        ("http://127.0.0.1/callback", "https://127.0.0.1:8/callback", False),
        ("http://127.0.0.1/callback", "http://u@127.0.0.1:8/callback", False),
        ("http://127.0.0.1:7/callback", "http://127.0.0.1:8/callback", False),
        ("https://vscode.dev/redirect", "https://vscode.dev/redirect", True),
    ],
)
def test_loopback_redirects_take_any_port_and_nothing_else(known: str, asked: str, good: bool) -> None:
    assert matches(known, asked) is good


def test_any_library_reads_the_whole_set_of_keys(running: Running) -> None:
    """Keycloak's encryption key is one; an API of one's own imported ours and refused every token."""
    client, _ = running
    document = client.get(f"{BASE}/certs").json()
    keys = KeySet.import_key_set(document).keys
    assert [one.as_dict(private=False)["use"] for one in keys] == ["sig", "sig", "enc"]


def test_documents_and_faults(running: Running) -> None:
    client, server = running
    places = (
        "/realms/mcp/.well-known/openid-configuration",
        "/realms/mcp/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/realms/mcp",
    )
    assert {client.get(place).json()["issuer"] for place in places} == {server.realm.issuer}
    assert {key["kty"] for key in client.get(f"{BASE}/certs").json()["keys"]} == {"RSA", "EC"}
    for mode, status in (("down", 503), ("error", 500), ("garbage", 200), ("wrong_issuer", 200), ("none", 200)):
        assert client.post("/_dev/faults", json={"mode": mode}).json() == {"mode": mode}
        assert client.get(places[0]).status_code == status
    client.post("/_dev/faults", json={"mode": "slow", "slow_s": 0.01})
    assert client.get(f"{BASE}/certs").status_code == 200
    before = len(server.keyring.keys)
    rotated = client.post("/_dev/rotate-keys", json={}).json()
    assert (len(rotated["kids"]), rotated["new"]) == (before + 2, rotated["kids"][:2])
    assert len(client.post("/_dev/rotate-keys?drop_old=true", json={}).json()["kids"]) == 2
    assert client.post("/_dev/faults", json={"mode": "else"}).status_code == 400
    assert client.get("/healthz").json() == {"status": "ok"}


def test_the_application_reads_its_addresses_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVSTACK_ISSUER", "http://localhost:1/realms/x")
    monkeypatch.setenv("DEVSTACK_RESOURCE", "http://localhost:2/mcp")
    assert any(route.path.startswith("/realms/x/") for route in application().routes)
