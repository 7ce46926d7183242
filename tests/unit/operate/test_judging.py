"""What `make operate` judges by: its figures, and verdicts that can come out against us."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from tests.operate import verdicts
from tests.operate.figures import Histogram, settled, slope
from tests.operate.records import LATE_S, Call, Calls, Streams, TaskSeen
from tests.operate.soak import level
from tests.operate.verdicts import Audited, Executions


def call(name: str, verdict: str = "good", *, over: float = 1.0, kind: str = "list") -> Call:
    fields = {"kind": kind, "id": name, "due": 0.0, "over": over, "seconds": 0.5, "verdict": verdict, "told": "503"}
    return msgspec.convert(fields, Call)


def calls(*all_of_them: Call) -> Calls:
    found = Calls()
    for one in all_of_them:
        found.add(one)
    return found


def test_a_percentile_is_right_to_two_per_cent() -> None:
    found = Histogram()
    assert found.percentile(0.5) == 0
    for milliseconds in range(1, 1001):
        found.add(milliseconds / 1000)
    for share in (0.01, 0.5, 0.9, 0.99):
        assert found.percentile(share) == pytest.approx(share, rel=0.021)
    assert found.percentile(1) == found.longest == 1


def test_a_slope_is_that_of_most_points() -> None:
    line = [(float(at), 3.0 * at) for at in range(1000)]
    line[500] = (500.0, 1e9)
    assert slope(line) == pytest.approx(3)
    assert slope(line[:1]) == slope([]) == 0
    assert settled(line)[0] == line[200]


@pytest.mark.parametrize(("per_point", "is_level"), [(0.0, True), (0.001, True), (0.5, False), (-0.5, True)])
def test_what_grows_beyond_its_noise_is_not_level(per_point: float, is_level: bool) -> None:
    points = [(float(at), 100 + per_point * at + at % 3 * 0.1) for at in range(200)]
    assert level("x", points, 0.05).held is is_level


def test_a_late_answer_is_no_good_one_and_a_driver_that_lags_hides_nothing() -> None:
    seen = calls(call("a"), call("b", over=LATE_S + 1))
    assert seen.all[0].beyond == 0.5
    assert [one.id for one in seen.of("failed")] == ["b"]
    assert seen.latencies().count == 1
    assert seen.faults() == Counter({"list: later than 20 s": 1})


def test_who_is_told_to_wait_may_be_so_only_where_that_was_said() -> None:
    seen = calls(call("a"), call("b", "not_now", kind="session"))
    assert not verdicts.calls_good(seen, frozenset()).held
    assert verdicts.calls_good(seen, frozenset({"session"})).held
    assert verdicts.nothing_ran_that_was_refused(seen, Executions()).held
    assert not verdicts.nothing_ran_that_was_refused(seen, Executions(begun=Counter("b"))).held


def test_a_kill_costs_what_ran_there_and_no_more_than_was_said() -> None:
    seen = calls(call("a", "failed"), call("b", "failed"), call("c", "failed"))
    killed = verdicts.killed_calls(Executions(begun=Counter("abd"), ended=Counter("d")))
    assert killed == {"a", "b"}
    assert [verdicts.calls_good(seen, frozenset(), killed, spare).held for spare in (0, 1)] == [False, True]


def test_each_execution_has_one_line(tmp_path: Path) -> None:
    (tmp_path / "tally").write_text("a begun 1\na ended 1\nt begun 1\nt ended 1\n")
    line = {"method": "tools/call", "decision": "allow"}
    audit = [line | {"trace_id": "a"}, line | {"trace_id": "t"}, line | {"trace_id": "a", "reason": "begun"}]
    done = line | {"method": "task", "trace_id": "t"}
    ran = Executions.read(tmp_path / "tally")

    def held(*more: dict[str, str]) -> bool:
        (tmp_path / "audit-0.jsonl.1").write_bytes(b"\n".join(map(msgspec.json.encode, [*audit, *more])))
        return verdicts.executions_audited(ran, Audited.read(tmp_path), ["t"], frozenset()).held

    assert [held(done), held(), held(done, line | {"trace_id": "a"})] == [True, False, False]
    assert verdicts.executions_audited(ran, Audited(), ["t"], frozenset("at")).held
    (tmp_path / "audit-0.jsonl.1").write_bytes(b'{"half')
    assert Audited.read(tmp_path).torn == 1
    assert not verdicts.executions_audited(Executions(begun=Counter({"a": 2})), Audited(), [], frozenset()).held


def test_a_task_that_has_ended_stays_so() -> None:
    task = TaskSeen(id="t", call="c")
    for status, result in (("working", ""), ("completed", "1"), ("completed", "1")):
        task.look(status, result)
    assert [one.held for one in verdicts.tasks_stay([task], Counter(), all_complete=True)] == [True, True]
    task.look("failed", "1")
    assert not verdicts.tasks_stay([task], Counter(), all_complete=False)[0].held
    assert not verdicts.tasks_stay([], Counter({"look: 500": 1}), all_complete=True)[1].held
    unended = TaskSeen(id="u", call="d")
    assert not verdicts.tasks_stay([unended], Counter(), all_complete=False)[1].held


def test_streams_and_exits_are_judged() -> None:
    assert [one.held for one in verdicts.listeners_whole(Streams(opened=1, whole=1), 0)] == [True, True]
    assert [one.held for one in verdicts.listeners_whole(Streams(opened=1, broken=1), 1)] == [False, False]
    assert [verdicts.exits_right([(code, seconds)], 5).held for code, seconds in ((0, 4), (1, 4), (0, 6))] == [
        True,
        False,
        False,
    ]
