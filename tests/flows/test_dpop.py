"""A token bound by DPoP is served with its proof and refused without (RFC 9449)."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from joserfc.jwk import ECKey

from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.binding.replay_cache import ReplayCache
from mcp_server.auth.refusals import AccessDenied, DenialReason
from mcp_server.auth.tokens.bearer import Credentials
from mcp_server.identity import Principal
from mcp_server.limits.rate import RateLimiter
from mcp_server.store.redis import RedisBackend
from tests.kit import proofs, wire
from tests.kit.issuers import RESOURCE, Paper
from tests.kit.proofs import KEY
from tests.kit.served import running_redis
from tests.kit.stack import Stack, free_port
from tests.kit.tokens import Forge

CALL = wire.legacy("tools/call", {"name": "list_orders"})


@pytest.fixture(scope="module")
async def forge(stack: Stack) -> Forge:
    return Forge(stack)


def bound(forge: Forge) -> str:
    return forge.token(cnf={"jkt": KEY.thumbprint()}, typ="DPoP")


def proof(forge: Forge, token: str, header: dict[str, Any] | None = None, key: ECKey = KEY, **claims: Any) -> str:
    return proofs.made(token, header, key, **{"htu": forge.stack.resource, **claims})


async def send(forge: Forge, token: str, sent: str | None, scheme: str = "DPoP") -> Any:
    more = {} if sent is None else {"dpop": sent}
    return await forge.stack.post(CALL, authorization=f"{scheme} {token}", **more)


@pytest.mark.requirement("25.24")
async def test_a_bound_token_with_its_proof_is_served_and_the_proof_only_once(forge: Forge) -> None:
    token = bound(forge)
    once = proof(forge, token)
    assert (await send(forge, token, once)).status_code == 200
    again = await send(forge, token, once)
    assert again.status_code == 401
    assert again.headers["www-authenticate"].startswith('DPoP error="invalid_dpop_proof"')
    assert (
        await send(forge, token, proof(forge, token, htu=forge.stack.resource.replace("http", "HTTP", 1) + "?q=1"))
    ).status_code == 200


@pytest.mark.requirement("25.24")
async def test_a_bound_token_as_bearer_and_an_unbound_one_as_dpop_are_refused(forge: Forge) -> None:
    token = bound(forge)
    assert (await send(forge, token, proof(forge, token), "Bearer")).status_code == 401
    assert (await send(forge, forge.token(), None, "DPoP")).status_code == 401


async def test_a_bad_proof_is_challenged_as_one(forge: Forge) -> None:
    """Which proofs are bad is for `tests/unit/auth/binding`."""
    token = bound(forge)
    for sent in (None, proof(forge, token, htm="GET")):
        answer = await send(forge, token, sent)
        assert answer.status_code == 401
        assert 'error="invalid_dpop_proof"' in answer.headers["www-authenticate"]


async def test_two_proofs_are_none(forge: Forge) -> None:
    token = bound(forge)
    sent = [("authorization", f"DPoP {token}"), *(("dpop", proof(forge, token)) for _ in range(2))]
    answer = await forge.stack.http.post(forge.stack.resource, json=CALL, headers=sent)
    assert answer.status_code == 401


async def test_a_flood_of_proofs_is_429_and_no_reason_to_log_in_again(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forge.stack.plugin.authenticator, "_replays", ReplayCache(max_remembered=1))
    token = bound(forge)
    assert (await send(forge, token, proof(forge, token))).status_code == 200
    answer = await send(forge, token, proof(forge, token))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert "www-authenticate" not in answer.headers
    keys = [ECKey.generate_key("P-256") for _ in range(2)]
    for key in keys:  # one person under many keys is one holder
        other = forge.token(cnf={"jkt": key.thumbprint()}, typ="DPoP")
        sent = proof(forge, other, {"jwk": key.as_dict(private=False)}, key)
        assert (await send(forge, other, sent)).status_code == 429


@pytest.mark.parametrize("modern", [False, True])
async def test_a_call_that_a_limit_refuses_takes_no_proofs_place(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, modern: bool
) -> None:
    """Nor is a replay counted against whose token it is."""
    plugin, now = forge.stack.plugin, [0.0]
    replays = ReplayCache()
    monkeypatch.setattr(plugin.authenticator, "_replays", replays)
    pipeline = plugin._services.pipeline
    rate = RateLimiter(1, lambda: now[0])
    monkeypatch.setattr(pipeline, "_limits", msgspec.structs.replace(pipeline._limits, rate=rate))
    token = bound(forge)
    message = wire.modern("tools/call", {"name": "list_orders"}) if modern else CALL
    more = wire.headers("tools/call", "list_orders") if modern else {}

    async def call(sent: str) -> int:
        answer = await forge.stack.post(message, authorization=f"DPoP {token}", dpop=sent, **more)
        return int(answer.status_code)

    first = proof(forge, token)
    assert await call(first) == 200
    while await call(refused := proof(forge, token)) == 200:
        pass
    taken = len(replays)
    assert [await call(proof(forge, token)) for _ in range(5)] == [429] * 5
    assert len(replays) == taken
    behind = rate.behind(next(iter(replays._held)))
    assert [await call(first) for _ in range(5)] == [401] * 5
    assert rate.behind(next(iter(replays._held))) == behind
    now[0] += 10
    assert [await call(refused), await call(refused)] == [200, 401]


async def test_a_proof_is_good_once_on_all_workers_that_share_a_store(tmp_path: Path) -> None:
    issuer = Paper()
    token = issuer.token(cnf={"jkt": KEY.thumbprint()}, typ="DPoP")
    sent = Credentials(token.encode(), bound=True)
    async with running_redis(tmp_path) as url, issuer.fetcher() as fetcher:
        stores = [RedisBackend(url, RESOURCE) for _ in range(2)]
        workers = [Authenticator(issuer.config(), store, fetcher=fetcher) for store in stores]
        outcomes, both = [], [proofs.of_request(proofs.made(token)) for _ in range(2)]
        for once in both:
            outcomes += [await worker.authenticate(sent, once) for worker in workers]
        first, second = outcomes[::2], outcomes[1::2]
        assert all(isinstance(one, Principal) for one in first)
        assert [one.reason for one in second if isinstance(one, AccessDenied)] == [DenialReason.BAD_PROOF] * 2
        await workers[0].give_back(both[1])  # by the worker that had it, which a limit has had refuse its request
        assert isinstance(await workers[1].authenticate(sent, both[1]), Principal)
        for store in stores:
            await store.stop()


async def test_a_proof_that_no_other_worker_can_be_asked_about_is_not_believed() -> None:
    issuer = Paper()
    token = issuer.token(cnf={"jkt": KEY.thumbprint()}, typ="DPoP")
    store = RedisBackend(f"redis://127.0.0.1:{free_port()}/0", RESOURCE)
    async with issuer.fetcher() as fetcher:
        asked = Authenticator(issuer.config(), store, fetcher=fetcher)
        outcome = await asked.authenticate(
            Credentials(token.encode(), bound=True), proofs.of_request(proofs.made(token))
        )
    assert isinstance(outcome, AccessDenied)
    assert (outcome.reason, outcome.reason.status) == (DenialReason.PROOFS_AWAY, 503)
    assert len(asked._replays) == 0
    await store.stop()
