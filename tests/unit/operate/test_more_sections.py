"""The promises of single sections, each of which can come out against us."""

import asyncio
import math
from collections import Counter

import pytest

from tests.operate import kept, strain, verdicts
from tests.operate.kept import Tried
from tests.operate.records import Call, Calls, TaskSeen
from tests.operate.sections import ALL
from tests.operate.verdicts import Executions


@pytest.mark.parametrize(
    ("tried", "ran", "held"),
    [
        ([Tried(call="a", first="good")], "a", [True, True]),
        ([Tried(call="a", first="ReadError", again="b", second="good")], "b", [True, True]),
        ([Tried(call="a", first="ReadError", again="b", second="good")], "ab", [False, True]),
        ([Tried(call="a", first="ReadError", again="b", second="ReadError")], "", [True, False]),
        ([], "", [False, False]),
    ],
)
def test_what_a_client_loses_must_not_have_run_and_one_repetition_be_enough(
    tried: list[Tried], ran: str, held: list[bool]
) -> None:
    assert [one.held for one in kept.judged("x", tried, Executions(begun=Counter(ran)))] == held


def test_a_session_that_was_spoiled_may_be_refused_and_not_fail() -> None:
    def session(told: str) -> Calls:
        found = Calls()
        found.add(Call(kind="session", id="a", due=0, over=1, seconds=0, verdict="failed", told=told))
        found.add(Call(kind="list", id="b", due=0, over=1, seconds=0, verdict="failed", told="500"))
        return found

    told = ("404 no session", "503 the store", "400 x", "500 x", "ServerDisconnectedError")
    assert [verdicts.spoiled(session(one), [])[0].held for one in told] == [True, True, True, False, False]
    assert [one.kind for one in session("404").but("session").all] == ["list"]


def test_a_task_whose_record_was_spoiled_has_its_own_end_or_none() -> None:
    def task(status: str, result: str) -> TaskSeen:
        found = TaskSeen(id="t", call="c")
        found.look(status, result)
        return found

    seen = [task("completed", '"done c"'), task("failed", ""), task("working", "")]
    assert verdicts.spoiled(Calls(), seen)[1].held
    assert not verdicts.spoiled(Calls(), [task("completed", '"done d"')])[1].held


def test_each_slow_client_must_have_been_sent_away_in_time() -> None:
    async def held(*took: float) -> bool:
        tasks = [asyncio.create_task(asyncio.sleep(0 if one < math.inf else 60, one)) for one in took]
        await asyncio.wait(tasks, timeout=0.01)
        found = strain.ended("x", tasks, 5.0)
        for task in tasks:
            task.cancel()
        return found.held

    assert [asyncio.run(held(*took)) for took in ((1, 5), (1, 6), (1, math.inf))] == [True, False, False]


def test_sections_are_told_apart() -> None:
    names = [one.name for one in ALL]
    assert len(set(names)) == len(names)
