"""What a stranger may register at the real Keycloak: a client for persons, at known addresses, and nothing besides."""

import asyncio
import base64
import hashlib
import re
import secrets
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest

from devstack.login import LoginFailed, authorize, browser, fetch_token
from tests.kit import wire
from tests.kit.authorities import Keycloak, claims, lasts
from tests.kit.realms import command
from tests.kit.stack import running_mcp

pytestmark = pytest.mark.live
REDIRECT = "http://127.0.0.1:33418/callback"
OURS = {"mcp:read", "mcp:write", "mcp:infer", "mcp:admin", "orders:read", "orders:write"}
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
USUAL = {"redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none"}
LIST = wire.legacy("tools/call", {"name": "list_orders", "arguments": {}})


def send(keycloak: Keycloak, provider: str, body: dict[str, Any], token: str = "") -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    url = f"{keycloak.issuer}/clients-registrations/{provider}"
    return httpx.post(url, json=body, headers=headers, trust_env=False, timeout=30)


def register(keycloak: Keycloak, **changed: Any) -> httpx.Response:
    body = {name: value for name, value in {**USUAL, **changed}.items() if value is not None}
    return send(keycloak, "openid-connect", body)


def post(keycloak: Keycloak, path: str, form: dict[str, str], **headers: str) -> httpx.Response:
    url = f"{keycloak.issuer}/protocol/openid-connect/{path}"
    return httpx.post(url, data=form, headers=headers, trust_env=False, timeout=30)


def metadata(keycloak: Keycloak) -> Any:
    return httpx.get(f"{keycloak.issuer}/.well-known/openid-configuration", trust_env=False, timeout=30).json()


class Flow:
    """An authorization request with PKCE."""

    def __init__(self, keycloak: Keycloak, client_id: str, scope: str = "openid mcp:read", **more: str) -> None:
        self.keycloak, self.client_id, self.verifier = keycloak, client_id, secrets.token_urlsafe(48)
        self.redirect = more.pop("redirect_uri", REDIRECT)
        self.challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        self.parameters = {
            "client_id": client_id, "response_type": "code", "redirect_uri": self.redirect, "scope": scope, "state": "s",
            "code_challenge": self.challenge, "code_challenge_method": "S256", **more,
        }  # fmt: skip

    def url(self) -> str:
        return str(httpx.URL(f"{self.keycloak.issuer}/protocol/openid-connect/auth", params=self.parameters))

    def tokens(self, user: str, secret: str = "") -> dict[str, Any]:
        with browser() as screen:
            back = authorize(screen, self.url(), user)
        form = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": self.redirect}
        form |= {"client_id": self.client_id, "code_verifier": self.verifier}
        basic = base64.b64encode(f"{self.client_id}:{secret}".encode()).decode()
        answer = post(self.keycloak, "token", form, **({"authorization": f"Basic {basic}"} if secret else {}))
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens


def serverinfo(keycloak: Keycloak) -> Any:
    with keycloak.admin() as admin:
        return admin._request("GET", f"{admin.origin}/admin/serverinfo", None).json()


def mapper_types(keycloak: Keycloak) -> list[tuple[str, str]]:
    """Every protocol mapper that this Keycloak has, with its protocol."""
    return [
        (protocol, one["id"])
        for protocol, known in serverinfo(keycloak)["protocolMapperTypes"].items()
        for one in known
    ]


def test_no_mapper_of_any_type_comes_with_a_client(ordinary: Keycloak) -> None:
    with ordinary.admin() as admin:
        initial = admin.send("POST", "/clients-initial-access", {"count": 100, "expiration": 600}).json()["token"]
    known = mapper_types(ordinary)
    assert len(known) > 30
    base = {"redirectUris": [REDIRECT], "publicClient": True}
    mine = send(ordinary, "default", base)
    assert mine.status_code == 201, mine.text
    update = f"{ordinary.issuer}/clients-registrations/default/{mine.json()['clientId']}"
    for protocol, kind in known:
        config = {"claim.name": "sub", "user.attribute": "firstName", "access.token.claim": "true"}
        mapper = {"name": "m", "protocol": protocol, "protocolMapper": kind, "config": config}
        for token in ("", initial):
            refused = send(ordinary, "default", {**base, "protocolMappers": [mapper]}, token)
            assert refused.status_code == 403, (kind, refused.text)
            assert "Allowed Protocol Mapper Types" in refused.text
        headers = {"authorization": f"Bearer {mine.json()['registrationAccessToken']}"}
        changed = httpx.put(update, json={**mine.json(), "protocolMappers": [mapper]}, headers=headers, trust_env=False)
        assert changed.status_code == 403, (kind, changed.text)


