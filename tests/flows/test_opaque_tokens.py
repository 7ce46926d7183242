"""Opaque tokens are asked about at the issuer (RFC 7662), within bounds."""

import asyncio
from pathlib import Path

import pytest

from mcp_server.auth.authenticator import MAX_INTROSPECTIONS
from tests.kit import wire
from tests.kit.stack import Stack, running_stack

CALL = wire.legacy("tools/call", {"name": "list_orders"})
SECRET = "dev-only-server-secret"


@pytest.mark.requirement("25.18")
async def test_an_active_opaque_token_is_served_and_asked_about_once(tmp_path: Path) -> None:
    async with running_stack(tmp_path, client_secret=SECRET) as stack:
        store = stack.issuer.store
        opaque = store.put(store.references, await stack.token("alice"))
        for _ in range(3):
            assert (await stack.post(CALL, opaque)).status_code == 200
        stack.issuer.server = None  # type: ignore[assignment]  # nobody may ask the issuer any more
        assert (await stack.post(CALL, opaque)).status_code == 200  # believed for a bounded time


async def test_a_revoked_opaque_token_is_refused_and_remembered(tmp_path: Path) -> None:
    async with running_stack(tmp_path, client_secret=SECRET) as stack:
        store = stack.issuer.store
        opaque = store.put(store.references, token := await stack.token("alice"))
        claims = stack.issuer.mint.read_access(token)
        assert claims
        store.revoke(claims["jti"])
        for _ in range(2):
            answer = await stack.post(CALL, opaque)
            assert answer.status_code == 401
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert len(stack.plugin.authenticator._inactive) == 1


async def test_a_flood_of_opaque_tokens_meets_a_bound(tmp_path: Path) -> None:
    async with running_stack(tmp_path, client_secret=SECRET) as stack:
        asked = (stack.post(CALL, f"opaque{number:04}") for number in range(MAX_INTROSPECTIONS * 4))
        answers = await asyncio.gather(*asked)
        assert {answer.status_code for answer in answers} <= {401, 503}


async def test_opaque_tokens_wait_for_an_issuer_that_is_away(tmp_path: Path) -> None:
    async with running_stack(tmp_path, client_secret=SECRET) as stack:
        issuer = stack.plugin.authenticator.issuers[stack.issuer.realm.issuer]
        issuer.metadata = None
        stack.issuer.faults.mode = "down"
        assert (await stack.post(CALL, "opaque")).status_code == 503
        assert (await stack.post(CALL, "opaque")).status_code == 503
        assert (await stack.post(CALL, "opaque")).status_code == 503
        stack.issuer.faults.mode = "none"
        assert await issuer.refresh()
        assert issuer.metadata
        broken = issuer.metadata.__class__(issuer.metadata.issuer, issuer.metadata.jwks_uri, "http://localhost:1/none")
        issuer.metadata = broken
        assert (await stack.post(CALL, "opaque")).status_code == 503
        issuer.metadata = issuer.metadata.__class__(broken.issuer, broken.jwks_uri)
        assert (await stack.post(CALL, "opaque")).status_code == 401


async def test_opaque_tokens_are_refused_without_a_secret(stack: Stack) -> None:
    assert (await stack.post(CALL, "opaque")).status_code == 401
