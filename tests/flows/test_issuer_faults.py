"""The issuer rotates, goes away, answers slowly, answers wrongly; good calls go on, floods do not reach it."""

import asyncio
import time
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey

from devstack.authserver.faults import Mode
from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.binding.dpop import Proof
from mcp_server.auth.issuer.fetch import Fetcher, IssuerUnavailable
from mcp_server.auth.issuer.issuer import Issuer
from mcp_server.auth.issuer.keys import NO_KEYS
from mcp_server.auth.refusals import AccessDenied, DenialReason
from mcp_server.auth.tokens.bearer import Credentials
from mcp_server.identity import Principal
from tests.kit import wire
from tests.kit.documents import published
from tests.kit.stack import Stack, running_stack, until, until_ready
from tests.kit.tokens import Forge

CALL = wire.legacy("tools/call", {"name": "list_orders"})


def issuer_of(stack: Stack) -> Issuer:
    return stack.plugin.authenticator.issuers[stack.issuer.realm.issuer]


async def ready(stack: Stack) -> dict[str, object]:
    body: dict[str, object] = (await stack.http.get(stack.resource.replace("/mcp", "/readyz"))).json()
    return body


async def test_rotated_keys_are_picked_up_without_a_failed_call(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        before = await stack.token("alice")
        stack.issuer.keyring.rotate()
        after = await stack.token("alice")
        answers = await asyncio.gather(*(stack.post(CALL, one) for one in [before, after] * 20))
        assert {answer.status_code for answer in answers} == {200}
        stack.issuer.keyring.rotate()  # again, within the same cooldown
        assert (await stack.post(CALL, await stack.token("alice"))).status_code == 200


async def test_a_token_whose_key_was_removed_is_forgotten_with_it(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        old = await stack.token("alice")
        assert (await stack.post(CALL, old)).status_code == 200
        stack.issuer.keyring.rotate(drop_old=True)
        assert (await stack.post(CALL, old)).status_code == 200  # known until the set is fetched anew
        assert (await stack.post(CALL, await stack.token("alice"))).status_code == 200
        assert (await stack.post(CALL, old)).status_code == 401


async def test_a_token_ends_with_its_key_though_another_takes_the_kid(tmp_path: Path) -> None:
    """A key that was stolen and replaced under its old kid is believed no longer, seen before or not."""
    async with running_stack(tmp_path) as stack:
        seen, unseen = await stack.token("alice"), await stack.token("alice")
        assert (await stack.post(CALL, seen)).status_code == 200
        ring = stack.issuer.keyring
        stolen = ring.signing("RS256")
        new = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": str(stolen.kid)})
        ring.keys = [new if key is stolen else key for key in ring.keys]
        assert await issuer_of(stack).refresh()
        for token, status in ((seen, 401), (unseen, 401), (await stack.token("alice"), 200)):
            assert (await stack.post(CALL, token)).status_code == status


async def test_a_cached_token_is_believed_no_longer_than_its_key(tmp_path: Path) -> None:
    """However far its `exp` is, and though the wall clock is set back: what nobody could judge any more is gone."""
    now = [0.0]
    async with running_stack(tmp_path, jwks_ttl_s="600", jwks_stale_s="600") as stack, Fetcher() as fetcher:
        forge = Forge(stack)
        authenticator = Authenticator(
            stack.plugin.authenticator._config,
            fetcher=fetcher,
            clock=lambda: time.time() - 5,
            monotonic=lambda: now[0],
        )
        token = forge.token(exp=time.time() + 86400).encode()
        proof = Proof(None, "POST", stack.resource)
        assert isinstance(await authenticator.authenticate(Credentials(token), proof), Principal)
        now[0] += 599
        assert isinstance(authenticator.cached(b"Bearer " + token), Principal)
        now[0] += 2
        assert not isinstance(authenticator.cached(b"Bearer " + token), Principal)
        stack.issuer.faults.mode = "down"
        outcome = await authenticator.authenticate(Credentials(token), proof)
        assert isinstance(outcome, AccessDenied)
        assert outcome.reason is DenialReason.ISSUER_AWAY


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity"])
async def test_a_document_is_read_as_it_comes_and_never_unpacked(coding: str) -> None:
    """400 MB fit into 400 KB of gzip: the bound is on what is kept, so nothing may grow before it is seen."""
    asked: list[str] = []
    with published(
        lambda _: b'{"a": 1}', coding=coding, heard=lambda headers: asked.append(headers["accept-encoding"])
    ) as url:
        async with Fetcher() as fetcher:
            if coding == "identity":
                assert await fetcher.get_json(url) == {"a": 1}
            else:
                with pytest.raises(IssuerUnavailable, match="encoded"):
                    await fetcher.get_json(url)
    assert asked == ["identity"]


async def test_a_hanging_issuer_delays_nobody_whose_key_is_known(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        known, forge = await stack.token("alice"), Forge(stack)
        stack.issuer.faults.mode = "slow"
        stranger = asyncio.create_task(stack.post(CALL, forge.token(header={"kid": "new"})))
        fresh = [forge.token(jti=str(number)) for number in range(20)]
        answers = await asyncio.gather(*(stack.post(CALL, one) for one in [known, *fresh]))
        assert {answer.status_code for answer in answers} == {200}
        assert not stranger.done()
        stranger.cancel()
        stack.issuer.faults.mode = "none"


async def test_the_issuer_gone_past_the_ttl_does_not_stop_known_keys(tmp_path: Path) -> None:
    async with running_stack(tmp_path, jwks_ttl_s="0.2", jwks_stale_s="3600") as stack:
        token = await stack.token("alice")
        stack.issuer.faults.mode = "down"

        async def degraded() -> bool:
            assert (await stack.post(CALL, token)).status_code == 200
            return (await ready(stack))["status"] == "degraded"

        await until(degraded)
        assert (await stack.post(CALL, Forge(stack).token(jti="other"))).status_code == 200


async def test_keys_are_not_used_past_the_stated_bound(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        forge = Forge(stack)
        stack.issuer.faults.mode = "error"
        issuer_of(stack)._keys = NO_KEYS  # as if the bound had passed
        answer = await stack.post(CALL, forge.token())
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize(
    ("fault", "problem"),
    [("garbage", "unusable documents"), ("wrong_issuer", "unusable documents"), ("down", "unreachable")],
)
async def test_a_start_without_a_usable_issuer_answers_503_and_recovers(
    tmp_path: Path, fault: Mode, problem: str
) -> None:
    async with running_stack(tmp_path, ready=False) as stack:
        issuer = issuer_of(stack)
        await issuer.refresh()  # what is under way at the start ends before the fault begins
        stack.issuer.faults.mode = fault
        issuer._keys, issuer.metadata = NO_KEYS, None
        await issuer.refresh()
        found = await ready(stack)
        assert (found["status"], found["issuers"]) == ("down", [{"state": "down", "problem": problem}])
        answer = await stack.post(CALL, Forge(stack).token())
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        stack.issuer.faults.mode = "none"
        assert await issuer.refresh()
        await until_ready(stack.http, stack.resource.removesuffix("/mcp"))
        assert (await stack.post(CALL, Forge(stack).token())).status_code == 200


async def test_a_newer_token_that_cannot_be_judged_in_the_cooldown_is_no_401(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        forge = Forge(stack)
        past = int(time.time()) - 60
        for number in range(2):
            assert (
                await stack.post(CALL, forge.token(header={"kid": f"k{number}"}, key=forge.foreign, iat=past))
            ).status_code == 401
        stack.issuer.faults.clock_ahead_s = 5
        stack.issuer.keyring.rotate()
        assert (await stack.post(CALL, await stack.token("alice"))).status_code == 503


async def test_a_key_set_without_usable_keys_is_reported(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        stack.issuer.keyring.keys = []
        assert not await issuer_of(stack).refresh()
        assert (await ready(stack))["issuers"] == [{"state": "degraded", "problem": "unusable documents"}]


@pytest.mark.parametrize(("pause", "size", "why"), [(True, 10, "no whole answer"), (False, 300_000, "over")])
@pytest.mark.requirement("27.3")
async def test_an_endless_answer_is_cut_off(pause: bool, size: int, why: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + b"x" * size)
        if pause:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Fetcher(total_s=0.3 if pause else 5) as fetcher:
        with pytest.raises(IssuerUnavailable, match=why):
            await fetcher.get_json(f"http://127.0.0.1:{port}/")
    server.close()


@pytest.mark.requirement("25.18")
async def test_opaque_tokens_are_introspected_and_a_revoked_one_is_not_served(tmp_path: Path) -> None:
    async with running_stack(tmp_path, client_secret="dev-only-server-secret") as stack:
        first = await stack.post(CALL, "b3BhcXVlLXRva2Vu")
        assert first.status_code == 401
        assert 'error="invalid_token"' in first.headers["www-authenticate"]
        found = (await stack.http.get(stack.resource.replace("/mcp", "/.well-known/oauth-protected-resource"))).json()
        assert found["token_introspection_endpoint"].endswith("/token/introspect")
        assert found["resource"] == stack.resource
