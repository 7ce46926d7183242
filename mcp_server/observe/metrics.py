"""The counters an operator reads, in Prometheus' form; labels are from closed sets, never a caller's text."""

import asyncio
import os
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.values import ValueClass

from mcp_server.observe import allocated, merging
from mcp_server.observe.gathering import DelayedFlush
from mcp_server.observe.log import logger
from mcp_server.observe.telemetry.names import DURATION_BOUNDS

METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where several processes share their counters, as the library reads it when it is imported."""
EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of the text."""
_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_FINE: Final = tuple(sorted({*_BUCKETS, *DURATION_BOUNDS}))
"""What is gathered goes into both: a call is sorted in once."""
Gathered = Callable[[float, Sequence[int]], None]
"""Told the seconds of calls together, and how many ended within each of the conventions' bounds."""


allocated.use()


class _Latencies(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, total: float, counts: Sequence[int]) -> None:
        """`total` is their sum in seconds, `counts` how many fell into each bucket, the unbounded one last."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


_calls = Counter("mcp_calls", "MCP requests answered", ("method", "tool", "outcome"))
_latency = _Latencies("mcp_call_seconds", "Time to answer", ("method", "tool"), buckets=_BUCKETS)
_refusals = Counter("mcp_refusals", "Callers refused", ("reason",))
_fetches = Counter("mcp_key_fetches", "Fetches of an issuer's metadata and keys", ("issuer", "outcome"))
_cache = Counter("mcp_token_cache", "Look-ups of verified tokens", ("outcome",))
_drifted = Counter(
    "mcp_answers_not_as_documented", "Answers of an API that break its document, of those compared", ("tool",)
)
_unwritten = Counter("mcp_audit_failed_writes", "Writes of the audit that failed; its lines are kept")
_dropped = Counter("mcp_audit_dropped", "Lines of the audit given up: no room to keep more")
_queued = Gauge(
    "mcp_audit_queue_bytes", "Lines of the audit that wait to be written", ("file",), multiprocess_mode="livesum"
)
_log_dropped = Counter("mcp_log_dropped", "Lines of the log given up: nobody reads them, and no room to keep more")
_limited = Counter("mcp_limited", "Calls over a limit, by whose it is", ("scope",))
_unshared = Counter("mcp_limits_unshared", "Calls held to one worker's share of a limit, the shared store being away")
_telemetry_lost = Counter(
    "mcp_telemetry_lost", "Spans and points of metrics given up: no room, or not delivered", ("signal", "reason")
)
_stale = Gauge(
    "mcp_config_stale",
    "Settings read since the start that are in use only after a new one",
    multiprocess_mode="livemax",
)
_secrets_age = Gauge(
    "mcp_secrets_age_seconds", "Since all settings were last read anew without a fault", multiprocess_mode="livemax"
)
_secrets_failed = Gauge(
    "mcp_secrets_failed_reads",
    "Readings of settings and secrets that failed since the start",
    multiprocess_mode="livemax",
)
_misses = _cache.labels("miss")
_ended: dict[int, None] = {}
"""Processes that have ended, and whose counters are not merged yet."""


def _places(bounds: Sequence[float]) -> tuple[int, ...]:
    """In which bucket of these is what was gathered in each of the fine ones."""
    return *(bisect_left(bounds, one) for one in _FINE), len(bounds)


_IN_BUCKETS: Final = _places(_BUCKETS)
_IN_BOUNDS: Final = _places(DURATION_BOUNDS)


def _folded(fine: Sequence[int], places: Sequence[int]) -> list[int]:
    folded = [0] * (places[-1] + 1)
    for place, count in zip(places, fine, strict=True):
        folded[place] += count
    return folded


class CallMeter:
    """The instruments of one (method, tool, outcome), looked up once; with several workers an addition is a write.

    So what a call adds is gathered: a few additions of plain numbers. `also` is told of them, too.
    """

    def __init__(self, method: str, tool: str, outcome: str = "ok", also: Gathered | None = None) -> None:
        """Outcomes are `ok`, `tool_error`, `refused`, `rejected`, `failed`, `cancelled`."""
        self._instruments = _latency.labels(method, tool), _calls.labels(method, tool, outcome)
        self._also = also
        self._empty()
        _meters.append(self)

    def record(self, seconds: float) -> None:
        """Count a call."""
        self._seconds += seconds
        self._gathered[bisect_left(_FINE, seconds)] += 1
        if not _gathering.begun:
            _gathering.begin()

    def hand_on(self) -> None:
        """Give the instruments what was gathered."""
        seconds, gathered = self._seconds, self._gathered
        if not (count := sum(gathered)):
            return
        self._empty()
        latency, calls = self._instruments
        calls.inc(count)
        latency.add(seconds, _folded(gathered, _IN_BUCKETS))
        if self._also is not None:
            self._also(seconds, _folded(gathered, _IN_BOUNDS))

    def _empty(self) -> None:
        self._seconds = 0.0
        self._gathered = [0] * (len(_FINE) + 1)


class _Hits:
    """Look-ups that found their token: one a call, so they are gathered too."""

    def __init__(self) -> None:
        self._instrument = _cache.labels("hit")
        self.found = 0

    def hand_on(self) -> None:
        found, self.found = self.found, 0
        self._instrument.inc(found)


_hits = _Hits()
_meters: list[CallMeter | _Hits] = [_hits]


def _hand_on() -> None:
    for meter in _meters:
        meter.hand_on()


_gathering = DelayedFlush(_hand_on)


def hand_on() -> None:
    """Give the instruments what was gathered: before they are read, and before the process ends."""
    _gathering.end()


def refused(reason: str) -> None:
    """Count a caller refused."""
    _refusals.labels(reason).inc()


def limited(scope: str) -> None:
    """Count a call over a limit."""
    _limited.labels(scope).inc()


def limit_not_shared() -> None:
    """Count a call that was held to this worker's share."""
    _unshared.inc()


