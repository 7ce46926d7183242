"""What calls add is gathered, and what an operator reads is all of it, in the right buckets."""

import asyncio
from collections.abc import Sequence
from math import inf

import pytest
from prometheus_client import REGISTRY

from mcp_server.observe import metrics
from mcp_server.observe.gathering import DelayedFlush
from mcp_server.observe.telemetry.names import DURATION_BOUNDS

SECONDS = {0.0004: "0.0005", 0.0005: "0.0005", 0.0006: "0.001", 9.0: "10.0", 11.0: "+Inf"}


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_every_observation_is_in_its_bucket_once_it_is_read() -> None:
    labels = {"method": "tools/call", "tool": "in_buckets"}
    meter = metrics.CallMeter("tools/call", "in_buckets")
    for seconds in SECONDS:
        meter.record(seconds)
    metrics.CallMeter("tools/call", "in_buckets", "refused").record(1.0)
    assert (
        f'mcp_call_seconds_count{{method="tools/call",tool="in_buckets"}} {len(SECONDS) + 1}.0'
        in (await metrics.exposed()).decode()
    )
    for bound in set(SECONDS.values()):
        below = sum(1 for seconds in [*SECONDS, 1.0] if seconds <= float(bound.replace("+Inf", "inf")))
        assert sample("mcp_call_seconds_bucket", le=bound, **labels) == below
    assert sample("mcp_call_seconds_sum", **labels) == sum(SECONDS) + 1.0
    assert sample("mcp_calls_total", outcome="ok", **labels) == len(SECONDS)
    assert sample("mcp_calls_total", outcome="refused", **labels) == 1


def test_what_is_gathered_is_sorted_into_the_conventions_bounds_too() -> None:
    """0.02 is a bound of theirs and none of ours, 0.025 the other way round."""
    told: list[tuple[float, dict[float, int]]] = []

    def also(total: float, counts: Sequence[int]) -> None:
        told.append(
            (total, {bound: count for bound, count in zip((*DURATION_BOUNDS, inf), counts, strict=True) if count})
        )

    meter = metrics.CallMeter("tools/call", "sorted into both", "ok", also)
    for seconds in (0.0004, 0.02, 0.0201, 0.05, 301.0):
        meter.record(seconds)  # no loop runs: each is handed on at once
    assert told == [(0.0004, {0.01: 1}), (0.02, {0.02: 1}), (0.0201, {0.05: 1}), (0.05, {0.05: 1}), (301.0, {inf: 1})]
    for bound, below in (("0.025", 3), ("0.05", 4), ("10.0", 4), ("+Inf", 5)):
        assert sample("mcp_call_seconds_bucket", le=bound, method="tools/call", tool="sorted into both") == below


def test_without_a_loop_nothing_waits() -> None:
    labels = {"method": "tools/call", "tool": "no_loop"}
    before = sample("mcp_token_cache_total", outcome="hit")
    metrics.CallMeter("tools/call", "no_loop").record(0.1)
    metrics.cache_hit()
    assert sample("mcp_calls_total", outcome="ok", **labels) == 1
    assert sample("mcp_token_cache_total", outcome="hit") == before + 1


async def test_additions_are_handed_on_together_and_the_next_ones_again() -> None:
    added, handed, seen = 0, [], asyncio.Event()

    def hand_on() -> None:
        handed.append(added)
        seen.set()

    gathering = DelayedFlush(hand_on)
    for _ in range(2):
        for _ in range(3):
            added += 1
            if not gathering.begun:
                gathering.begin()
        assert len(handed) == added // 3 - 1
        async with asyncio.timeout(60):
            await seen.wait()
        seen.clear()
    assert handed == [3, 6]


@pytest.mark.parametrize("closed", [True, False])
def test_a_loop_that_runs_no_more_keeps_nothing_back(*, closed: bool) -> None:
    """House fault 46: what came after its loop was over waited for a read, or for 64 kB."""
    handed: list[str] = []
    gathering = DelayedFlush(lambda: handed.append("on"))

    async def begin() -> None:
        gathering.begin()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    assert handed == []
    if closed:
        loop.close()
    assert not gathering.begun
    gathering.begin()  # no loop runs
    assert handed == ["on"]
    asyncio.run(begin())
    assert not gathering.begun
    loop.close()
