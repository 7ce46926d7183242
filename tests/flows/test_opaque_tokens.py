"""Opaque tokens are asked about at the issuer (RFC 7662), within bounds."""

import asyncio
import itertools
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.binding.dpop import Proof
from mcp_server.auth.issuer.fetch import Fetcher
from mcp_server.auth.refusals import AccessDenied, DenialReason
from mcp_server.auth.tokens import introspection_limiter
from mcp_server.auth.tokens import opaque as opaque_module
from mcp_server.auth.tokens.bearer import Credentials
from mcp_server.auth.tokens.introspection_limiter import BURST_S, UNKNOWN_PER_S
from mcp_server.identity import Principal
from tests.kit import wire
from tests.kit.stack import Stack, running_stack
from tests.kit.tokens import OUT, Forge

CALL = wire.legacy("tools/call", {"name": "list_orders"})
SECRET = "dev-only-server-secret"
PROOF = Proof(None, "POST", "")


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
        asked = Counted(stack)
        for _ in range(2):
            answer = await stack.post(CALL, opaque)
            assert answer.status_code == 401
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert asked.tokens == {opaque: 1}


class Counted:
    """The embedded server, and which tokens it was asked about."""

    def __init__(self, stack: Stack) -> None:
        self.server, self.tokens = stack.issuer.server, Counter[str]()
        stack.issuer.server = self  # type: ignore[assignment]

    def create_endpoint_response(self, name: str, form: Any) -> Any:
        self.tokens[form.form["token"]] += 1
        return self.server.create_endpoint_response(name, form)


async def opaque(stack: Stack, count: int) -> list[str]:
    store, forge = stack.issuer.store, Forge(stack)
    return [store.put(store.references, forge.token(jti=f"right{number}")) for number in range(count)]


@pytest.mark.parametrize("right", [True, False])
async def test_callers_with_one_token_share_one_question(tmp_path: Path, *, right: bool) -> None:
    async with running_stack(tmp_path, client_secret=SECRET) as stack:
        (good,) = await opaque(stack, 1)
        token = good if right else "random"
        asked = Counted(stack)
        answers = await asyncio.gather(*(stack.post(CALL, token) for _ in range(40)))
        assert {answer.status_code for answer in answers} == {200 if right else 401}
        assert asked.tokens == {token: 1}


async def test_a_caller_who_hangs_up_ends_nobody_elses_question(tmp_path: Path) -> None:
    async with running_stack(tmp_path, client_secret=SECRET) as stack:
        (good,) = await opaque(stack, 1)
        authenticator = stack.plugin.authenticator
        tasks = [asyncio.create_task(authenticator.authenticate(Credentials(good.encode()), PROOF)) for _ in range(2)]
        while not authenticator._opaque._asking:  # type: ignore[union-attr]
            await asyncio.wait(tasks, timeout=0)
        tasks[0].cancel()
        assert isinstance(await tasks[1], Principal)


async def test_a_question_ends_with_the_server(tmp_path: Path) -> None:
    async with running_stack(tmp_path, client_secret=SECRET) as stack:
        authenticator = stack.plugin.authenticator
        tokens = asyncio.create_task(authenticator.authenticate(Credentials(b"random"), PROOF))
        while not authenticator._opaque._asking:  # type: ignore[union-attr]
            await asyncio.wait([tokens], timeout=0)
        await authenticator.stop()
        refused = await tokens
        assert isinstance(refused, AccessDenied)
        assert refused.reason is DenialReason.ISSUER_AWAY
        await authenticator.start()  # which the end of the application ends again


