"""Allowances of one worker: all limits of a call or none, quotas by the calendar, what is told; what is given back."""

from datetime import UTC, datetime

import pytest

from mcp_server.limits import allowances as module
from mcp_server.limits.allowances import Allowances, Ask, Grant, Refusal, Wanted
from mcp_server.limits.ledger import Settled
from mcp_server.limits.rule import read
from tests.kit.backends import Clock
from tests.kit.ledgers import Accounts


def wanted(*texts: str, subject: str = "p", cost: int = 1) -> list[Wanted]:
    return [Wanted(read(text), "tool", f"t\n{text}", subject, cost=cost) for text in texts]


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = datetime(2026, 11, 30, 23, 59, tzinfo=UTC).timestamp()
    return clock


def alone(clock: Clock) -> Allowances:
    return Allowances(shared=False, clock=clock, wall=clock)


def test_a_call_counts_against_all_of_its_limits_or_against_none(clock: Clock) -> None:
    found = alone(clock)
    many, few = "100/s burst 5", "1/m"
    assert isinstance(found.begin(wanted(many, few)), Grant)
    refused = [found.begin(wanted(many, few)) for _ in range(20)][-1]
    assert isinstance(refused, Refusal)
    assert (refused.limit.text, round(refused.wait_s)) == (few, 60)
    assert [left for _, left, _ in found.stands(wanted(many, few))] == [4, 0]
    assert found.behind(wanted(many)) is None
    assert found.behind(wanted(few)) == refused
    assert found.behind(wanted("7/s")) is None


def test_a_call_that_costs_more_counts_more_in_quotas_and_as_one_elsewhere(clock: Clock) -> None:
    found, limits = alone(clock), ("10/day", "9/s burst 9", "9 at once")
    assert [isinstance(found.begin(wanted(*limits, cost=4)), Grant) for _ in range(3)] == [True, True, False]
    assert [left for _, left, _ in found.stands(wanted(*limits))] == [2, 7, 7]
    refused = found.begin(wanted(*limits, cost=4))
    assert isinstance(refused, Refusal)
    assert (refused.limit.text, refused.cost, refused.wait_s) == ("10/day", 4, 60)
    last = found.begin(wanted("10/day", cost=2))
    assert isinstance(last, Grant)
    assert isinstance(found.begin(wanted("10/day", cost=2)), Refusal)
    last.undo()
    assert [left for _, left, _ in found.stands(wanted("10/day"))] == [2]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_what_never_began_is_given_back_to_its_day_or_to_none(clock: Clock, *, shared: bool, told: bool) -> None:
    """Also before the store has been told of it, and not to the next day's."""
    found, ten = Allowances(shared=shared, clock=clock, wall=clock), wanted("10/day")

    def settle(count: int) -> None:
        if (sent := found.collect()) is not None:
            found.apply(sent, Settled([count], [], 1))

    def left() -> int:
        [(_, count, _)] = found.stands(ten)
        return count

    first = found.begin(ten)
    assert isinstance(first, Grant)
    if told:
        settle(1)
    first.undo()
    assert left() == 10
    settle(0)
    assert left() == 10
    late = found.begin(ten)
    assert isinstance(late, Grant)
    if told:
        settle(1)
    clock.now += 60
    settle(0)
    assert isinstance(found.begin(ten), Grant)
    settle(1)
    late.undo()
    assert left() == 9


@pytest.mark.parametrize(("text", "seconds"), [("2/day", 60), ("2/month", 60)])
def test_a_quota_begins_anew_with_the_day_and_the_month(clock: Clock, text: str, seconds: int) -> None:
    found = alone(clock)
    assert [isinstance(found.begin(wanted(text)), Grant) for _ in range(3)] == [True, True, False]
    refused = found.behind(wanted(text))
    assert refused is not None
    assert refused.wait_s == seconds
    clock.now += seconds
    assert [isinstance(found.begin(wanted(text)), Grant) for _ in range(3)] == [True, True, False]
    again = found.behind(wanted(text))
    assert again is not None
    assert again.wait_s == (86_400 if "day" in text else 31 * 86_400)


@pytest.mark.parametrize("text", ["2/day", "2/month"])
@pytest.mark.parametrize("ahead_s", [86_400, 4 * 366 * 86_400])
def test_a_quota_follows_a_clock_that_was_ahead_and_is_set_right(clock: Clock, text: str, ahead_s: int) -> None:
    found = alone(clock)
    clock.now += ahead_s
    assert isinstance(found.begin(wanted(text)), Grant)
    clock.now -= ahead_s
    assert [isinstance(found.begin(wanted(text)), Grant) for _ in range(3)] == [True, True, False]
    refused = found.behind(wanted(text))
    assert refused is not None
    assert refused.wait_s <= 31 * 86_400


def test_what_has_ended_makes_room(clock: Clock) -> None:
    found = alone(clock)
    first, second = found.begin(wanted("1 at once")), found.begin(wanted("1 at once"))
    assert isinstance(first, Grant)
    assert isinstance(second, Refusal)
    first.release()
    assert [left for _, left, _ in found.stands(wanted("1 at once"))] == [1]
    assert isinstance(found.begin(wanted("1 at once")), Grant)


def test_who_is_remembered_is_bounded_and_strangers_push_no_one_out(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ACCOUNTS", 10)
    found = alone(clock)
    running = found.begin(wanted("1 at once"))
    assert isinstance(found.begin(wanted("1/day")), Grant)
    for number in range(100):
        found.begin(wanted("1/day", "1/m", "9 at once", subject=f"\n192.0.2.{number}"))
        assert len(found._strangers) <= 10 + 100  # slots in use stay, and are bounded by the calls that run
    assert sum(one.limit.kind != "at_once" for one in found._strangers.values()) <= 12
    assert isinstance(found.begin(wanted("1/day")), Refusal)
    for number in range(100):
        found.begin(wanted("5/s", subject=f"q{number}"))
        assert len(found._known) <= 11
    assert isinstance(found.begin(wanted("1 at once")), Refusal), "what runs is never forgotten"
    assert isinstance(running, Grant)
    clock.now += 86_400
    running.release()
    for number in range(10):
        found.begin(wanted("5/s", subject=f"r{number}"))
    assert isinstance(found.begin(wanted("1/day")), Grant)


def test_what_is_given_back_is_not_used_twice_while_the_store_learns_of_it(clock: Clock) -> None:
    """Of who hangs up on twenty calls, others wait with the next settling, which may have it, and more come meanwhile."""
    found, store = Allowances(shared=True, clock=clock, wall=clock), Accounts(clock)

    def twenty() -> list[Grant | Refusal | Ask]:
        return [found.begin(wanted("100/day", cost=5)) for _ in range(20)]

    gone, first = twenty(), found.collect()
    waiting = twenty()
    for one in gone:
        assert isinstance(one, Ask)
        found.abandon(one)
    assert first is not None
    found.apply(first, store.settle("w", first.batch))
    second = found.collect()
    coming = twenty()
    assert second is not None
    found.apply(second, store.settle("w", second.batch))
    answers = [one.answer if isinstance(one, Ask) else one for one in (*waiting, *coming)]
    assert sum(isinstance(one, Grant) for one in answers) == 20
