"""The official client, given only a URL: discovery, registration, PKCE, login, consent, result."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata
from pydantic import AnyUrl

from tests.kit.authorities import Authority
from tests.kit.official import REDIRECT, Memory, Person
from tests.kit.stack import Running, running_mcp


@pytest.fixture
async def stack(authority: Authority, tmp_path: Path) -> AsyncIterator[Running]:
    async with running_mcp(tmp_path, authority.issuer, authority.resource) as running:
        yield running


def metadata(scope: str | None = None) -> OAuthClientMetadata:
    return OAuthClientMetadata(redirect_uris=[AnyUrl(REDIRECT)], client_name="A client", scope=scope)


async def call(
    stack: Running, person: Person, memory: Memory, tool: str, arguments: dict[str, Any], mode: Any = "auto"
) -> Any:
    """Connect as a real client would and call one tool."""
    provider = OAuthClientProvider(stack.resource, metadata(), memory, person.open, person.come_back)
    async with httpx2.AsyncClient(auth=provider, trust_env=False) as http:
        async with Client(streamable_http_client(stack.resource, http_client=http), mode=mode) as client:
            return await client.call_tool(tool, arguments)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.requirement("25.1", "25.4", "25.7", "25.27")
async def test_bob_finds_the_login_and_writes(stack: Running, mode: str) -> None:
    person, memory = Person("bob"), Memory()
    result = await call(stack, person, memory, "create_order", {"item": "cup", "quantity": 3}, mode)
    assert result.structured_content["created_by"] == "bob"
    assert person.logins == 1
    assert memory.client and memory.client.client_id != "mcp-public"
    assert memory.tokens and set((memory.tokens.scope or "").split()) >= {"mcp:read", "mcp:write"}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_alice_reads_and_is_stopped_at_the_tool_that_writes(stack: Running, mode: str) -> None:
    memory = Memory()
    result = await call(stack, Person("alice"), memory, "list_orders", {}, mode)
    assert not result.is_error
    with pytest.raises(BaseException) as stopped:
        await call(stack, Person("alice"), memory, "create_order", {"item": "cup", "quantity": 3}, mode)
    assert "403" in repr(stopped.value) or "scope" in repr(stopped.value).lower()


async def test_a_narrower_first_challenge_steps_up_for_the_registered_client(
    authority: Authority, tmp_path: Path
) -> None:
    async with running_mcp(tmp_path, authority.issuer, authority.resource, challenge_scopes="mcp:read") as stack:
        known = OAuthClientInformationFull(
            client_id="mcp-public",
            redirect_uris=[AnyUrl("http://127.0.0.1/callback")],
            token_endpoint_auth_method="none",
        )
        person, memory = Person("bob"), Memory(known)
        await call(stack, person, memory, "list_orders", {})
        assert memory.tokens and "mcp:write" not in (memory.tokens.scope or "").split()
        result = await call(stack, person, memory, "create_order", {"item": "pot", "quantity": 1})
        assert result.structured_content["item"] == "pot"
        assert person.logins == 2
        assert "mcp:write" in (memory.tokens.scope or "").split()


async def test_an_expired_token_is_refreshed_and_rotated_unseen(stack: Running) -> None:
    person, memory = Person("bob"), Memory()
    provider = OAuthClientProvider(stack.resource, metadata(), memory, person.open, person.come_back)
    async with httpx2.AsyncClient(auth=provider, trust_env=False) as http:
        async with Client(streamable_http_client(stack.resource, http_client=http)) as client:
            seen = set()
            for _ in range(3):
                assert not (await client.call_tool("list_orders", {})).is_error
                assert memory.tokens
                seen.add((memory.tokens.access_token, memory.tokens.refresh_token))
                provider.context.token_expiry_time = 1.0  # as if its life were over
    assert len(seen) == 3
    assert person.logins == 1