async def test_a_wall_clock_that_is_set_back_shuts_nobody_out(tmp_path: Path) -> None:
    """Rates, cooldowns and what is remembered go by the monotonic clock; the wall clock is wrong, then right again."""
    wall, monotonic = [time.time() + 3600], [0.0]
    async with running_stack(tmp_path, client_secret=SECRET, jwks_cooldown_s="30") as stack, Fetcher() as fetcher:
        forge, store = Forge(stack), stack.issuer.store
        config = stack.plugin.authenticator._config
        asked = Authenticator(config, fetcher=fetcher, clock=lambda: wall[0], monotonic=lambda: monotonic[0])

        async def answered(token: str) -> object:
            found = await asked.authenticate(Credentials(token.encode()), PROOF, "\n192.0.2.7")
            return found.reason if isinstance(found, AccessDenied) else type(found)

        long: dict[str, Any] = {"exp": time.time() + 86400}
        right = [store.put(store.references, forge.token(jti=f"right{number}", **long)) for number in range(3)]
        assert [await answered(one) for one in (right[0], "later")] == [Principal, DenialReason.INACTIVE]
        unknown = [forge.token(header={"kid": f"k{number}"}, key=forge.foreign, **long) for number in range(3)]
        assert {await answered(one) for one in unknown} == {DenialReason.UNKNOWN_KEY}
        wall[0] -= 3600
        assert await answered(right[1]) is Principal
        monotonic[0] += 31
        counted = Counted(stack)
        assert [await answered(one) for one in (right[0], "later")] == [Principal, DenialReason.INACTIVE]
        assert counted.tokens == {right[0]: 1, "later": 1}  # neither answer is believed for an hour more
        stack.issuer.server = counted.server
        stack.issuer.keyring.rotate()
        assert await answered(await stack.token("alice")) is Principal
        await asked.stop()


async def test_right_tokens_are_served_while_random_ones_flood_in(tmp_path: Path) -> None:
    """All that a stranger sends is asked about at the pace of an address; others never wait for it, nor are refused."""
    async with running_stack(tmp_path, client_secret=SECRET, trusted_proxies="127.0.0.0/8 ::1") as stack:
        right = await opaque(stack, 32)
        asked, stopped = Counted(stack), asyncio.Event()

        async def flood(number: int) -> set[int]:
            found: set[int] = set()
            for count in itertools.count():
                if stopped.is_set():
                    return found
                address = f"2001:db8:0:1::{number:x}:{count % 9999}"  # of 2^64 that one stranger has
                answer = await stack.post(CALL, f"random{number}.{count}", x_forwarded_for=address)
                found.add(answer.status_code)
            return found

        floods = [asyncio.create_task(flood(number)) for number in range(12)]
        while sum(asked.tokens.values()) < UNKNOWN_PER_S * BURST_S:
            await asyncio.wait(floods, timeout=0.01)
        elsewhere = [await stack.post(CALL, one, x_forwarded_for="203.0.113.7") for one in right[:30]]
        beside = [await stack.post(CALL, one, x_forwarded_for="2001:db8:0:1::1") for one in right[30:]]
        stopped.set()
        answered = set().union(*await asyncio.gather(*floods))
        assert [answer.status_code for answer in elsewhere + beside] == [200] * len(right)
        assert answered == {401}
        assert all(asked.tokens[one] == 1 for one in right)


async def test_a_longer_queue_is_refused_with_a_time_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(introspection_limiter, "MAX_WAIT_S", 0.2)
    async with running_stack(tmp_path, client_secret=SECRET) as stack:
        stack.stop_clocks()
        answers = await asyncio.gather(*(stack.post(CALL, f"random{number}") for number in range(60)))
        assert {answer.status_code for answer in answers} == {401, 429}
        late = next(answer for answer in answers if answer.status_code == 429)
        assert int(late.headers["retry-after"]) >= 1
        assert "www-authenticate" not in late.headers


async def test_what_was_wrong_with_a_token_is_remembered(tmp_path: Path) -> None:
    """A second look must not turn a 403, which ends a client, into a 401, which makes it log in."""
    async with running_stack(tmp_path, client_secret=SECRET) as stack:
        store, forge = stack.issuer.store, Forge(stack)
        token = store.put(store.references, forge.token(sid=OUT))
        asked = Counted(stack)
        assert [(await stack.post(CALL, token)).status_code for _ in range(3)] == [403] * 3
        assert asked.tokens == {token: 1}


async def test_what_is_known_to_be_inactive_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opaque_module, "MAX_REFUSED", 3)
    async with running_stack(tmp_path, client_secret=SECRET) as stack:
        asked = Counted(stack)
        for number in (*range(5), 4, 0):
            assert (await stack.post(CALL, f"random{number}")).status_code == 401
        assert (asked.tokens["random4"], asked.tokens["random0"]) == (1, 2)


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
