"""A login that ends at the authorization server ends here: the token, its stream, its session and its task."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_server import McpServer
from mcp_server.protocol.types.tasks import EXTENSION
from tests.kit import wire
from tests.kit.authorities import Authority, Embedded, Keycloak, claims, token
from tests.kit.stack import Running, running_mcp

ENDED = "The session has ended; sign in again"
CAN: dict[str, Any] = {f"{wire.PREFIX}clientCapabilities": {"extensions": {EXTENSION: {}}}}
LIST = wire.modern("tools/list")


def made() -> McpServer:
    server = McpServer("logouts")

    @server.tool(task="allowed")
    async def work() -> str:
        """Work for ever."""
        await asyncio.Event().wait()
        raise AssertionError

    return server


@pytest.fixture(scope="module")
async def mcp(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder = Path(tmp_path_factory.mktemp("logouts"))
    async with running_mcp(folder, authority.issuer, authority.resource, made()) as running:
        yield running


async def ask(mcp: Running, access: str, method: str, called: str, **params: Any) -> httpx.Response:
    message = wire.modern(method, params)
    message["params"]["_meta"] |= CAN
    return await mcp.post(message, access, **wire.headers(method, called))


async def end(authority: Authority, answer: dict[str, Any], how: str) -> None:
    """End the login of a token answer: as its person, in a client or in a window, or as the administrator."""
    form = {"client_id": "mcp-public", "refresh_token": answer["refresh_token"]}
    url = f"{authority.issuer}/protocol/openid-connect/logout"
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        match how:
            case "client":
                assert (await http.post(url, data=form)).status_code == 204
            case "window":
                assert (await http.get(url, params={"id_token_hint": answer["id_token"]})).status_code == 200
            case "administrator":
                await asyncio.to_thread(_as_administrator, authority, answer)


def _as_administrator(authority: Authority, answer: dict[str, Any]) -> None:
    if isinstance(authority, Keycloak):
        with authority.admin() as admin:
            admin.send("POST", f"/users/{claims(answer['access_token'])['sub']}/logout", {})
        return
    assert isinstance(authority, Embedded)
    told = httpx.post(f"http://localhost:{authority.port}/_dev/logout", json={"user": "alice"}, trust_env=False)
    assert told.status_code == 200


@pytest.mark.parametrize("how", ["client", "window", "administrator"])
async def test_a_logout_ends_all_that_the_login_began(authority: Authority, mcp: Running, how: str) -> None:
    first, other = await token(authority, "alice", "mcp:read"), await token(authority, "bob", "mcp:read")
    access = first["access_token"]
    opened = await mcp.post(wire.legacy("initialize", wire.INITIALIZE), access)
    session = {"mcp_session_id": opened.headers["mcp-session-id"], "mcp_protocol_version": "2025-11-25"}
    task = (await ask(mcp, access, "tools/call", "work", name="work", arguments={})).json()["result"]["taskId"]
    listening = wire.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    async with AsyncExitStack() as streams:
        asked = mcp.open(listening, access, **wire.headers("subscriptions/listen"))
        _, events = await streams.enter_async_context(asked)
        _, legacy = await streams.enter_async_context(mcp.open(None, access, **session))
        assert "acknowledged" in (await anext(events))["data"]
        assert await anext(legacy) == {"": "open"}
        await end(authority, first, how)
        last = [event async for event in events if "data" in event]
        assert [json.loads(one["data"])["result"]["resultType"] for one in last] == ["complete"]
        assert [event async for event in legacy if "data" in event] == []
    refused = await mcp.post(LIST, access, **wire.headers("tools/list"))
    assert (refused.status_code, ENDED in refused.headers["www-authenticate"]) == (401, True)
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    again = (await token(authority, "alice", "mcp:read"))["access_token"]
    assert (await mcp.post(LIST, again, **wire.headers("tools/list"))).status_code == 200
    assert (await mcp.post(wire.legacy("ping"), again, **session)).status_code == 404
    found = (await ask(mcp, again, "tasks/get", task, taskId=task)).json()["result"]
    assert (found["status"], found["error"]["message"][:23]) == ("failed", "The authorization ended")
    assert (await mcp.post(LIST, other["access_token"], **wire.headers("tools/list"))).status_code == 200
    lines = [one for one in mcp.audited() if one["method"] == "backchannel-logout"]
    said = claims(access)
    assert [(one["decision"], one["reason"], one["client"]) for one in lines][-1:] == [
        ("allow", "logged_out", "mcp-public")
    ]
    assert (lines[-1]["issuer"], lines[-1]["subject"]) == (authority.issuer, said["sub"])


async def test_another_login_of_the_same_person_goes_on(authority: Authority, mcp: Running) -> None:
    first, second = await token(authority, "alice", "mcp:read"), await token(authority, "alice", "mcp:read")
    await end(authority, first, "client")
    statuses = [
        (await mcp.post(LIST, one["access_token"], **wire.headers("tools/list"))).status_code for one in (first, second)
    ]
    assert statuses == [401, 200]


@pytest.mark.parametrize("authority", ["keycloak"], indirect=True)
async def test_what_keycloak_pushes_ends_a_clients_tokens_and_everybodys(authority: Keycloak, mcp: Running) -> None:
    """A client that is disabled tells nobody (seen); its not-before, pushed, does; so does a logout of all."""
    not_before = 0
    for which in ("client", "realm", "all"):
        access = await _issued_since(authority, not_before)
        assert (await mcp.post(LIST, access, **wire.headers("tools/list"))).status_code == 200
        not_before = claims(access)["iat"] + 1
        await asyncio.to_thread(_push, authority, which, not_before)
        refused = await mcp.post(LIST, access, **wire.headers("tools/list"))
        assert (refused.status_code, ENDED in refused.headers["www-authenticate"]) == (401, True), which


async def _issued_since(authority: Keycloak, not_before: int) -> str:
    """An access token of the first second that the last push lets through: a fast machine is back before that."""
    while True:
        access = str((await token(authority, "alice", "mcp:read"))["access_token"])
        if claims(access)["iat"] >= not_before:
            return access


def _push(keycloak: Keycloak, which: str, not_before: int) -> None:
    with keycloak.admin() as admin:
        if which == "client":
            (client,) = admin.listed("/clients", clientId="mcp-public")
            admin.send("PUT", f"/clients/{client['id']}", {**client, "enabled": False, "notBefore": not_before})
            pushed = admin.send("POST", f"/clients/{client['id']}/push-revocation", {}).json()
            admin.send("PUT", f"/clients/{client['id']}", {**client, "notBefore": 0})
        elif which == "realm":
            admin.send("PUT", "", {"notBefore": not_before})
            pushed = admin.send("POST", "/push-revocation", {}).json()
            admin.send("PUT", "", {"notBefore": 0})
        else:
            pushed = admin.send("POST", "/logout-all", {}).json()
            admin.send("PUT", "", {"notBefore": 0})
    assert pushed.get("successRequests"), pushed
