"""What a call needs beyond a login: a scope of its arguments, a recent login, a second factor; on both issuers.

The same client goes all the way: it is challenged, asks for what the challenge names, and gets its result.
"""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from devstack.login import browser
from devstack.realm.client_scopes import PARAMETERS
from devstack.realm.scopes import decoded
from mcp_server import McpServer, Scope
from tests.kit import refunds, wire
from tests.kit.authorities import Authority, Embedded, claims
from tests.kit.oauth_client import Asked, register
from tests.kit.stack import Running, free_port, running_mcp, until

GUIDE = Path(__file__).parents[2] / "docs" / "author.md"
shop = McpServer("shop", scopes=tuple(Scope(one.name, one.consent, roles=one.roles) for one in refunds.SCOPES))


@shop.tool(scopes={"orders:read"})
async def look(order_id: int) -> str:
    """Look at an order."""
    return f"order {order_id}"


@shop.tool(scopes={"orders:refund:{order_id}"})
async def refund(order_id: int) -> str:
    """Refund an order."""
    return f"refunded {order_id}"


@shop.tool(scopes={"orders:read"}, fresh=2)
async def confirm(order_id: int) -> str:
    """Confirm an order, by who has just logged in."""
    return f"confirmed {order_id}"


@shop.tool(scopes={"orders:read"}, acr="2")
async def close(order_id: int) -> str:
    """Close an order, by who has shown a second factor."""
    return f"closed {order_id}"


class Client:
    """One that does what challenges say, with the person's answers."""

    def __init__(self, authority: Authority, mcp: Running, screen: httpx.Client) -> None:
        self.authority, self.mcp, self.screen = authority, mcp, screen
        self.token, self.registered = "", {"client_id": "mcp-public"}

    async def register(self) -> None:
        """Be one for which a session is enough."""
        made = (await register(self.mcp.http, self.authority)).json()
        self.registered = {"client_id": made["client_id"], "redirect_uri": made["redirect_uris"][0]}

    async def call(self, tool: str, order_id: int, **more: Any) -> httpx.Response:
        message = wire.legacy("tools/call", {"name": tool, "arguments": {"order_id": order_id, **more}})
        return await self.mcp.post(message, self.token or None)

    async def log_in(self, **asked: str) -> set[str]:
        """The scopes of the new token."""
        request = Asked(self.authority, **self.registered, **asked)
        request.screen = self.screen
        tokens = (await request.tokens(self.mcp.http)).json()
        self.token = tokens["access_token"]
        return set(claims(self.token)["scope"].split())

    async def obey(self, refused: httpx.Response) -> set[str]:
        """Log in as the challenge says."""
        named = challenged(refused)
        more = {name: named[name] for name in ("acr_values", "max_age") if name in named}
        return await self.log_in(scope=f"openid {named['scope']}", **more)


def challenged(answer: httpx.Response) -> dict[str, str]:
    """The fields of a challenge."""
    return dict(re.findall(r'(\w+)="([^"]*)"', answer.headers["www-authenticate"]))


def text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, (answer.status_code, answer.text, answer.headers.get("www-authenticate"))
    return str(answer.json()["result"]["content"][0]["text"])


CASES = ("embedded-on", "embedded-off", "keycloak-on", "keycloak-off")