@pytest.mark.parametrize(
    "body",
    [
        {"publicClient": False, "serviceAccountsEnabled": True, "clientAuthenticatorType": "client-jwt"},
        {"webOrigins": ["*"]}, {"webOrigins": ["https://evil.example"]}, {"adminUrl": "http://127.0.0.1:9/"},
        {"attributes": {"logoUri": "https://evil.example/x.png"}},
        {"attributes": {"backchannel.logout.url": "http://127.0.0.1:9/x"}},
        {"attributes": {"jwks.url": "http://127.0.0.1:9/x", "use.jwks.url": "true"}},
        {"attributes": {"request.uris": "http://127.0.0.1:9/x"}},
        {"optionalClientScopes": ["offline_access"]}, {"defaultClientScopes": ["service_account"]},
    ],
)  # fmt: skip
def test_the_realm_alone_refuses_what_keycloaks_own_form_allows(ordinary: Keycloak, body: dict[str, Any]) -> None:
    refused = send(ordinary, "default", {"redirectUris": [REDIRECT], "publicClient": True, **body})
    assert refused.status_code == 403, refused.text


def test_the_realm_alone_switches_off_what_it_does_not_refuse(ordinary: Keycloak) -> None:
    asked = {
        "implicitFlowEnabled": True,
        "directAccessGrantsEnabled": True,
        "fullScopeAllowed": True,
        "consentRequired": False,
        "publicClient": True,
        "redirectUris": [REDIRECT],
    }
    made = send(ordinary, "default", asked).json()
    assert {name: made[name] for name in asked if made[name] != asked[name]} == {
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "fullScopeAllowed": False,
        "consentRequired": True,
    }
    assert made["attributes"]["pkce.code.challenge.method"] == "S256"


def test_a_life_of_its_own_choice_is_told_to_the_operator_and_closed_by_the_build(
    ordinary: Keycloak, keycloak: Keycloak
) -> None:
    """No policy of Keycloak's looks at these attributes; the way by which they come is off in our builds."""
    body = {"redirectUris": [REDIRECT], "publicClient": True, "attributes": {"access.token.lifespan": "31536000"}}
    assert send(ordinary, "default", body).status_code == 201
    for provider in ("default", "install", "saml2-entity-descriptor"):
        assert send(keycloak, provider, body).status_code == 404
    for running, told in ((ordinary, True), (keycloak, False)):
        documents = "--documents" if "cimd" in running.features else "--no-documents"
        found = command(running, "diff", "--for", "development", "--resource", running.resource, documents)
        assert ("clients-registrations/default is open" in found.stderr) is told


async def test_no_grant_gives_a_stranger_a_token_for_us(keycloak: Keycloak, tmp_path: Path) -> None:
    """Registered with each grant that Keycloak lists, with and without a secret, then asked for."""
    grants = (await asyncio.to_thread(metadata, keycloak))["grant_types_supported"]
    assert {"client_credentials", "password", DEVICE, EXCHANGE, "urn:openid:params:grant-type:ciba"} <= set(grants)
    alice = (await asyncio.to_thread(fetch_token, keycloak.issuer, "alice", "openid mcp:read", keycloak.resource))[
        "access_token"
    ]
    async with running_mcp(tmp_path, keycloak.issuer, keycloak.resource) as mcp:
        assert (await mcp.post(LIST, alice)).status_code == 200
        for grant in grants:
            for method in ("none", "client_secret_post", None):
                made = await asyncio.to_thread(
                    register, keycloak, token_endpoint_auth_method=method, grant_types=[grant, "authorization_code"]
                )
                if made.status_code != 201:
                    assert made.status_code in (400, 403, 500), made.text
                    continue
                answer = await asyncio.to_thread(ask, keycloak, made.json(), grant, alice)
                if answer.status_code == 200:
                    # Keycloak cannot be told which confidential client may have a service account: theirs gets a
                    # token that is for nobody, since it has no role and each of our scopes needs one.
                    assert grant in ("client_credentials", "urn:ietf:params:oauth:grant-type:uma-ticket")
                    said = claims(answer.json()["access_token"])
                    assert "aud" not in said
                    assert not set(said["scope"].split()) & OURS
                    assert "sid" not in said
                    assert (await mcp.post(LIST, answer.json()["access_token"])).status_code == 401
                else:
                    assert answer.status_code in (400, 401, 403), (grant, answer.text)


