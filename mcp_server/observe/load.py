"""Gauges of what a worker has in hand, for autoscalers: sampled each second, so that no call pays for them."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from prometheus_client import Gauge

SAMPLE_S: Final = 1.0
_calls = Gauge("mcp_calls_running", "Handlers that run now, of calls that are waited for", multiprocess_mode="livesum")
_streams = Gauge("mcp_streams_open", "Listening streams that are open now", multiprocess_mode="livesum")
_tasks = Gauge("mcp_tasks_running", "Tasks that run now", multiprocess_mode="livesum")


class Load(NamedTuple):
    """What a worker has in hand at one moment."""

    calls: int
    streams: int
    tasks: int


class LoadGauges:
    """A sampler: what `read` says, each second while the context lasts, which begins in the running loop.

    A worker that has closed has nothing in hand, whatever it was about.
    """

    def __init__(self, read: Callable[[], Load], every_s: float = SAMPLE_S) -> None:
        self._read, self._every_s = read, every_s
        self._next: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._sample()

    def __exit__(self, *_: object) -> None:
        if self._next is not None:
            self._next.cancel()
        _show(Load(0, 0, 0))

    def _sample(self) -> None:
        self._next = asyncio.get_running_loop().call_later(self._every_s, self._sample)
        _show(self._read())


def _show(load: Load) -> None:
    _calls.set(load.calls)
    _streams.set(load.streams)
    _tasks.set(load.tasks)
