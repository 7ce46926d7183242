"""What the authorization server does for us: the same tests against the embedded one and a real Keycloak."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.login import LoginFailed
from mcp_server.auth.extensions import CLIENT_CREDENTIALS
from mcp_server.auth.policy import IssuerPolicy
from mcp_server.auth.refusals import AccessDeniedError
from mcp_server.auth.tokens import introspection
from tests.kit import wire
from tests.kit.authorities import AGENT_SECRET, Authority, claims, lasts, token
from tests.kit.oauth_client import CREATE, INSPECTOR, LIST, Asked, document, introspect, post, refresh, register, scopes
from tests.kit.stack import Running, running_mcp, until


@pytest.fixture
async def mcp(authority: Authority, tmp_path: Path) -> AsyncIterator[Running]:
    quick = "10000"  # calls go on while keys rotate
    async with running_mcp(
        tmp_path, authority.issuer, authority.resource, max_calls_per_second_per_principal=quick
    ) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        yield client


async def test_metadata_is_the_issuers_at_both_places(authority: Authority, http: httpx.AsyncClient) -> None:
    origin, _, path = authority.issuer.partition("/realms/")
    places = (
        f"{authority.issuer}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server/realms/{path}",
    )
    documents = [(await http.get(place)).json() for place in places]
    for found in documents:
        assert found["issuer"] == authority.issuer
        assert found["authorization_response_iss_parameter_supported"] is True
        assert "S256" in found["code_challenge_methods_supported"]
        assert found["client_id_metadata_document_supported"] is True
        # who lists more is asked for more: some clients register with all of it, most ask for `offline_access`
        ours = {"mcp:read", "mcp:write", "mcp:infer", "mcp:admin", "orders:read", "orders:write"}
        assert set(found["scopes_supported"]) == {"openid", "profile", "email", *ours}
    keys = (await http.get(documents[0]["jwks_uri"])).json()["keys"]
    assert {"RS256", "ES256"} <= {key["alg"] for key in keys}


async def test_a_token_has_the_shape_that_we_judge(authority: Authority) -> None:
    answer = await token(authority, "bob", "mcp:read mcp:write")
    said = claims(answer["access_token"])
    assert (said["iss"], said["aud"], said["azp"]) == (authority.issuer, authority.resource, "mcp-public")
    assert (said["typ"], claims(answer["access_token"], 0)["typ"]) == ("Bearer", "JWT")
    assert sorted(said["realm_access"]["roles"]) == ["reader", "writer"]
    assert said["preferred_username"] == "bob"
    assert lasts(said, 900) and answer["expires_in"] <= 900  # Keycloak counts from when it answers


async def test_a_role_gates_a_scope_without_a_word(authority: Authority, mcp: Running) -> None:
    answer = await token(authority, "alice", "mcp:read mcp:write mcp:infer")
    assert scopes(answer) & {"mcp:read", "mcp:write", "mcp:infer"} == {"mcp:read", "mcp:infer"}
    assert claims(answer["access_token"])["realm_access"]["roles"] == ["reader"]
    assert (await mcp.post(LIST, answer["access_token"])).status_code == 200
    refused = await mcp.post(CREATE, answer["access_token"])
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]


async def test_without_a_scope_of_ours_a_token_is_not_for_us(authority: Authority, mcp: Running) -> None:
    answer = await token(authority, "bob", "profile")
    assert authority.resource not in claims(answer["access_token"]).get("aud", ())
    assert (await mcp.post(LIST, answer["access_token"])).status_code == 401


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"code_challenge_method": None, "code_challenge": None}, "invalid_request", "code_challenge_method"),
        ({"code_challenge_method": "plain"}, "invalid_request", "code challenge method"),
        ({"scope": "openid nosuch"}, "invalid_scope", "nosuch"),
    ],
)
async def test_a_wrong_request_goes_back_with_the_issuer(
    authority: Authority, changed: dict[str, str | None], error: str, said: str
) -> None:
    back = await Asked(authority, **changed).back()
    assert (back["error"], back["iss"], back["state"]) == (error, authority.issuer, "s")
    assert said in back["error_description"]


@pytest.mark.parametrize(
    "redirect",
    ["http://127.0.0.1:33418/other", "https://127.0.0.1:1/callback", "http://127.0.0.1.evil.example/callback"],
)
async def test_a_foreign_redirect_is_told_to_the_person(authority: Authority, redirect: str) -> None:
    with pytest.raises(LoginFailed, match="redirect_uri"):
        await Asked(authority, redirect_uri=redirect).back()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_a_loopback_redirect_takes_any_port(authority: Authority, host: str) -> None:
    back = await Asked(authority, redirect_uri=f"http://{host}:45678/callback").back()
    assert back["iss"] == authority.issuer
    assert back["code"]


async def test_refresh_rotates_and_reuse_kills_the_line(authority: Authority, http: httpx.AsyncClient) -> None:
    first = await token(authority, "bob", "mcp:read")
    second = (await refresh(http, authority, first["refresh_token"])).json()
    assert claims(second["access_token"])["aud"] == authority.resource
    assert second["refresh_token"] != first["refresh_token"]
    reused = await refresh(http, authority, first["refresh_token"])
    assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")
    assert (await refresh(http, authority, second["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_service_account_calls_with_what_its_role_allows(
    authority: Authority, mcp: Running, http: httpx.AsyncClient
) -> None:
    form = {"grant_type": "client_credentials", "client_id": "mcp-agent", "client_secret": AGENT_SECRET}
    answer = (await post(http, authority, "token", scope="mcp:read mcp:write", **form)).json()
    assert "mcp:write" not in scopes(answer)
    said = claims(answer["access_token"])
    assert (said["aud"], said["preferred_username"]) == (authority.resource, "service-account-mcp-agent")
    assert (await mcp.post(LIST, answer["access_token"])).status_code == 200
    assert (await mcp.post(CREATE, answer["access_token"])).status_code == 403
    discovery = await mcp.post(
        wire.modern("server/discover"), answer["access_token"], **wire.headers("server/discover")
    )
    assert discovery.json()["result"]["capabilities"]["extensions"] == {CLIENT_CREDENTIALS: {}}  # and no other is true
    wrong = await post(http, authority, "token", **{**form, "client_secret": "no"})
    assert (wrong.status_code, wrong.json()["error"]) in {(401, "unauthorized_client"), (401, "invalid_client")}


async def test_introspection_by_the_servers_own_client(authority: Authority, http: httpx.AsyncClient) -> None:
    access = (await token(authority, "bob", "mcp:read"))["access_token"]
    answer = await introspect(http, authority, access)
    assert (answer["active"], answer["client_id"]) == (True, "mcp-public")
    audiences, algorithms = frozenset({authority.resource}), frozenset({"RS256"})
    policy = IssuerPolicy(issuer=authority.issuer, audiences=audiences, algorithms=algorithms)
    accepted = introspection.accept(answer, policy, now=claims(access)["iat"])
    assert accepted.subject == claims(access)["sub"]
    foreign = (await token(authority, "bob", "profile"))["access_token"]
    assert await introspect(http, authority, foreign) == {"active": False}
    assert await introspect(http, authority, "garbage") == {"active": False}


async def test_a_revoked_token_is_inactive_at_once(authority: Authority, http: httpx.AsyncClient) -> None:
    tokens = await token(authority, "bob", "mcp:read")
    form = {"client_id": "mcp-public", "token": tokens["access_token"]}
    assert (await post(http, authority, "revoke", **form)).status_code == 200
    answer = await introspect(http, authority, tokens["access_token"])
    assert answer == {"active": False}
    policy = IssuerPolicy(issuer="i", audiences=frozenset("a"), algorithms=frozenset({"RS256"}))
    with pytest.raises(AccessDeniedError):
        introspection.accept(answer, policy, now=0)


async def test_inspectors_own_request_registers_and_is_readable(authority: Authority, http: httpx.AsyncClient) -> None:
    made = await register(
        http,
        authority,
        origin=True,
        redirect_uris=["http://localhost:6274/oauth/callback"],
        client_name="MCP Inspector",
        client_uri="https://github.com/modelcontextprotocol/inspector",
        scope="openid mcp:read mcp:write",
    )
    assert made.status_code == 201, made.text
    assert made.headers["access-control-allow-origin"] == INSPECTOR["origin"]
    redirect = "http://localhost:6274/oauth/callback"
    asked = Asked(authority, client_id=made.json()["client_id"], redirect_uri=redirect, scope="openid mcp:read")
    assert scopes((await asked.tokens(http)).json()) >= {"mcp:read"}


@pytest.mark.parametrize(
    "registration",
    [
        pytest.param({"redirect_uris": ["http://localhost:3334/oauth/callback"], "client_uri": "https://github.com/geelen/mcp-remote",
                      "software_id": "2e6dc280-f3c3-4e01-99a7-8181dbd1d23d", "software_version": "0.15.1",
                      "application_type": "native", "scope": "openid mcp:read"}, id="mcp-remote"),
        pytest.param({"redirect_uris": ["http://localhost:51234/callback"]}, id="Claude Code"),
        pytest.param({"redirect_uris": ["https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/",
                                        "http://127.0.0.1:33418/"], "client_uri": "https://code.visualstudio.com"}, id="VS Code"),
        pytest.param({"redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback"]}, id="Cursor"),
    ],
)  # fmt: skip
async def test_known_clients_register(
    authority: Authority, http: httpx.AsyncClient, registration: dict[str, Any]
) -> None:
    made = await register(http, authority, **registration)
    assert made.status_code == 201, made.text


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"redirect_uris": ["https://evil.example/cb"]}, 403),
        ({"redirect_uris": ["http://localhost:1/callback", "https://evil.example/cb"]}, 403),
        ({"redirect_uris": ["https://github.com/cb"]}, 403),
        ({"redirect_uris": ["https://code.visualstudio.com/cb"]}, 403),
        ({"redirect_uris": ["http://localhost/*"]}, 403),
        ({"client_uri": "https://evil.example"}, 403),
        ({"scope": "orders-api-audience"}, 403),
        ({"some_new_field": 1}, 400),
    ],
)
async def test_nobody_elses_redirect_or_scope_passes(
    authority: Authority, http: httpx.AsyncClient, changed: dict[str, Any], status: int
) -> None:
    assert (await register(http, authority, **changed)).status_code == status


async def test_a_page_of_another_origin_may_not_register(authority: Authority, http: httpx.AsyncClient) -> None:
    url = f"{authority.issuer}/clients-registrations/openid-connect"
    body = {"redirect_uris": ["http://localhost:1/callback"]}
    refused = await http.post(url, json=body, headers={"origin": "http://evil.example"})
    assert (refused.status_code, refused.json()) == (403, {"error": "Invalid origin"})
    assert "access-control-allow-origin" not in refused.headers


async def test_a_registered_client_must_use_pkce_and_ask_the_person(
    authority: Authority, http: httpx.AsyncClient
) -> None:
    client_id = (await register(http, authority)).json()["client_id"]
    ours = {"client_id": client_id, "redirect_uri": "http://localhost:53412/callback"}
    bare = await Asked(authority, **ours, code_challenge=None, code_challenge_method=None).back()
    assert bare["error"] == "invalid_request"
    assert (await Asked(authority, **ours).back(allow=False))["error"] == "access_denied"
    assert claims((await Asked(authority, **ours).tokens(http)).json()["access_token"])["aud"] == authority.resource


async def test_what_a_registration_states_is_all_the_client_gets(authority: Authority, http: httpx.AsyncClient) -> None:
    client_id = (await register(http, authority, scope="openid mcp:read")).json()["client_id"]
    ours = {"client_id": client_id, "redirect_uri": "http://localhost:53412/callback"}
    said = claims((await Asked(authority, **ours).tokens(http)).json()["access_token"])
    assert (said["aud"], sorted(said["realm_access"]["roles"])) == (authority.resource, ["reader", "writer"])
    assert (await Asked(authority, **ours, scope="openid mcp:read mcp:write").back())["error"] == "invalid_scope"


async def test_a_client_is_known_by_its_document(authority: Authority, mcp: Running, http: httpx.AsyncClient) -> None:
    with document() as address:
        authority.know_documents(address)
        answer = (await Asked(authority, client_id=address, scope="openid mcp:read mcp:write").tokens(http)).json()
        again = await Asked(authority, client_id=address).back()
    assert again["code"]
    said = claims(answer["access_token"])
    assert (said["azp"], said["aud"]) == (address, authority.resource)
    assert (await mcp.post(CREATE, answer["access_token"])).status_code == 200


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"client_id": "http://127.0.0.1/other.json"}, "exactly match"),
        ({"redirect_uris": ["http://127.0.0.1/callback", "https://evil.example/cb"]}, "domain not allowed"),
        ({"token_endpoint_auth_method": "client_secret_basic"}, "authentication method"),
        ({"some_new_field": 1}, "fetch failed"),
    ],
)
async def test_a_bad_document_is_told_to_the_person(authority: Authority, changed: dict[str, Any], said: str) -> None:
    with document(**changed) as address:
        authority.know_documents(address)
        with pytest.raises(LoginFailed, match=said):
            await Asked(authority, client_id=address).back()


async def test_a_document_elsewhere_is_not_fetched(authority: Authority) -> None:
    with pytest.raises(LoginFailed, match="Client not found"):
        await Asked(authority, client_id="https://evil.example/client.json").back()


async def test_without_resource_indicators_the_scope_alone_names_the_audience(
    authority: Authority, http: httpx.AsyncClient
) -> None:
    for resource in (None, authority.resource, "https://other.example/mcp"):
        answer = await Asked(authority, resource=resource).tokens(http, **({"resource": resource} if resource else {}))
        assert claims(answer.json()["access_token"])["aud"] == authority.resource


async def test_keys_rotate_without_a_failed_call(authority: Authority, mcp: Running) -> None:
    before = (await token(authority, "bob", "mcp:read"))["access_token"]
    done, statuses = asyncio.Event(), list[int]()

    async def call_on() -> None:
        while not done.is_set():
            statuses.append((await mcp.post(LIST, before)).status_code)

    calling = asyncio.create_task(call_on())
    await authority.rotate_keys()
    after = (await token(authority, "bob", "mcp:read"))["access_token"]
    assert claims(after, 0)["kid"] != claims(before, 0)["kid"]
    statuses.append((await mcp.post(LIST, after)).status_code)

    async def gone_on() -> bool:
        return len(statuses) > 5 or calling.done()

    await until(gone_on)
    done.set()
    await calling
    assert set(statuses) == {200}


async def test_the_issuer_goes_and_comes_again(authority: Authority, mcp: Running, tmp_path: Path) -> None:
    known = await token(authority, "bob", "mcp:read")
    fresh = (await token(authority, "alice", "mcp:read"))["access_token"]
    assert (await mcp.post(LIST, known["access_token"])).status_code == 200
    async with authority.away():
        assert (await mcp.post(LIST, known["access_token"])).status_code == 200
        assert (await mcp.post(LIST, fresh)).status_code == 200  # never seen, but the keys are known
        assert (await mcp.post(LIST)).status_code == 401
    again = (await token(authority, "bob", "mcp:read"))["access_token"]
    assert (await mcp.post(LIST, again)).status_code == 200
    assert (await mcp.post(LIST, known["access_token"])).status_code == 200
