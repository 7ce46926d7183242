"""The bounds on what strangers make us ask: turns in order, a share of the places, and an end to waiting."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from mcp_server.auth.refusals import AccessDenied, AccessDeniedError, DenialReason, refuse
from mcp_server.auth.tokens import introspection_limiter
from mcp_server.auth.tokens.introspection_limiter import BURST_S, MAX_WAIT_S, UNKNOWN_PER_S, IntrospectionLimiter
from mcp_server.limits import fair_queue
from mcp_server.limits.fair_queue import MAX_OF_ADDRESS

ALLOWED = int(BURST_S * UNKNOWN_PER_S) + 1
IN_LINE = int(MAX_WAIT_S * UNKNOWN_PER_S)


async def unknown(asked: IntrospectionLimiter, address: str) -> None:
    with pytest.raises(AccessDeniedError) as refused:
        async with asked.turn(address):
            raise refuse(DenialReason.INACTIVE)
    assert refused.value.refusal.reason is DenialReason.INACTIVE


async def refused(asked: IntrospectionLimiter, address: str) -> AccessDenied:
    with pytest.raises(AccessDeniedError) as found:
        async with asked.turn(address):
            pytest.fail("there was room")
    return found.value.refusal


async def test_the_allowance_of_an_address_ends_and_another_has_its_own() -> None:
    now = [100.0]
    asked = IntrospectionLimiter(lambda: now[0])
    for _ in range(ALLOWED):
        await unknown(asked, "flood")
    mine = asked._of("flood")
    assert asked._reserve(mine) == pytest.approx(1 / UNKNOWN_PER_S)
    for _ in range(IN_LINE - 1):
        asked._reserve(mine)
    said = await refused(asked, "flood")
    assert said.reason is DenialReason.TOO_MANY_UNKNOWN
    assert said.retry_after_s >= 1
    await unknown(asked, "other")
    now[0] += MAX_WAIT_S + 2 * BURST_S
    await unknown(asked, "flood")


async def test_right_tokens_cost_nothing() -> None:
    asked = IntrospectionLimiter(lambda: 100.0)
    for _ in range(ALLOWED * 3):
        async with asked.turn("office"):
            pass
    assert asked._of("office").paid_until <= 100.0


async def test_who_is_over_the_allowance_waits_and_is_then_served() -> None:
    asked = IntrospectionLimiter(asyncio.get_running_loop().time)
    for _ in range(ALLOWED + 2):
        await unknown(asked, "flood")
    async with asked.turn("flood"):
        pass
    assert asked._places.waiting == 0


async def test_who_finds_no_place_in_time_is_refused_and_pays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(introspection_limiter, "MAX_WAIT_S", 0.05)
    asked = IntrospectionLimiter(lambda: 100.0)
    async with AsyncExitStack() as held:
        for _ in range(MAX_OF_ADDRESS):
            await held.enter_async_context(asked.turn("slow"))
        before = asked._of("slow").paid_until
        assert (await refused(asked, "slow")).reason is DenialReason.TOO_MANY_UNKNOWN
        assert asked._of("slow").paid_until == pytest.approx(before)
        async with asked.turn("other"):
            pass
    async with asked.turn("slow"):
        pass


async def test_those_who_wait_are_bounded_and_those_with_allowance_are_not_among_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fair_queue, "MAX_WAITING", 0)
    asked = IntrospectionLimiter(lambda: 100.0)
    for _ in range(ALLOWED):
        await unknown(asked, "flood")
    assert (await refused(asked, "flood")).reason is DenialReason.TOO_MANY_UNKNOWN
    await unknown(asked, "other")


async def test_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(introspection_limiter, "MAX_ADDRESSES", 3)
    asked = IntrospectionLimiter(lambda: 100.0)
    for name in ("a", "b", "c", "a", "d", "e"):
        await unknown(asked, name)
    assert list(asked._addresses) == ["a", "d", "e"]
