"""The page: what was measured, where, and what follows for who plans."""

from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from mcp_server.auth.tokens.cache import MAX_ENTRIES
from tests.load import vegeta
from tests.load.capacity import BUSY, Constants, Plan, Wanted, planned
from tests.load.kinds import CALL, OTHERS
from tests.load.measuring import KNOWN, Measured, Row
from tests.load.place import LOAD_CORE, SERVER_CORE
from tests.load.weight import Weight
from tests.operate import machine

TERMS: Final = """\
This page is written by `make load` (`python -m tests.load`): `mcp-server serve` at its defaults, with tokens verified
(RS256), the audit written to a file, calls counted, limits on, and a Redis beside it, answers the benchmark's tool
(`add`, 1 + 2). The load is an open model: vegeta begins each call when it is due, whatever became of the one before,
over connections that it keeps, 256 at once at the most. **Latencies are against due times**: a call that was begun late has waited, even where
the load was late itself. Percentiles are of a histogram whose buckets are 2 % wide. An answer is good when its status
and its result are those of its call; any other is an error of its class, and has no latency.

**The processor's time** is that of the workers' CPU clocks over a round, all threads (the audit's among them), through
the calls of the round; *busy* is how much of a core that was. **The loop's lag** is how much later than set timers of 10 ms went off on the worker's loop, by a
tool that sets them during the round. A row is of several rounds, every row once, then every row again: percentiles are
medians of the rounds, with the least and the most where there are two figures in brackets.

Rates of *other* servers beside ours are in the [benchmark](../bench/README.md) (a closed model, ratios), faults under
load in [operate-report.md](operate-report.md).
"""
CORES: Final = """\
The rate is the same in each row; workers and load share both cores, so the rows show that calls are spread and
answered, and what a worker more costs, and **no speed-up**: two cores that carry the load, too, cannot show one.
"""


class Findings(msgspec.Struct, kw_only=True):
    """What a run has measured; `base` is what connections that never pause get of one worker, in calls a second."""

    base: float
    ladder: list[Row] = []
    kinds: list[Row] = []
    workers: list[Row] = []
    weight: Weight | None = None
    took_s: float = 0.0

    def all(self) -> list[Row]:
        """The rows of all tables."""
        return [*self.ladder, *self.kinds, *self.workers]


def page(found: Findings, seconds: float, note: str) -> str:
    """All of it, in Markdown."""
    assert found.weight
    rounds = len(found.ladder[0].rounds)
    about = [*machine.described(), ("vegeta", vegeta.version()), ("rounds", f"{rounds} of {seconds:.0f} s a row")]
    pinned = f"server on core {SERVER_CORE}, load, Redis and issuer on core {LOAD_CORE}"
    about += [("pinning", pinned), ("whole run", f"{found.took_s:.0f} s")]
    wrong = sum((row.errors for row in found.all()), Counter[str]())
    errors = ", ".join(f"{count} {what}" for what, count in wrong.most_common()) or "none"
    told = f"**{note}**\n\n" if note else ""
    table = "".join(f"| {name} | {value} |\n" for name, value in (*about, ("errors", errors)))
    kinds = "".join(f"- *{kind.name}*: {kind.about}\n" for kind in (CALL, *OTHERS))
    return "\n".join(
        [
            f"# The load report\n\n{told}{TERMS}",
            f"## The run\n\n| | |\n|---|---|\n{table}",
            f"## One worker, one core: {CALL.name}\n\n{_ladder(found)}",
            f"## Kinds of calls, one worker\n\n{kinds}\n{_kinds(found)}",
            f"## Several workers\n\n{CORES}\n{_rows('workers', found.workers, _MORE)}",
            _weight(found.weight),
            _formula(constants(found)),
        ]
    )


Read = Callable[[Measured], float]
SHARES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
_COST: Final[tuple[tuple[str, Read], ...]] = (
    ("lag p99", lambda one: one.lag_p99_ms),
    ("lag max", lambda one: one.lag_max_ms),
)
_MORE: Final[tuple[tuple[str, Read], ...]] = (
    *_COST,
    ("MiB", lambda one: one.kib / 1024),
    ("descriptors", lambda one: one.files),
)
_COMMANDS: Final[tuple[tuple[str, Read], ...]] = (*_COST, ("Redis commands", lambda one: one.commands))


def _ladder(found: Findings) -> str:
    said = (
        f"{vegeta.CONNECTIONS} connections that never pause get {found.base:.0f} answers a second of one worker; the rates are shares of "
        "that. A call costs less the more there are, for what wakes a thread for one call finds several then.\n\n"
    )
    return said + _rows("share", found.ladder, _MORE)


def _kinds(found: Findings) -> str:
    return _rows("kind", found.kinds, _COMMANDS)


