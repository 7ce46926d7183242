"""Authorization extensions are declared in both eras where they are true, and a token so had is served."""

from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from devstack.up import SERVICE_CLIENT
from mcp_server.auth.extensions import CLIENT_CREDENTIALS, ENTERPRISE_MANAGED
from mcp_server.auth.issuer.discovery import Grants
from tests.kit import wire
from tests.kit.authorities import AGENT_SECRET
from tests.kit.stack import Stack, running_stack

ID_JAG = Grants(
    frozenset({"urn:ietf:params:oauth:grant-type:jwt-bearer"}),
    frozenset({"urn:ietf:params:oauth:grant-profile:id-jag"}),
)


async def declared(stack: Stack, token: str) -> list[Any]:
    """What `server/discover` and `initialize` of each legacy revision say of extensions."""
    answers = [await stack.post(wire.modern("server/discover"), token, **wire.headers("server/discover"))]
    for revision in ("2025-11-25", "2025-06-18", "2025-03-26"):
        opening = wire.legacy("initialize", {**wire.INITIALIZE, "protocolVersion": revision})
        answers.append(await stack.post(opening, token))
    return [answer.json()["result"]["capabilities"].get("extensions") for answer in answers]


@pytest.mark.requirement("1.16", "25.25")
async def test_a_client_of_its_own_finds_that_it_may_come_and_may(tmp_path: Path) -> None:
    async with running_stack(tmp_path, service_clients=SERVICE_CLIENT) as stack:
        endpoint = f"{stack.url}/protocol/openid-connect/token"
        form = {"grant_type": "client_credentials", "scope": "mcp:read", "resource": stack.resource}
        async with httpx.AsyncClient(trust_env=False) as http:
            got = await http.post(endpoint, data=form, auth=(SERVICE_CLIENT, AGENT_SECRET))
        token = got.json()["access_token"]
        assert await declared(stack, token) == [{CLIENT_CREDENTIALS: {}}] * 4
        assert stack.watched.wrong == []


async def test_where_none_may_come_so_none_is_told_to(tmp_path: Path) -> None:
    async with running_stack(tmp_path, service_clients="") as stack:
        assert await declared(stack, await stack.token("alice")) == [None] * 4


async def test_what_the_issuer_comes_to_serve_is_declared_from_then_on(tmp_path: Path) -> None:
    async with running_stack(tmp_path, service_clients=SERVICE_CLIENT) as stack:
        token = await stack.token("alice")
        issuer = stack.plugin.authenticator.issuers[stack.url]
        was = issuer.metadata
        assert was
        for grants, wanted in (
            (ID_JAG, {ENTERPRISE_MANAGED: {}}),
            (Grants(), None),
            (was.grants, {CLIENT_CREDENTIALS: {}}),
        ):
            issuer.metadata = msgspec.structs.replace(was, grants=grants)
            assert await declared(stack, token) == [wanted] * 4
