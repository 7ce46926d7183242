"""On both authorization servers: what a person's token looks like by every way to it, and what a client's own does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.login import REDIRECT
from tests.kit import wire
from tests.kit.authorities import AGENT_SECRET, Authority, Keycloak, claims, token
from tests.kit.stack import Running, running_mcp

LIST = wire.legacy("tools/call", {"name": "list_orders"})
AGENT = {"client_id": "mcp-agent", "client_secret": AGENT_SECRET}


@pytest.fixture
async def unlisted(authority: Authority, tmp_path: Path) -> AsyncIterator[Running]:
    """An MCP server that no client may call for itself; for one test, since others start theirs at the same port."""
    async with running_mcp(tmp_path, authority.issuer, authority.resource, service_clients="") as running:
        yield running


async def granted(http: httpx.AsyncClient, authority: Authority, **form: str) -> dict[str, Any]:
    answer = await http.post(f"{authority.issuer}/protocol/openid-connect/token", data=form)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_persons_token_is_served_fresh_and_refreshed(authority: Authority, unlisted: Running) -> None:
    await _served_fresh_and_refreshed(authority, unlisted, "mcp-public", "mcp:read")


async def test_so_is_one_of_a_client_that_an_operator_allows_offline_access(keycloak: Keycloak, tmp_path: Path) -> None:
    desk = {"clientId": "desk", "publicClient": True, "redirectUris": [REDIRECT], "fullScopeAllowed": False}
    scopes = {"defaultClientScopes": ["basic"], "optionalClientScopes": ["mcp:read", "offline_access"]}
    with keycloak.admin() as admin:
        admin.send("POST", "/clients", desk | scopes)
    async with running_mcp(tmp_path, keycloak.issuer, keycloak.resource, service_clients="") as mcp:
        await _served_fresh_and_refreshed(keycloak, mcp, "desk", "mcp:read offline_access")


async def _served_fresh_and_refreshed(authority: Authority, mcp: Running, client_id: str, scope: str) -> None:
    first = await token(authority, "alice", scope, client_id=client_id)
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": first["refresh_token"]}
        second = await granted(http, authority, **form)
    for one in (first, second):
        assert (await mcp.post(LIST, one["access_token"])).status_code == 200


async def test_a_clients_own_token_is_refused_fresh_and_refreshed(authority: Authority, unlisted: Running) -> None:
    """Keycloak gives `mcp-agent` a session and refresh tokens, so its tokens have a `sid`: that alone proves nothing."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        first = await granted(http, authority, grant_type="client_credentials", scope="mcp:read", **AGENT)
        tokens = [first["access_token"]]
        if "refresh_token" in first:
            again = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
            tokens.append((await granted(http, authority, **again, **AGENT))["access_token"])
    assert len(tokens) == (2 if authority.name == "keycloak" else 1)
    for one in tokens:
        assert (await unlisted.post(LIST, one)).status_code == 403
        refused = unlisted.audited()[-1]
        assert (refused["reason"], refused["client"]) == ("no_person", "mcp-agent")  # whom an operator would list


async def test_no_protocol_mapper_makes_a_person_of_a_client(keycloak: Keycloak, tmp_path: Path) -> None:
    mappers = [*(_mapper(claim, attribute) for claim, attribute in WRITTEN.items()), _audience(keycloak.resource)]
    made = {"clientId": "mapped", "secret": "s" * 32, "serviceAccountsEnabled": True, "protocolMappers": mappers}
    with keycloak.admin() as admin:
        admin.send("POST", "/clients", made | {"fullScopeAllowed": False})
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        form = {"client_id": "mapped", "client_secret": "s" * 32}
        access = (await granted(http, keycloak, grant_type="client_credentials", **form))["access_token"]
    assert claims(access).keys() >= WRITTEN.keys()
    async with running_mcp(tmp_path, keycloak.issuer, keycloak.resource, service_clients="") as mcp:
        assert (await mcp.post(LIST, access)).status_code == 403
        assert mcp.audited()[-1]["reason"] == "no_person"


WRITTEN = {"sid": "id", "jti": "id", "preferred_username": "id", "auth_time": "createdTimestamp"}


def _mapper(claim: str, attribute: str) -> dict[str, Any]:
    kind = "long" if claim == "auth_time" else "String"
    config = {"user.attribute": attribute, "claim.name": claim, "jsonType.label": kind, "access.token.claim": "true"}
    name = {"name": claim, "protocol": "openid-connect", "protocolMapper": "oidc-usermodel-property-mapper"}
    return {**name, "config": config}


def _audience(resource: str) -> dict[str, Any]:
    config = {"included.custom.audience": resource, "access.token.claim": "true"}
    name = {"name": "aud", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper"}
    return {**name, "config": config}
