"""Who may call: people, and the clients that are listed; by a JWT and by an opaque token, in both eras."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from mcp_server.auth.refusals import DenialReason
from mcp_server.identity import Principal
from tests.kit import wire
from tests.kit.authorities import AGENT_SECRET
from tests.kit.stack import Stack, free_port, running_mcp, running_stack
from tests.kit.tokens import OUT, Forge

LEGACY = wire.legacy("tools/call", {"name": "list_orders"})
MODERN = wire.modern("tools/call", {"name": "list_orders"})
IN_MODERN = {"mcp_protocol_version": wire.MODERN, "mcp_method": "tools/call", "mcp_name": "list_orders"}
CLIENT = {"name": "c", "version": "1"}
ITSELF = {"azp": "stranger", "jti": "trrtcc:1", "sid": OUT}
WITHOUT_PERSON: dict[str, dict[str, Any]] = {
    "no sid": {"sid": OUT},
    "a client for itself": ITSELF,
    "with refresh tokens, which have a session": ITSELF | {"jti": "onrtcc:1", "sid": "s"},
    "with all that a mapper writes": ITSELF | {"sid": "s", "auth_time": 1, "preferred_username": "alice"},
    "refreshed": ITSELF | {"jti": "onrtrt:1", "sid": "s", "preferred_username": "service-account-stranger"},
    "a listed client's name in another case": ITSELF | {"azp": "MCP-AGENT"},
    "no client at all": {"sid": OUT, "azp": OUT},
}


@pytest.fixture(scope="module")
async def forge(stack: Stack) -> Forge:
    return Forge(stack)


@pytest.mark.parametrize("name", WITHOUT_PERSON)
@pytest.mark.parametrize(("body", "headers"), [(LEGACY, {}), (MODERN, IN_MODERN)], ids=["legacy", "modern"])
async def test_a_token_without_a_person_is_refused_for_good(
    forge: Forge, name: str, body: Any, headers: dict[str, str]
) -> None:
    """403, for a new login would bring the same kind of token; and no scope, for none would help."""
    answer = await forge.stack.post(body, forge.token(**WITHOUT_PERSON[name]), **headers)
    assert answer.status_code == 403
    challenge = answer.headers["www-authenticate"]
    assert 'error="invalid_token"' in challenge
    assert "scope=" not in challenge
    assert not any(word in challenge + answer.text for word in ("sid", "jti", "MCP_SERVICE_CLIENTS", "stranger"))
    assert forge.stack.audited()[-1]["reason"] == "no_person"


async def test_a_listed_client_calls_for_itself_and_the_audit_says_so(forge: Forge) -> None:
    token = forge.token(azp="mcp-agent", jti="trrtcc:1", sid=OUT, sub="account")
    assert (await forge.stack.post(LEGACY, token)).status_code == 200
    line = forge.stack.audited()[-1]
    assert (line["kind"], line["client"], line["subject"]) == ("client", "mcp-agent", "account")
    caller = forge.stack.plugin.authenticator.cached(f"Bearer {token}".encode())
    assert isinstance(caller, Principal)
    assert caller.key == f"{forge.stack.issuer.realm.issuer}\nclient\nmcp-agent"


async def test_a_person_is_another_caller_than_the_client_whose_id_is_her_subject(forge: Forge) -> None:
    agent = forge.token(azp="mcp-agent", jti="trrtcc:1", sid=OUT, sub="mcp-agent")
    person = forge.token(azp="portal", sub="mcp-agent")
    opening = wire.legacy("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT})
    session = (await forge.stack.post(opening, agent)).headers["mcp-session-id"]
    mine = {"mcp_session_id": session, "mcp_protocol_version": "2025-11-25"}
    assert (await forge.stack.post(wire.legacy("ping"), agent, **mine)).status_code == 200
    assert (await forge.stack.post(wire.legacy("ping"), person, **mine)).status_code == 404
    forge.stack.plugin._audit.flush()
    assert "kind" not in json.loads(forge.stack.audit.read_text().splitlines()[-1])


async def test_only_listed_clients_of_the_issuer_itself_call_for_themselves(tmp_path: Path) -> None:
    form = {"grant_type": "client_credentials", "client_id": "mcp-agent", "client_secret": AGENT_SECRET}
    for listed, status in (("mcp-agent", 200), ("other", 403), ("", 403)):
        async with running_stack(tmp_path, service_clients=listed) as stack, httpx.AsyncClient() as http:
            url = f"{stack.issuer.realm.issuer}/protocol/openid-connect/token"
            access = (await http.post(url, data={**form, "scope": "mcp:read"})).json()["access_token"]
            assert (await stack.post(LEGACY, access)).status_code == status
            assert (await stack.post(LEGACY, await stack.token("alice"))).status_code == 200


@pytest.fixture(scope="module")
async def asked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A server that asks about opaque tokens."""
    async with running_stack(tmp_path_factory.mktemp("asked"), client_secret="dev-only-server-secret") as running:
        yield running


@pytest.mark.parametrize(
    ("claims", "status"),
    [({}, 200), (ITSELF, 403), ({"sid": OUT}, 403), ({"sub": OUT}, 401), (ITSELF | {"azp": "mcp-agent"}, 200)],
)
async def test_an_introspected_token_is_judged_by_the_same_rule(
    asked: Stack, claims: dict[str, Any], status: int
) -> None:
    store, forge = asked.issuer.store, Forge(asked)
    opaque = store.put(store.references, forge.token(**claims))
    assert (await asked.post(LEGACY, opaque)).status_code == status


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"sub": "user", "azp": "portal", "sid": OUT}, 200),
        ({"sub": "portal", "azp": "portal"}, 403),
        ({"sub": "portal", "client_id": "portal", "azp": OUT}, 403),
        ({"sub": "user", "azp": OUT}, 403),
        ({"sub": "nightly", "azp": "nightly"}, 200),
        ({"sub": OUT, "azp": "nightly"}, 401),
    ],
)
async def test_an_issuer_may_show_its_people_as_rfc9068_has_it(
    forge: Forge, tmp_path: Path, claims: dict[str, Any], status: int
) -> None:
    url = forge.stack.issuer.realm.issuer
    one = msgspec.json.encode([{"issuer": url, "persons": "rfc9068", "service_clients": ["nightly"]}]).decode()
    token = forge.token(header={"typ": "at+jwt"}, typ=OUT, **claims)
    own = f"http://localhost:{free_port()}/mcp"
    async with running_mcp(tmp_path, one, own, audiences=forge.stack.resource) as other:
        assert (await other.post(LEGACY, token)).status_code == status


async def test_another_issuers_rule_is_its_own(forge: Forge) -> None:
    assert (await forge.stack.post(LEGACY, forge.token(sub="portal", azp="portal"))).status_code == 200


def test_every_reason_has_a_status_that_its_clients_can_end_at() -> None:
    assert {reason.status for reason in DenialReason} == {400, 401, 403, 429, 431, 503}
    assert (DenialReason.NO_PERSON.status, DenialReason.TOKEN_TOO_LARGE.status) == (403, 431)
