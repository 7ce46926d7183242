"""A caller's token traded for one of an API (RFC 8693): the embedded issuer and Keycloak say the same, errors too."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.kit.authorities import AGENT_SECRET, SERVER_SECRET, Authority, claims, lasts, token
from tests.kit.oauth_client import post, refresh

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:"
GRANTED = "mcp:read orders:read orders:write"
Exchanging = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def exchange(authority: Authority, http: httpx.AsyncClient) -> Exchanging:
    """The MCP server's own request, with what the test changes; None leaves a parameter out."""

    async def ask(subject: str, **changed: str | None) -> httpx.Response:
        form = {
            "grant_type": EXCHANGE,
            "subject_token": subject,
            "subject_token_type": f"{TYPE}access_token",
            "audience": "orders-api",
            "scope": "orders:read",
            "client_id": authority.resource,
            "client_secret": SERVER_SECRET,
        } | changed
        return await post(http, authority, "token", **{name: text for name, text in form.items() if text is not None})

    return ask


@pytest.fixture(scope="module")
async def bobs(authority: Authority) -> dict[str, Any]:
    return await token(authority, "bob", GRANTED)


@pytest.mark.parametrize("scope", ["orders:read", "orders:write", "orders:read orders:write"])
async def test_the_api_is_told_who_and_by_whom_and_no_more(
    authority: Authority, bobs: dict[str, Any], exchange: Exchanging, scope: str
) -> None:
    answer = (await exchange(bobs["access_token"], scope=scope)).json()
    said, before = claims(answer["access_token"]), claims(bobs["access_token"])
    assert before["aud"] == authority.resource  # a token for the MCP server is none for the API
    assert (said["aud"], said["azp"], said["typ"]) == ("orders-api", authority.resource, "Bearer")
    assert (said["sub"], said["sid"], said["iss"]) == (before["sub"], before["sid"], authority.issuer)
    assert {*said["scope"].split()} == {*answer["scope"].split()} == {*scope.split()}
    assert said["preferred_username"] == "bob"
    assert lasts(said, 900) and 900 >= answer["expires_in"] > 800  # Keycloak counts from when it answers
    assert (answer["issued_token_type"], answer["token_type"]) == (f"{TYPE}access_token", "Bearer")
    assert "refresh_token" not in answer
    if authority.name == "embedded":  # a Keycloak says what the requester's scopes `basic` and `acr` have it say
        assert (said["auth_time"], said["acr"]) == (before["auth_time"], before["acr"])


async def test_without_an_audience_it_is_for_all_that_are_mapped(
    authority: Authority, bobs: dict[str, Any], exchange: Exchanging
) -> None:
    said = claims((await exchange(bobs["access_token"], audience=None)).json()["access_token"])
    assert sorted(said["aud"]) == sorted([authority.resource, "orders-api"])
    bare = await exchange(bobs["access_token"], scope=None)
    assert claims(bare.json()["access_token"])["aud"] == "orders-api"
    assert bare.json()["scope"] == ""


async def test_a_service_account_is_exchanged_as_itself(
    authority: Authority, http: httpx.AsyncClient, exchange: Exchanging
) -> None:
    form = {"grant_type": "client_credentials", "client_id": "mcp-agent", "client_secret": AGENT_SECRET}
    own = (await post(http, authority, "token", scope="orders:read", **form)).json()["access_token"]
    said = claims((await exchange(own)).json()["access_token"])
    assert (said["sub"], said["aud"], said["scope"]) == (claims(own)["sub"], "orders-api", "orders:read")


