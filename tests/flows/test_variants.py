"""Keycloak's experimental features, on and off, on both authorization servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from devstack.login import LoginFailed
from tests.kit import wire
from tests.kit.authorities import AGENT_SECRET, Authority, Embedded, claims, running_keycloak, token
from tests.kit.oauth_client import Asked, document
from tests.kit.stack import free_port, running_mcp

INDICATORS = ("cimd", "resource-indicators")


@asynccontextmanager
async def embedded(features: tuple[str, ...]) -> AsyncIterator[Authority]:
    issuer = Embedded(f"http://localhost:{free_port()}/mcp", features)
    async with issuer.running():
        yield issuer


@pytest.fixture(scope="module", params=["embedded", "keycloak"])
async def with_indicators(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Authority]:
    if request.param == "embedded":
        async with embedded(INDICATORS) as issuer:
            yield issuer
        return
    resource = f"http://localhost:{free_port()}/mcp"
    with running_keycloak(tmp_path_factory.mktemp("variant"), resource, INDICATORS) as keycloak:
        yield keycloak


@pytest.fixture(scope="module", params=["embedded", "keycloak"])
async def plain(request: pytest.FixtureRequest) -> AsyncIterator[Authority]:
    if request.param == "embedded":
        async with embedded(()) as issuer:
            yield issuer
        return
    yield request.getfixturevalue("ordinary")


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        yield client


async def test_the_right_resource_binds_the_token(with_indicators: Authority, http: httpx.AsyncClient) -> None:
    resource = with_indicators.resource
    for sent in ({"resource": resource}, {}):
        answer = await Asked(with_indicators, resource=resource).tokens(http, **sent)
        assert claims(answer.json()["access_token"])["aud"] == resource
    answer = await Asked(with_indicators).tokens(http)
    assert claims(answer.json()["access_token"])["aud"] == resource


@pytest.mark.parametrize("wrong", ["https://other.example/mcp", "{resource}/", "{origin}"])
async def test_a_wrong_resource_gets_no_token(with_indicators: Authority, http: httpx.AsyncClient, wrong: str) -> None:
    resource = with_indicators.resource
    asked = wrong.format(resource=resource, origin=resource.removesuffix("/mcp"))
    answer = await Asked(with_indicators, resource=asked).tokens(http, resource=asked)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")


async def test_a_resource_that_was_not_authorized_gets_no_token(
    with_indicators: Authority, http: httpx.AsyncClient
) -> None:
    answer = await Asked(with_indicators).tokens(http, resource=with_indicators.resource)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")
    back = await Asked(with_indicators, resource=f"{with_indicators.resource}#part").back()
    assert back["error"] == "invalid_target"


async def test_a_service_account_may_name_the_resource(
    with_indicators: Authority, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": "mcp-agent",
        "client_secret": AGENT_SECRET,
        "scope": "mcp:read",
        "resource": with_indicators.resource,
    }
    answer = await http.post(f"{with_indicators.issuer}/protocol/openid-connect/token", data=form)
    access = answer.json()["access_token"]
    async with running_mcp(tmp_path, with_indicators.issuer, with_indicators.resource) as mcp:
        assert (await mcp.post(wire.legacy("tools/call", {"name": "list_orders"}), access)).status_code == 200


async def test_without_documents_the_issuer_says_so_and_fetches_none(
    plain: Authority, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    metadata = (await http.get(f"{plain.issuer}/.well-known/openid-configuration")).json()
    assert not metadata.get("client_id_metadata_document_supported")
    with document() as address, pytest.raises(LoginFailed, match="Client not found"):
        await Asked(plain, client_id=address).back()
    answer = await token(plain, "bob", "mcp:read")
    async with running_mcp(tmp_path, plain.issuer, plain.resource) as mcp:
        assert (await mcp.post(wire.legacy("tools/call", {"name": "list_orders"}), answer["access_token"])).is_success