def key_fetches(issuer: str, *, ok: bool) -> None:
    """Count a fetch of an issuer's documents."""
    _fetches.labels(issuer, "ok" if ok else "failed").inc()


def cache_hit() -> None:
    """Count a token found verified; the call that follows is counted, too, so the first alone begins the gathering."""
    _hits.found += 1
    if _hits.found == 1 and not _gathering.begun:
        _gathering.begin()


def cache_miss() -> None:
    """Count a token that had to be verified."""
    _misses.inc()


def answer_drifted(tool: str) -> None:
    """Count an answer of an API that is not what its document says."""
    _drifted.labels(tool).inc()


def audit_not_written() -> None:
    """Count a write of the audit that failed."""
    _unwritten.inc()


def audit_dropped(lines: int) -> None:
    """Count lines of the audit that nobody will see."""
    _dropped.inc(lines)


def audit_queued(file: str, size: int) -> None:
    """Show how many bytes wait for a file."""
    _queued.labels(file).set(size)


def log_dropped(lines: int) -> None:
    """Count lines of the log that nobody will see."""
    _log_dropped.inc(lines)


def settings_read(age_s: float, failed: int, stale: int) -> None:
    """Show how old what is in use is, how often it could not be read anew, and how many settings wait for a start."""
    _secrets_age.set(age_s)
    _secrets_failed.set(failed)
    _stale.set(stale)


def telemetry_lost(signal: str, reason: str, items: int = 1) -> None:
    """Count spans, or points of metrics, that nobody will see."""
    _telemetry_lost.labels(signal, reason).inc(items)


def process_ended(pid: int) -> None:
    """What only a living process has is no longer counted as this one's; `merge_ended` adds up the rest."""
    if ValueClass.__name__ != "MutexValue":
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library has no types here
        _ended[pid] = None


def merge_ended(living: Collection[int | None]) -> None:
    """Add up the counters of processes that have ended, unless somebody reads just now: then the next time.

    One of those that live may have the number of one that has ended: it goes on with its files.
    """
    for pid in list(_ended):
        try:
            done = pid in living or merging.merge(Path(os.environ[METRICS_FOLDER]), pid)
        except OSError:  # no room for it now: a full disk costs no counter
            return
        except Exception as error:  # noqa: BLE001 - what a killed process left may be anything, and ends no server
            logger.error("counters of a worker that has ended cannot be read", reason=type(error).__name__)
            done = True
        if done:
            del _ended[pid]


def exposition() -> bytes:
    """All counters as text: of all workers where a shared directory is set, else of this process. May take long."""
    if ValueClass.__name__ == "MutexValue":
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has no types here
    with merging.reading(Path(os.environ[METRICS_FOLDER])):
        return generate_latest(registry)


async def exposed() -> bytes:
    """The same from a running event loop, which goes on: of several workers there are files to read for each."""
    hand_on()
    return await asyncio.to_thread(exposition)