@pytest.mark.parametrize(
    ("changed", "status", "error", "text"),
    [
        ({"audience": "nosuch"}, 400, "invalid_client", "Audience not found"),
        ({"audience": "mcp-agent"}, 400, "invalid_request", "Requested audience not available: mcp-agent"),
        ({"scope": "nosuch"}, 400, "invalid_scope", "Scopes [nosuch] not present in the initial access token"),
        ({"scope": ""}, 400, "invalid_scope", "Scopes [] not present in the initial access token"),
        ({"scope": "mcp:infer"}, 400, "invalid_scope", "Scopes [mcp:infer] not present in the initial access token"),
        ({"scope": "mcp:read"}, 400, "invalid_scope", "Invalid scopes: mcp:read"),
        ({"client_secret": "no"}, 401, "unauthorized_client", "Invalid client or Invalid client credentials"),
        ({"client_secret": None}, 401, "unauthorized_client", "Invalid client or Invalid client credentials"),
        ({"client_id": "nosuch"}, 401, "invalid_client", "Invalid client or Invalid client credentials"),
        ({"client_id": "mcp-agent", "client_secret": AGENT_SECRET}, 400, "invalid_request", "Standard token exchange is not enabled"),
        ({"client_id": "mcp-public", "client_secret": None}, 400, "invalid_request", "Standard token exchange is not enabled"),
        ({"subject_token": "garbage"}, 400, "invalid_request", "Assertion contains an invalid access token"),
        ({"subject_token": None}, 400, "invalid_request", "Parameter 'subject_token' required"),
        ({"subject_token_type": None}, 400, "invalid_request", "Parameter 'subject_token_type' required"),
        ({"subject_token_type": f"{TYPE}jwt"}, 400, "invalid_request", "Parameter 'subject_token' supports access tokens only"),
        ({"requested_token_type": f"{TYPE}refresh_token"}, 400, "invalid_request", "requested_token_type unsupported"),
        ({"requested_subject": "carol"}, 400, "invalid_request", "Parameter 'requested_subject' is not supported"),
    ],
)  # fmt: skip
async def test_a_wrong_exchange_is_refused_alike(
    bobs: dict[str, Any], exchange: Exchanging, changed: dict[str, str | None], status: int, error: str, text: str
) -> None:
    refused = await exchange(**({"subject": bobs["access_token"]} | changed))
    said = refused.json()
    assert (refused.status_code, said["error"]) == (status, error)
    assert said["error_description"].startswith(text)


async def test_an_exchange_never_widens_what_the_person_granted(authority: Authority, exchange: Exchanging) -> None:
    reads = (await token(authority, "bob", "mcp:read orders:read"))["access_token"]
    assert (await exchange(reads)).status_code == 200
    assert (await exchange(reads, scope="orders:write")).json()["error"] == "invalid_scope"
    # alice may not write, and asked all the same: the realm left it out, and the exchange cannot bring it back
    hers = (await token(authority, "alice", GRANTED))["access_token"]
    assert (await exchange(hers, scope="orders:write")).json()["error"] == "invalid_scope"


async def test_a_token_for_somebody_else_is_not_exchanged(authority: Authority, exchange: Exchanging) -> None:
    foreign = (await token(authority, "bob", "profile"))["access_token"]
    refused = await exchange(foreign, scope=None)
    assert (refused.status_code, refused.json()["error"]) == (403, "access_denied")
    assert refused.json()["error_description"] == "Client is not within the token audience"


@pytest.mark.parametrize("how", ["access token revoked", "refresh token revoked", "refresh token used twice"])
async def test_when_the_session_ends_so_does_the_exchange(
    authority: Authority, http: httpx.AsyncClient, exchange: Exchanging, how: str
) -> None:
    answer = await token(authority, "bob", GRANTED)
    assert (await exchange(answer["access_token"])).status_code == 200
    if how == "refresh token used twice":
        for _ in range(2):
            await refresh(http, authority, answer["refresh_token"])
    else:
        named = answer["access_token" if how.startswith("access") else "refresh_token"]
        assert (await post(http, authority, "revoke", client_id="mcp-public", token=named)).status_code == 200
    refused = await exchange(answer["access_token"])
    assert (refused.status_code, refused.json()) == (
        400,
        {"error": "invalid_request", "error_description": "Invalid token"},
    )
