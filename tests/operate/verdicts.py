"""What must have held: pure functions of what was seen, of the tally of executions and of the audit."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.operate.records import Calls, Streams, TaskSeen

BEGUN: Final = "begun"
SHOWN: Final = 6


class Judged(msgspec.Struct, frozen=True):
    """One promise: what it is, whether it held, the figures."""

    promise: str
    held: bool
    figures: str


class Executions(msgspec.Struct):
    """How often each call's handler began and ended, by the file that the tools write."""

    begun: Counter[str] = msgspec.field(default_factory=Counter)
    ended: Counter[str] = msgspec.field(default_factory=Counter)
    workers: dict[str, str] = {}

    @classmethod
    def read(cls, file: Path) -> "Executions":
        """Of a section's file; a line that a kill has cut is none."""
        found = cls(workers={})
        for line in file.read_text().splitlines() if file.exists() else ():
            call, what, pid = line.split()
            (found.begun if what == BEGUN else found.ended)[call] += 1
            found.workers[call] = pid
        return found


class Audited(msgspec.Struct):
    """The audit's lines by trace id: of calls that were answered, of tasks that have run, of calls that have begun."""

    calls: Counter[str] = msgspec.field(default_factory=Counter)
    tasks: Counter[str] = msgspec.field(default_factory=Counter)
    begun: Counter[str] = msgspec.field(default_factory=Counter)
    lines: int = 0
    torn: int = 0

    @classmethod
    def read(cls, folder: Path) -> "Audited":
        """Of all servers of a section, rotated files among them."""
        found = cls()
        for path in folder.glob("audit*.jsonl*"):
            for line in path.read_bytes().splitlines():
                try:
                    found.add(msgspec.json.decode(line))
                except msgspec.DecodeError:
                    found.torn += 1
        return found

    def add(self, line: Mapping[str, Any]) -> None:
        """Count a line."""
        self.lines += 1
        trace_id = line.get("trace_id", "")
        if BEGUN in (line.get("reason"), line.get("decision"), line.get("phase")):
            self.begun[trace_id] += 1
        elif line.get("method") == "task":
            self.tasks[trace_id] += 1
        elif line.get("method") == "tools/call":
            self.calls[trace_id] += 1


def calls_good(calls: Calls, may_wait: frozenset[str], killed: frozenset[str] = frozenset(), spare: int = 0) -> Judged:
    """No good call failed; `may_wait` are kinds that a fault of the store allows a plain "not now".

    `killed` are calls whose handler ran in a worker that was killed, `spare` how many others may be lost.
    """
    failed = calls.of("failed") + [one for one in calls.of("not_now") if one.kind not in may_wait]
    lost = [one for one in failed if one.id not in killed]
    waited = len(calls.of("not_now"))
    what = f"{len(calls.all)} calls, {len(calls.of('good'))} good, {waited} told not now, {len(lost)} failed"
    if killed:
        what += f", {len(failed) - len(lost)} ended with the worker that ran them"
    faults = Counter(f"{one.kind} due at {one.due:.1f} s, over at {one.over:.1f} s: {one.told}" for one in lost)
    promise = f"at most {spare} calls lost" if spare else "no good call failed"
    return Judged(promise, len(lost) <= spare, what + _shown(faults))


def nothing_ran_that_was_refused(calls: Calls, ran: Executions) -> Judged:
    """Who was told not now may come back: nothing of the call had run."""
    both = [one.id for one in calls.of("not_now") if one.id in ran.begun]
    return Judged(
        'nothing ran of what was told "not now"', not both, f"{len(calls.of('not_now'))} told, {len(both)} ran"
    )


def listeners_whole(seen: Streams, deaf: int) -> tuple[Judged, Judged]:
    """Each stream ended with its last frame, and a change at the end reached all that were open."""
    figures = f"{seen.opened} streams, {seen.whole} ended whole, {seen.broken} cut, {seen.not_now} refused for now"
    whole = Judged("every listener saw its last frame", not seen.broken, figures + _shown(seen.faults))
    return whole, Judged("a change at the end reached every open listener", not deaf, f"{deaf} did not hear")