def _rows(head: str, rows: list[Row], more: tuple[tuple[str, Read], ...]) -> str:
    """Milliseconds but for the processor's microseconds a call."""
    names = [head, "asked", "achieved", "errors", "CPU µs a call", "busy", *(name for name, _ in SHARES), "max"]
    names += [name for name, _ in more]
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for row in rows:
        cells = [row.name, f"{row.middle(lambda one: one.round.asked):.0f}"]
        cells += [f"{row.middle(lambda one: one.round.achieved):.0f}", str(sum(row.errors.values()))]
        cells += [_spread(row, lambda one: one.cpu_us, 0), f"{row.middle(lambda one: one.busy):.0%}"]
        for name, share in SHARES:
            read = _percentile(share)
            cells.append(_spread(row, read, 1) if name == "p99" else f"{row.middle(read):.1f}")
        cells.append(f"{row.middle(lambda one: one.round.latencies.longest * 1e3):.1f}")
        cells += [f"{row.middle(read):.1f}" for _, read in more]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _percentile(share: float) -> Read:
    return lambda one: one.round.latencies.percentile(share) * 1e3


def _spread(row: Row, read: Read, digits: int) -> str:
    values = [read(one) for one in row.rounds]
    return f"{row.middle(read):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _weight(found: Weight) -> str:
    rows = [
        ("a worker that has served some calls", f"{found.worker_mib:.0f} MiB"),
        (f"a live token, of {found.tokens} of as many callers", f"{found.token_kib:.2f} KiB"),
        (f"an idle stream, of {found.streams}", f"{found.stream_kib:.1f} KiB, {found.stream_files:.2f} descriptors"),
        ("the processor, for an idle stream", f"{found.idle_us:.1f} µs a second"),
        ("the processor, to tell one stream of one change", f"{found.event_us:.0f} µs"),
        (f"until the last of {found.streams} streams has heard", f"{found.heard_ms:.0f} ms"),
    ]
    table = "".join(f"| {name} | {value} |\n" for name, value in rows)
    return f"## What a worker holds\n\n| | |\n|---|---|\n{table}"


def constants(found: Findings) -> Constants:
    """Of the formula: the middle of the rounds."""
    assert found.weight
    kinds = {row.name: row for row in found.kinds}

    def cost(name: str) -> float:
        return kinds[name].middle(lambda one: one.cpu_us)

    return Constants(
        call_us=cost(CALL.name),
        session_us=cost("call, legacy, in a session"),
        new_token_us=cost("call, new token"),
        call_commands=kinds[CALL.name].middle(lambda one: one.commands),
        session_commands=kinds["call, legacy, in a session"].middle(lambda one: one.commands),
        worker_mib=found.weight.worker_mib,
        stream_kib=found.weight.stream_kib,
        token_kib=found.weight.token_kib,
        event_us=found.weight.event_us,
    )


EXAMPLES: Final = (
    ("1,000 modern calls/s, handlers of 1 ms of the processor", Wanted(calls=1000, handler_us=1000, live_tokens=1000)),
    ("5,000 modern calls/s, one in a hundred with a new token", Wanted(calls=4950, new_tokens=50, live_tokens=20_000)),
    (
        "500 calls/s in legacy sessions, 5,000 streams, a change a second",
        Wanted(calls=0, sessions=500, streams=5000, events=1),
    ),
)


def _formula(of: Constants) -> str:
    text = f"""\
## The capacity formula

    cores   = (calls * {of.call_us:.0f} + session calls * {of.session_us:.0f} + calls with new tokens * {of.new_token_us:.0f}
               + all calls * the handler's own µs + changes * streams * {of.event_us:.0f}) / 1,000,000
    workers = ⌈cores / {BUSY}⌉
    memory  = workers * ({of.worker_mib:.0f} MiB + live tokens * {of.token_kib:.2f} KiB) + streams * {of.stream_kib:.1f} KiB
              + request bodies in flight (MCP_MAX_BYTES_IN_FLIGHT a worker) + what streams keep for who comes back
    Redis   = calls * {of.call_commands:.1f} + session calls * {of.session_commands:.1f} + changes * (1 + workers), commands a second
    at once = calls * seconds of the handler (Little's law), below MCP_MAX_CALLS_PER_PRINCIPAL for each caller

Rates are a second's, at the peak. A worker remembers {MAX_ENTRIES:,} tokens: where more are alive on it, calls may cost
what one with a new token does. Each change reaches every worker. What a call gives Redis is its caller's account of limits, which a caller that calls
often settles for many calls at once; those of the table come from {KNOWN} callers. {BUSY} is the share of a core that is planned for; what
latencies do beyond it the first table shows. Constants belong to this machine: run `make load` on yours.

| example | cores | workers | MiB | Redis commands/s |
|---|---|---|---|---|
"""
    return text + "".join(_example(name, planned(wanted, of)) for name, wanted in EXAMPLES)


def _example(name: str, plan: Plan) -> str:
    return f"| {name} | {plan.cores:.2f} | {plan.workers} | {plan.mib:.0f} | {plan.commands:.0f} |\n"