@pytest.fixture(params=CASES)
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of each issuer, with its scopes with a parameter on or off."""
    name, _, parameters = request.param.partition("-")
    features = (PARAMETERS,) if parameters == "on" else ()
    async with AsyncExitStack() as opened:
        if name == "keycloak":
            found: Authority = request.getfixturevalue("ordinary" if features else "keycloak").of_refunds()
        else:
            file = refunds.realm_file(tmp_path, features)
            found = embedded = Embedded(f"http://localhost:{free_port()}/mcp", features, file)
            await opened.enter_async_context(embedded.running())
        settings = {"parameterized_scopes": str(bool(features)), "leeway_s": "0"}
        running = running_mcp(tmp_path, found.issuer, found.resource, shop, ready=True, **settings)
        mcp = await opened.enter_async_context(running)
        yield Client(found, mcp, opened.enter_context(browser()))


async def test_a_person_allows_what_a_call_needs_and_no_more(client: Client, request: pytest.FixtureRequest) -> None:
    on = "-on" in request.node.callspec.id
    await client.log_in(scope="openid orders:read")
    assert text(await client.call("look", 42)) == "order 42"

    refused = await client.call("refund", 42)
    needed = "orders:refund:42" if on else "orders:refund"
    assert (refused.status_code, challenged(refused)["error"]) == (403, "insufficient_scope")
    assert set(challenged(refused)["scope"].split()) == {"orders:read", needed}
    assert await client.obey(refused) >= {"orders:read", needed}
    assert text(await client.call("refund", 42)) == "refunded 42"

    other = await client.call("refund", 43)
    if not on:
        assert text(other) == "refunded 43"
        return
    assert other.status_code == 403
    assert "orders:refund:43" in challenged(other)["scope"].split()
    assert (await client.call("refund", 4)).status_code == 403
    await client.obey(other)
    assert text(await client.call("refund", 43)) == "refunded 43"


@pytest.mark.parametrize("on", [True, False])
async def test_the_guides_examples_end_where_their_challenges_lead(tmp_path: Path, on: bool) -> None:
    """As they are pasted: what only a function or a handler names is in the realm, and the same client gets it."""
    space: dict[str, Any] = {"__name__": "guide"}
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        exec(block, space)
    told = decoded(msgspec.json.encode({"scopes": space["server"].described_scopes()}))
    features = (PARAMETERS,) if on else ()
    file = refunds.realm_file(tmp_path, features, told.scopes)
    issuer = Embedded(f"http://localhost:{free_port()}/mcp", features, file)
    settings = {"parameterized_scopes": str(on), "default_scopes": "mcp:write"}
    running = running_mcp(tmp_path, issuer.issuer, issuer.resource, space["server"], ready=True, **settings)
    async with issuer.running(), running as mcp:
        with browser() as screen:
            client = Client(issuer, mcp, screen)
            first = challenged(await client.call("cancel", 1))["scope"]
            assert await client.log_in(scope=f"openid {first}")  # raises for one that the issuer does not know
            await client.log_in(scope="openid mcp:write")
            for tool, order_id, more, needed in (
                ("discount", 42, {"percent": 30}, "orders:discount:42" if on else "orders:discount"),
                ("cancel", 1001, {}, "orders:recall"),
                ("refund", 7, {}, "orders:refund:7" if on else "orders:refund"),
            ):
                refused = await client.call(tool, order_id, **more)
                assert (refused.status_code, challenged(refused)["error"]) == (403, "insufficient_scope")
                assert needed in challenged(refused)["scope"].split()
                assert needed in await client.obey(refused)
                assert str(order_id) in text(await client.call(tool, order_id, **more))
            if on:
                assert (await client.call("discount", 43, percent=30)).status_code == 403


@pytest.mark.parametrize("client", ["embedded-off", "keycloak-off"], indirect=True)
async def test_a_login_is_asked_for_anew_as_the_challenge_says(client: Client) -> None:
    await client.register()
    await client.log_in(scope="openid orders:read")
    began = claims(client.token)["auth_time"]
    assert text(await client.call("look", 1)) == "order 1"

    refused = await client.call("close", 1)
    said = challenged(refused)
    assert (refused.status_code, said["error"]) == (401, "insufficient_user_authentication")
    assert (said["acr_values"], "max_age" in said, "orders:read" in said["scope"]) == ("2", False, True)
    await client.obey(refused)
    assert claims(client.token)["acr"] == "2"
    assert text(await client.call("close", 1)) == "closed 1"

    async def has_grown_old() -> bool:
        nonlocal refused
        refused = await client.call("confirm", 1)
        return refused.status_code != 200

    await until(has_grown_old)
    assert (refused.status_code, challenged(refused)["max_age"]) == (401, "2")
    before = claims(client.token)["auth_time"]
    assert before >= began
    await client.log_in(scope="openid orders:read")  # who passes nothing on comes back with the same login
    assert claims(client.token)["auth_time"] == before
    assert (await client.call("confirm", 1)).status_code == 401

    async def is_let_in() -> bool:
        """On a busy machine two seconds are over before the call comes."""
        nonlocal refused
        await client.obey(refused)
        refused = await client.call("confirm", 1)
        return refused.status_code == 200

    await until(is_let_in)
    assert claims(client.token)["auth_time"] > before
    assert text(refused) == "confirmed 1"
