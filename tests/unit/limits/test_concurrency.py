"""The concurrency limiter, and a call's slot in it."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mcp_server.limits import callers
from mcp_server.limits.concurrency import ConcurrencyLimiter, Place

ALICE, BOB = "https://issuer.example\nalice", "https://issuer.example\nbob"
NEAR, NEIGHBOUR, FAR = (callers.key(None, f"192.0.2.{host}") for host in (1, 2, 3))


def test_what_is_given_back_can_be_taken_again_and_is_never_more_than_was_taken() -> None:
    limiter = ConcurrencyLimiter(2)
    assert [limiter.acquire(ALICE) for _ in range(3)] == [True, True, False]
    assert limiter.acquire(BOB)
    limiter.release(ALICE)
    assert limiter.acquire(ALICE)
    for who in (ALICE, ALICE, BOB):
        limiter.release(who)
    assert not limiter.holders
    with pytest.raises(ValueError, match="given back"):
        limiter.release(ALICE)
    assert limiter.acquire(NEAR)
    with pytest.raises(ValueError, match="given back"):
        limiter.release(NEAR, 2)


def test_one_address_does_not_take_all_that_strangers_have_nor_strangers_what_principals_have() -> None:
    limiter = ConcurrencyLimiter(8, 16)
    assert [limiter.acquire(NEAR) for _ in range(3)] == [True, True, False]
    assert limiter.acquire(NEIGHBOUR)
    for host in range(4, 250):
        limiter.acquire(callers.key(None, f"192.0.2.{host}"))
    assert not limiter.acquire(FAR)
    assert [limiter.acquire(ALICE) for _ in range(9)] == [True] * 8 + [False]
    assert not limiter.acquire(BOB)


@pytest.mark.parametrize(("each", "least", "has"), [(16, 1, 4), (3, 1, 1), (16, 6, 6), (4, 9, 4)])
def test_an_address_has_a_quarter_and_at_least_what_one_request_needs(each: int, least: int, has: int) -> None:
    limiter = ConcurrencyLimiter(each, least=least)
    assert limiter.has_room(NEAR, has)
    assert not limiter.has_room(NEAR, has + 1)


def test_a_slot_is_given_back_by_the_last_who_works_for_its_call() -> None:
    limiter = ConcurrencyLimiter(1)
    assert limiter.acquire(ALICE)
    place = Place(limiter, ALICE)
    place.hold()
    place.release()
    assert not limiter.has_room(ALICE)
    place.release()
    assert limiter.has_room(ALICE)


class Accounting(RuleBasedStateMachine):
    """Whatever is taken and given back, in whatever order: each bound holds and nothing is lost."""

    EACH, TOTAL, LEAST = 12, 30, 4
    WHO = (ALICE, BOB, "https://issuer.example\ncarol", NEAR, NEIGHBOUR, FAR)

    def __init__(self) -> None:
        super().__init__()
        self.limiter = ConcurrencyLimiter(self.EACH, self.TOTAL, least=self.LEAST)
        self.taken: list[tuple[str, int]] = []

    def held(self, *whose: str) -> int:
        return sum(amount for who, amount in self.taken if who in whose)

    @rule(who=st.sampled_from(WHO), amount=st.integers(0, 13))
    def take(self, who: str, amount: int) -> None:
        bounds = [self.held(who) + amount <= (self.LEAST if callers.is_stranger(who) else self.EACH)]
        bounds.append(self.held(*self.WHO) + amount <= self.TOTAL)
        if callers.is_stranger(who):
            bounds.append(self.held(NEAR, NEIGHBOUR, FAR) + amount <= self.EACH)
        assert self.limiter.has_room(who, amount) is all(bounds)
        assert self.limiter.acquire(who, amount) is all(bounds)
        if all(bounds):
            self.taken.append((who, amount))

    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        if self.taken:
            self.limiter.release(*self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1))))

    @rule(who=st.sampled_from(WHO))
    def give_too_much(self, who: str) -> None:
        with pytest.raises(ValueError, match="given back"):
            self.limiter.release(who, self.held(who) + 1)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.limiter.total == self.held(*self.WHO)
        assert all(amount > 0 for amount in self.limiter.holders.values())

    def teardown(self) -> None:
        for who, amount in self.taken:
            self.limiter.release(who, amount)
        assert not self.limiter.holders


TestAccounting = Accounting.TestCase
TestAccounting.settings = settings(max_examples=60, deadline=None)
