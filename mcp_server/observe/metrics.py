"""The counters an operator reads, in Prometheus' form; labels are from closed sets, never a caller's text."""

from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.values import ValueClass

_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_calls = Counter("mcp_calls", "MCP requests answered", ("method", "tool", "outcome"))
_latency = Histogram("mcp_call_seconds", "Time to answer", ("method", "tool"), buckets=_BUCKETS)
_refusals = Counter("mcp_refusals", "Callers refused", ("reason",))
_fetches = Counter("mcp_key_fetches", "Fetches of an issuer's metadata and keys", ("issuer", "outcome"))
_cache = Counter("mcp_token_cache", "Look-ups of verified tokens", ("outcome",))
_hits = _cache.labels("hit")
_misses = _cache.labels("miss")


class CallMeter:
    """The instruments of one (method, tool), looked up once so that a call costs two additions."""

    def __init__(self, method: str, tool: str) -> None:
        self._method, self._tool = method, tool
        self._seconds = _latency.labels(method, tool)
        self._ok = _calls.labels(method, tool, "ok")

    def record(self, outcome: str, seconds: float) -> None:
        """Count a call; outcomes are `ok`, `tool_error`, `refused`, `rejected`, `failed`."""
        if outcome == "ok":
            self._ok.inc()
        else:
            _calls.labels(self._method, self._tool, outcome).inc()
        self._seconds.observe(seconds)


def refused(reason: str) -> None:
    """Count a caller refused."""
    _refusals.labels(reason).inc()


def key_fetches(issuer: str, *, ok: bool) -> None:
    """Count a fetch of an issuer's documents."""
    _fetches.labels(issuer, "ok" if ok else "failed").inc()


def cache_hit() -> None:
    """Count a token found verified."""
    _hits.inc()


def cache_miss() -> None:
    """Count a token that had to be verified."""
    _misses.inc()


def exposition() -> bytes:
    """All counters as text: of all workers where a shared directory is set, else of this process."""
    if ValueClass.__name__ == "MutexValue":
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has no types here
    return generate_latest(registry)