def ask(keycloak: Keycloak, client: dict[str, Any], grant: str, someones: str) -> httpx.Response:
    """A token by a grant, with whatever a stranger could bring."""
    form = {"grant_type": grant, "client_id": client["client_id"], "scope": " ".join(["openid", *OURS])}
    if secret := client.get("client_secret"):
        form["client_secret"] = secret
    if grant == DEVICE:
        return by_device(keycloak, form)
    form |= {
        "username": "alice",
        "password": "alice",
        "assertion": someones,
        "auth_req_id": "x",
        "subject_token": someones,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "audience": keycloak.resource,
    }
    if grant.endswith("ciba"):
        hinted = {**form, "login_hint": "alice", "binding_message": "x"}
        assert post(keycloak, "ext/ciba/auth", hinted).status_code >= 400
    return post(keycloak, "token", form)


def by_device(keycloak: Keycloak, form: dict[str, str]) -> httpx.Response:
    """A person is sent the address with the code in it, logs in and allows: the client gets nothing all the same."""
    flow = Flow(keycloak, form["client_id"])
    began = post(keycloak, "auth/device", {**form, "code_challenge": flow.challenge, "code_challenge_method": "S256"})
    assert began.status_code == 200, began.text
    with browser() as screen:
        page = screen.get(began.json()["verification_uri_complete"])
        for _ in range(8):
            if location := page.headers.get("location"):
                page = screen.get(urljoin(str(page.url), location))
                continue
            found = re.search(r'<form[^>]*action="([^"]+)".*?</form>', page.text, re.DOTALL)
            if found is None:
                break
            answer = {"username": "alice", "password": "alice"} if 'name="password"' in found[0] else {"accept": "Yes"}
            page = screen.post(urljoin(str(page.url), unescape(found[1])), data=answer)
    assert "Device Login Successful" in page.text
    return post(keycloak, "token", {**form, "device_code": began.json()["device_code"], "code_verifier": flow.verifier})


@pytest.mark.parametrize(
    "uri",
    [
        r"http://evil.example\@localhost/cb", "http://localhost@evil.example/cb", "http://localhost:1@evil.example/",
        "http://localhost.evil.example/cb", "javascript://localhost/%0aalert(1)", "https://localhost/*", "*", "/cb", "+",
        "com.evil:/cb", "cursor://evil/cb", "https://vscode.dev/other", r"https://vscode.dev\.evil.example/",
        "https://vscode.dev/redirect?url=https://evil.example", "https://vscode.dev/redirect/", "https://github.com/x",
        "http://localhost:1/*", "http://localhost/cb#f", "http://localhost/cb\r\nx", "http://localhost?x=1",
        "http://127.1/cb", "http://0x7f.1/cb", "http://10.0.0.1/cb", "http://[::ffff:127.0.0.1]/cb", "https://evil.example/cb",
        "https://claude.ai/api/mcp/auth_callback", "data:text/html,x", "cursor://anysphere.cursor-mcp/oauth/callback/x",
    ],
)  # fmt: skip
def test_a_code_goes_to_no_address_that_is_not_known(ordinary: Keycloak, keycloak: Keycloak, uri: str) -> None:
    assert register(ordinary, redirect_uris=[uri]).status_code == 403
    assert register(ordinary, redirect_uris=[REDIRECT, uri]).status_code == 403
    # With documents the host is held; a path, and what is relative to Keycloak itself, is not.
    if urlsplit(uri).hostname not in (None, "vscode.dev", "localhost", "anysphere.cursor-mcp"):
        assert register(keycloak, redirect_uris=[REDIRECT, uri]).status_code == 403


