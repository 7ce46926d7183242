"""What autoscalers read: sampled while a worker serves, nothing when it has closed."""

import asyncio

from prometheus_client import REGISTRY

from mcp_server.observe.load import Load, LoadGauges

NAMES = ("mcp_calls_running", "mcp_streams_open", "mcp_tasks_running")


def shown() -> list[float | None]:
    return [REGISTRY.get_sample_value(name) for name in NAMES]


async def test_gauges_follow_what_a_worker_has_in_hand_and_end_with_it() -> None:
    seen, more = iter([Load(1, 2, 3), Load(4, 5, 6)]), asyncio.Event()

    def read() -> Load:
        load = next(seen, None)
        if load is None:
            more.set()
        return load or Load(4, 5, 6)

    with LoadGauges(read, every_s=0.001):
        assert shown() == [1, 2, 3]
        await asyncio.wait_for(more.wait(), 60)
        assert shown() == [4, 5, 6]
    assert shown() == [0, 0, 0]
    more.clear()
    again, others = iter(range(3)), asyncio.Event()

    def count() -> Load:
        if next(again, None) is None:
            others.set()
        return Load(0, 0, 0)

    with LoadGauges(count, every_s=0.001):  # as often: by its last look the first would have looked, too
        await asyncio.wait_for(others.wait(), 60)
    assert (shown(), more.is_set()) == ([0, 0, 0], False)