def executions_audited(
    ran: Executions, audited: Audited, tasks: Iterable[str], killed: frozenset[str], *, spare: int = 0
) -> Judged:
    """Each execution has its line and none has two; of one that was killed the line that it began will do.

    `spare` is how many lines may be missing: kills end what was gathered and not yet written.
    """
    of_tasks = frozenset(tasks)
    missing, twice, again = [], [], [call for call, times in ran.begun.items() if times > 1 and call not in killed]
    for call in ran.begun:
        lines = audited.tasks[call] if call in of_tasks else audited.calls[call]
        if lines > 1 and call not in killed:
            twice.append(call)
        if lines == 0 and call not in killed:
            missing.append(call)
    figures = f"{len(ran.begun)} executions, {audited.lines} lines, {len(missing)} missing, {len(twice)} twice"
    figures += f", {len(again)} ran twice, {audited.torn} torn lines"
    promise = "every execution has its audit line, none has two"
    if spare:
        promise += f" (up to {spare} may be missing)"
    return Judged(promise, len(missing) <= spare and not (twice or again or audited.torn), figures)


def killed_visible(ran: Executions, audited: Audited, killed: frozenset[str]) -> str:
    """Of executions that a kill ended, how many the audit knows."""
    there = [call for call in killed if call in ran.begun]
    known = [call for call in there if audited.begun[call] or audited.calls[call] or audited.tasks[call]]
    return f"of {len(there)} executions that a kill ended the audit knows {len(known)}"


def tasks_stay(seen: Sequence[TaskSeen], faults: Counter[str], *, all_complete: bool) -> tuple[Judged, Judged]:
    """No terminal state changes; every task came to one, where nobody was killed with its result."""
    flips = [flip for one in seen for flip in one.flips]
    looks = sum(one.looks for one in seen)
    stay = Judged("no terminal state changes", not flips, f"{len(seen)} tasks, {looks} looks{_shown(Counter(flips))}")
    ends = Counter(one.lost or one.ended or "never ended" for one in seen)
    fine = not faults and (set(ends) <= {"completed"} if all_complete else set(ends) <= {"completed", "failed"})
    promise = "every task completed" if all_complete else "every task came to an end"
    return stay, Judged(promise, fine, f"{_listed(ends)}{_shown(faults)}")


def spoiled(calls: Calls, tasks: Sequence[TaskSeen]) -> tuple[Judged, Judged]:
    """Of what was spoiled in the store: a call in such a session is refused and no fault of ours, a task has no other's
    end."""
    told = Counter(one.told for one in calls.all if one.kind == "session" and one.verdict != "good")
    faults = {what: count for what, count in told.items() if not what.startswith(("400", "404", "503"))}
    figures = f"{len([one for one in calls.all if one.kind == 'session'])} calls, {told.total()} refused{_shown(told)}"
    sessions = Judged("a session that was spoiled is refused, as a client's fault or for now", not faults, figures)
    ends = Counter(one.lost or one.ended or "never ended" for one in tasks)
    others = [one for one in tasks if one.ended == "completed" and f"done {one.call}" not in one.result]
    whose = Judged("no task has another's end", not others, f"{len(tasks)} tasks: {_listed(ends)}")
    return sessions, whose


def exits_right(stops: Sequence[tuple[int, float]], bound_s: float) -> Judged:
    """Each stop by a signal ends with 0, within the time that operators are told."""
    wrong = [code for code, _ in stops if code != 0]
    longest = max((seconds for _, seconds in stops), default=0.0)
    figures = (
        f"{len(stops)} stops, codes {sorted({code for code, _ in stops})}, longest {longest:.1f} s of {bound_s:.0f}"
    )
    return Judged("exit codes right, in time", not wrong and longest <= bound_s, figures)


def killed_calls(ran: Executions) -> frozenset[str]:
    """Calls whose handler began and was never seen to end."""
    return frozenset(call for call in ran.begun if not ran.ended[call])


def grouped(calls: Calls, width_s: float = 5.0) -> dict[int, Counter[str]]:
    """Verdicts by the time that they fell due, for who looks for what a fault did."""
    found: dict[int, Counter[str]] = defaultdict(Counter)
    for one in calls.all:
        found[int(one.due // width_s)][one.verdict] += 1
    return found


def _shown(faults: Counter[str]) -> str:
    return f" ({_listed(faults)})" if faults else ""


def _listed(counted: Counter[str]) -> str:
    named = ", ".join(f"{count} {what}" for what, count in counted.most_common(SHOWN))
    return named + (", ..." if len(counted) > SHOWN else "")