@pytest.mark.parametrize(
    "changed",
    [
        {"jwks_uri": "http://127.0.0.1:9/keys"}, {"request_uris": ["http://127.0.0.1:9/request"]},
        {"backchannel_logout_uri": "http://127.0.0.1:9/logout"}, {"logo_uri": "https://evil.example/logo.png"},
        {"sector_identifier_uri": "https://evil.example/s", "subject_type": "pairwise"},
        {"tos_uri": "https://evil.example/"}, {"policy_uri": "https://evil.example/"}, {"client_uri": "https://evil.example/"},
        {"post_logout_redirect_uris": ["https://evil.example/"]}, {"client_id": "http://localhost/mcp/"},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://evil.example/keys"},
        {"token_endpoint_auth_method": "client_secret_jwt"},
        {"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=x"},
        {"scope": "openid offline_access"}, {"scope": "orders-api-audience"}, {"scope": "service_account"},
    ],
)  # fmt: skip
def test_what_else_a_stranger_may_not_bring(ordinary: Keycloak, keycloak: Keycloak, changed: dict[str, Any]) -> None:
    assert register(ordinary, **changed).status_code in (400, 403)
    if changed.keys() & {"scope", "token_endpoint_auth_method", "client_id", "client_uri"}:
        assert register(keycloak, **changed).status_code in (400, 403)


def everything(keycloak: Keycloak) -> str:
    """As Gemini CLI: a registration with all that the metadata lists."""
    return " ".join(metadata(keycloak)["scopes_supported"])


@pytest.mark.parametrize(
    "named",
    [
        pytest.param({"token_endpoint_auth_method": None}, id="Python SDK and Open WebUI, nothing configured"),
        pytest.param({"token_endpoint_auth_method": "client_secret_basic"}, id="RFC 7591's default"),
        pytest.param({"redirect_uris": ["http://127.0.0.1:19876/mcp/oauth/callback"],
                      "client_uri": "https://opencode.ai"}, id="OpenCode"),
        pytest.param({"redirect_uris": ["http://localhost:7777/oauth/callback"], "scope": everything}, id="Gemini CLI"),
        pytest.param({"redirect_uris": ["http://[::1]:1234/callback"]}, id="IPv6 loopback"),
        pytest.param({"redirect_uris": ["https://vscode.dev/redirect", "http://127.0.0.1:33418/"],
                      "grant_types": ["authorization_code", "refresh_token", DEVICE],
                      "client_uri": "https://code.visualstudio.com"}, id="VS Code"),
    ],
)  # fmt: skip
def test_an_honest_client_is_let_in_and_a_person_logs_in_with_it(keycloak: Keycloak, named: dict[str, Any]) -> None:
    filled = {name: value(keycloak) if callable(value) else value for name, value in named.items()}
    made = register(keycloak, **filled)
    assert made.status_code == 201, made.text
    client = made.json()
    flow = Flow(keycloak, client["client_id"], redirect_uri=client["redirect_uris"][0])
    tokens = flow.tokens("alice", client.get("client_secret", ""))
    said = claims(tokens["access_token"])
    assert (said["aud"], said["scope"].split().count("mcp:read")) == (keycloak.resource, 1)
    assert lasts(said, 900)
    assert tokens["refresh_expires_in"] <= 8 * 3600


def test_a_strangers_client_asks_the_person(keycloak: Keycloak) -> None:
    client_id = register(keycloak).json()["client_id"]
    with browser() as screen:
        authorize(screen, Flow(keycloak, "mcp-public").url(), "bob")
        page = screen.get(Flow(keycloak, client_id).url())
        while location := page.headers.get("location"):
            page = screen.get(urljoin(str(page.url), location))
        assert "Read through the MCP server" in page.text
        silent = screen.get(Flow(keycloak, client_id, prompt="none").url()).headers["location"]
    assert parse_qs(urlsplit(silent).query)["error"] == ["interaction_required"]


def test_the_public_client_gives_no_program_a_code_unseen(keycloak: Keycloak) -> None:
    """In a living session and after a consent, which Keycloak remembers: whoever is at the keys is asked again."""
    with browser() as screen:
        assert authorize(screen, Flow(keycloak, "mcp-public").url(), "carol")["code"]
        for port in (33418, 50001):
            for more in ({}, {"prompt": "none"}):
                flow = Flow(keycloak, "mcp-public", redirect_uri=f"http://127.0.0.1:{port}/callback", **more)
                page = screen.get(flow.url())
                back = parse_qs(urlsplit(page.headers.get("location", "")).query)
                assert "code" not in back
                assert back.get("error") == (["login_required"] if more else None)
    with pytest.raises(LoginFailed, match="invalid_scope"):
        fetch_token(keycloak.issuer, "bob", "openid mcp:read offline_access", keycloak.resource)


def test_the_metadata_lists_what_anybody_may_ask_for(keycloak: Keycloak) -> None:
    assert set(everything(keycloak).split()) == {"openid", "profile", "email", *OURS}
