"""The report: what was promised, what was seen, in the words and figures of one run."""

from collections.abc import Sequence
from typing import Final

from tests.operate.figures import Histogram
from tests.operate.load import KINDS, Shape
from tests.operate.section import Seen
from tests.operate.verdicts import Judged

TERMS: Final = """\
This page is written by `make operate` (`python -m tests.operate`): three `mcp-server serve` processes, each with its
own worker, over one Redis (two replicas and a sentinel beside it) and an issuer whose access tokens live 60 s, under an
open-model load: each call has its due time, whatever became of the one before, and its latency is counted from there,
less what its handler was asked to take. Nothing repeats a call: haproxy has `retries 0` and no redispatch, the client
repeats no POST. `MCP_DRAIN_S` is 2, `MCP_STOP_S` two seconds more than the longest call.

**A good call** has a token that is valid, a message that is well-formed, is within the limits that are set, and takes
no longer than `MCP_STOP_S` promises; a connection that its client keeps idles less than `MCP_DRAIN_S`, so that it is
used or let go before the server closes it. It must be answered with 200 and its own result, at the latest 20 s after
it was due, beside the time that its handler takes. **A plain "not now"** is 429 or 503 with `Retry-After`, given before
anything of the call has run (the tool's own file of executions is asked). It counts as failed too, except for what
needs the store while the store is away (legacy sessions, tasks), and for new listeners while a process drains: they
are sent elsewhere. **A listener's last frame** is the result of `subscriptions/listen`; a legacy stream has none and
must end as HTTP ends a body, not be cut. **An execution** leaves a line in a file as its handler begins and one as it
ends; the audit must have one line of each call that ran (by its trace id), a task's end one of its own.

**A worker that is killed or hangs** ends what it had taken: what ran there is counted apart, and of what it had taken
and not begun no more than its share of the calls of the seconds until it is noticed may be lost. Clients of the section
`kept` do let connections idle longer than `MCP_DRAIN_S` (the defaults of httpx and undici): what they lose in the moment
in which a connection ends must not have run, so that they may repeat it. In `foreign` sessions and tasks are spoiled in
the store itself: they may be refused or forgotten, and nothing else.
"""


def page(
    about: Sequence[tuple[str, str]], shape: Shape, times: int, sections: Sequence[Seen], more: Sequence[str]
) -> str:
    """All of it, in Markdown."""
    held = "Every promise held." if all(one.held for one in sections) else "**Not every promise held.**"
    mix = ", ".join(f"{share} % {kind}" for kind, share in KINDS.items())
    load = (
        f"{held} Load: {shape.rate:.0f} calls a second ({mix}), of 0 to {shape.longest_s:.0f} s, {shape.listeners} "
        f"listeners (one in ten a legacy stream), {shape.sessions} legacy sessions, {shape.tasks} tasks a section; restarts of each "
        f"process: {times}."
    )
    machine = "\n".join(f"| {name} | {value} |" for name, value in about)
    parts = [
        "# Nothing lost: the report of a run\n",
        TERMS,
        f"## The run\n\n{load}\n\n| | |\n|---|---|\n{machine}\n",
        summary(sections),
        *(_section(one) for one in sections),
        *more,
    ]
    return "\n".join(parts)


def summary(sections: Sequence[Seen]) -> str:
    """A row a section."""
    head = (
        "| section | promises | calls/s asked, achieved | p50 | p90 | p99 | p99.9 | max (ms) |\n" + "|---" * 8 + "|\n"
    )
    return "## Sections\n\n" + head + "".join(_row(one) for one in sections)


def _row(seen: Seen) -> str:
    kept = sum(one.held for one in seen.judged)
    rate = f"{seen.asked:.0f}, {seen.achieved:.1f}"
    return f"| {seen.plan.name} | {kept} of {len(seen.judged)} held | {rate} | {milliseconds(seen.latencies)} |\n"


def milliseconds(found: Histogram) -> str:
    """The percentiles, as cells of a table."""
    shares = [found.percentile(share) for share in (0.5, 0.9, 0.99, 0.999)]
    return " | ".join(f"{seconds * 1e3:.0f}" for seconds in (*shares, found.longest))


def _section(seen: Seen) -> str:
    notes = "".join(f"- {note}\n" for note in seen.notes)
    return f"## {seen.plan.name}\n\n{seen.plan.about}.\n\n{judgements(seen.judged)}\n{notes}"


def judgements(judged: Sequence[Judged]) -> str:
    """A row a promise."""
    rows = "".join(f"| {one.promise} | {'held' if one.held else '**broken**'} | {one.figures} |\n" for one in judged)
    return f"| promise | | figures |\n|---|---|---|\n{rows}"
