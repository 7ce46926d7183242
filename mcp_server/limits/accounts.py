"""Accounts: what one worker knows of one limit for one subject, and what it has used of it without asking anybody.

A worker that shares its limits begins calls on credit, a lease of `credit` calls, and settles them a moment later; what
is settled is charged in full. So the workers together let through what the limit allows, and one credit each.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from mcp_server.limits.ledger import Entry
from mcp_server.limits.rule import Limit, Scope

LEASE_S: Final = 0.05
"""A credit is what a limit allows in this time, one call at least."""
FRESH_S: Final = 0.05
"""A refusal may be taken from what was learned of the store so lately; else it is asked."""
SLOT_RETRY_S: Final = 1.0
_EPSILON: Final = 1e-6
"""Sums of fractions are not exact: a microsecond is no reason to refuse."""
_DAY_S: Final = 86_400


class _Told:
    """What an account is told of a call, where that matters to it: to most kinds it does not."""

    __slots__ = ()

    def asked(self) -> None:
        """A call asks the store for one more, with the next entry."""

    def granted(self) -> None:
        """A call that the store was asked about begins: it is in what was learned."""

    def refused(self, now: float) -> None:
        """The store had no room for a call: so says what was learned."""

    def end(self) -> None:
        """A call has ended."""

    def counted_in(self, *, sent: bool) -> str:
        """The period in which a call is counted that begins now, or by the store's answer to what was `sent`."""
        return ""

    def undo(self, cost: int, period: str) -> None:
        """A call that was counted never began: its client had gone. A rate counts it all the same, as an attempt."""


class Account(_Told, ABC):
    """One limit for one subject. `alone` is one that no other worker is asked about.

    `used` is what is to be settled, `sent` what is on its way.
    """

    holds = False
    """Whether a call's end matters to it, or that one never began."""
    __slots__ = ("alone", "credit", "key", "limit", "scope", "seen", "sent", "used")

    def __init__(self, limit: Limit, scope: Scope, key: str, *, alone: bool) -> None:
        self.limit, self.scope, self.key, self.alone = limit, scope, key, alone
        self.used = self.sent = 0
        self.seen = float("-inf")
        self.credit = 1

    @abstractmethod
    def wait(self, now: float, shares: int = 0, cost: int = 1) -> float:
        """The seconds until one call more may begin, as far as is known here; `cost` is what it counts in quotas.

        Where the store is away this worker has one of so many `shares`; 0 is where it is not.
        """

    @abstractmethod
    def take(self, now: float, shares: int = 0, cost: int = 1) -> None:
        """One call begins."""

    @abstractmethod
    def entry(self, now: float) -> Entry:
        """What there is to settle, which is on its way from now on."""

    @abstractmethod
    def learn(self, state: int, now: float) -> None:
        """How the account stands in the store, with all that was sent."""

    def lost(self) -> None:
        """What was sent did not arrive, or its answer did not: nobody knows."""
        self.sent = 0

    @abstractmethod
    def idle(self, now: float) -> bool:
        """Whether it can be forgotten and made anew without anybody noticing."""

    def unsettled(self) -> bool:
        """Whether there is something to settle."""
        return self.used != 0

    @abstractmethod
    def stands(self, now: float) -> tuple[int, float]:
        """How many calls could begin now, and the seconds until that may be more."""

    def fresh(self, now: float) -> bool:
        """Whether what is known is new enough to refuse by."""
        return self.alone or now - self.seen < FRESH_S

    def ready(self, now: float, cost: int = 1) -> bool:
        """Whether a call may begin without more ado."""
        return self.on_credit(cost) and not self.wait(now, cost=cost)

    def stale(self, now: float, cost: int = 1) -> bool:
        """Whether a wait that is told now could be too short, so that the store is to be asked."""
        return not self.alone and not (self.fresh(now) and self.wait(now, cost=cost))

    def longest(self, now: float, others: int) -> float:
        """`wait`, as long as it can be with what so many other workers may have begun since the store was heard."""
        return self.wait(now)

    def on_credit(self, cost: int = 1) -> bool:
        """Whether a call may begin before the store is told."""
        return self.alone or self.used + self.sent < self.credit


class RateAccount(Account):
    """A rate by the generic cell rate algorithm: `paid` is until when calls are paid for, by this process's clock."""

    __slots__ = ("paid",)

    def __init__(self, limit: Limit, scope: Scope, key: str, *, alone: bool) -> None:
        super().__init__(limit, scope, key, alone=alone)
        self.credit = max(1, int(LEASE_S / limit.step_s))
        self.paid = float("-inf")

    def wait(self, now: float, shares: int = 0, cost: int = 1) -> float:
        """Beyond the tolerance each call waits until enough is paid off."""
        wait = self.paid - now - self.limit.tolerance_s
        return wait if wait > _EPSILON else 0.0

    def ready(self, now: float, cost: int = 1) -> bool:
        """In one step: nearly every call comes here, and no further."""
        return self.paid - now - self.limit.tolerance_s <= _EPSILON and (
            self.alone or self.used + self.sent < self.credit
        )

    def stale(self, now: float, cost: int = 1) -> bool:
        """Even what was heard just now: another worker may have settled a credit since, and the wait is longer."""
        return not self.alone

    def longest(self, now: float, others: int) -> float:
        """What is full here lets no more begin elsewhere but on credit, once for each worker."""
        wait = self.wait(now)
        return wait + others * self.credit * self.limit.step_s if wait and not self.alone else wait

    def take(self, now: float, shares: int = 0, cost: int = 1) -> None:
        """It costs a step; where the others cannot be asked, as many as there are workers."""
        self.paid = max(self.paid, now) + self.limit.step_s * max(shares, 1)
        if not self.alone:
            self.used += 1

    def entry(self, now: float) -> Entry:
        """What was used."""
        self.sent, self.used = self.used, 0
        return Entry("rate", self.key, self.sent, self.limit.tolerance_s * 1e6, step=self.limit.step_s * 1e6)

    def learn(self, state: int, now: float) -> None:
        """What is used since it was sent comes on top."""
        self.paid, self.sent, self.seen = now + state / 1e6 + self.used * self.limit.step_s, 0, now

    def lost(self) -> None:
        """What was used is paid for here, as a share; charged again later, it would be paid for twice."""
        self.used = self.sent = 0

    def idle(self, now: float) -> bool:
        """It has rested."""
        return self.paid <= now and not self.used + self.sent

    def stands(self, now: float) -> tuple[int, float]:
        """What the tolerance has left; all of it once what is paid for has passed."""
        ahead = max(self.paid - now, 0.0)
        left = (self.limit.tolerance_s - ahead) / self.limit.step_s + 1 + _EPSILON
        return max(int(left), 0), ahead


class QuotaAccount(Account):
    """A quota: a count that begins anew with each day or month of UTC, by the wall clock."""

    holds = True
    __slots__ = ("_begins", "_ends", "_period", "_sent_of", "_wall", "count")

    def __init__(self, limit: Limit, scope: Scope, key: str, wall: Callable[[], float], *, alone: bool) -> None:
        super().__init__(limit, scope, key, alone=alone)
        seconds = _DAY_S if limit.kind == "day" else 30 * _DAY_S
        self.credit = max(1, int(LEASE_S * limit.count / seconds))
        self._wall, self._period, self.count = wall, "", 0
        self._begins, self._ends = float("inf"), float("-inf")
        self._sent_of = ""

    def _turn(self) -> float:
        """The seconds that the period still lasts; a new one begins where the last is over."""
        now = self._wall()
        if not self._begins <= now < self._ends:  # a clock that was ahead and is set right turns it back, too
            day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            if self.limit.kind == "day":
                self._period, self._ends = day.strftime("%Y-%m-%d"), day.timestamp() + _DAY_S
            else:
                year, month = divmod(day.year * 12 + day.month, 12)
                self._period = day.strftime("%Y-%m")
                self._ends = day.replace(year=year, month=month + 1, day=1).timestamp()
                day = day.replace(day=1)
            self._begins = day.timestamp()
            self.count = self.used = self.sent = 0
        return self._ends - now

    def wait(self, now: float, shares: int = 0, cost: int = 1) -> float:
        """Until the period is over, once all is used."""
        left = self._turn()
        used = self.used * max(shares, 1) if self.used > 0 else self.used  # what is given back is no share
        return 0.0 if self.count + self._sent + used + cost <= self.limit.count else left

    def on_credit(self, cost: int = 1) -> bool:
        """A call that costs more than the credit asks: of those that take a whole quota each worker let one through."""
        return self.alone or self.used + self._sent + cost <= self.credit

    @property
    def _sent(self) -> int:
        """What is on its way as used. What is given back is the store's from then on, which may grant it to others."""
        return max(self.sent, 0)

    def take(self, now: float, shares: int = 0, cost: int = 1) -> None:
        """So much is used."""
        self._turn()
        if self.alone:
            self.count += cost
        else:
            self.used += cost

    def entry(self, now: float) -> Entry:
        """The period is part of the key: what is late counts where it belongs, or nowhere."""
        left = self._turn()
        self.sent, self.used, self._sent_of = self.used, 0, self._period
        return Entry("quota", f"{self.key}:{self._period}", self.sent, self.limit.count, step=left * 1000)

    def learn(self, state: int, now: float) -> None:
        """What all have used, unless the period that it was asked of is over."""
        self._turn()
        self.sent = 0
        if self._sent_of == self._period:
            self.count, self.seen = state, now

    def lost(self) -> None:
        """It is sent again: a quota is rather counted twice for one call than not at all, or given back twice."""
        self.used += self._sent
        self.sent = 0

    def counted_in(self, *, sent: bool) -> str:
        """Its day or month."""
        return self._sent_of if sent and not self.alone else self._period

    def undo(self, cost: int, period: str) -> None:
        """It is given back, to the period that it was counted in or to none."""
        self._turn()
        if period != self._period:
            return
        if self.alone:
            self.count = max(self.count - cost, 0)
        else:
            self.used -= cost

    def idle(self, now: float) -> bool:
        """The store has the count; without one, it is kept until the period is over."""
        self._turn()
        return not self.used and not self.sent and (not self.alone or not self.count)

    def stands(self, now: float) -> tuple[int, float]:
        """What is left of the period."""
        left = self._turn()
        return max(self.limit.count - self.count - self._sent - self.used, 0), left


class SlotAccount(Account):
    """A number at once: `held` slots are this worker's, by a lease that ends with it; `running` are in use.

    A slot that has just come free is kept until the next settling: calls one after the other ask once. `seen` is when
    the store last refused one.
    """

    holds = True
    __slots__ = ("held", "peak", "renewed", "running")

    def __init__(self, limit: Limit, scope: Scope, key: str, *, alone: bool) -> None:
        super().__init__(limit, scope, key, alone=alone)
        self.running = self.held = self.peak = 0
        self.renewed = float("-inf")

    def wait(self, now: float, shares: int = 0, cost: int = 1) -> float:
        """Nobody knows when a call ends: a moment."""
        if shares:  # of the workers each has a part, and one at least
            return 0.0 if not self.running or (self.running + 1) * shares <= self.limit.count else SLOT_RETRY_S
        free = self.running < self.limit.count if self.alone else self.running < self.held or not self.fresh(now)
        return 0.0 if free else SLOT_RETRY_S

    def fresh(self, now: float) -> bool:
        """Nobody need be asked where this worker alone runs as many."""
        return self.running >= self.limit.count or super().fresh(now)

    def stale(self, now: float, cost: int = 1) -> bool:
        """Nobody knows when a call ends, the store neither."""
        return False

    def on_credit(self, cost: int = 1) -> bool:
        """There is none: what is not held may be another's."""
        return self.alone or self.running < self.held

    def take(self, now: float, shares: int = 0, cost: int = 1) -> None:
        """It is in use."""
        self.granted()

    def granted(self) -> None:
        """It is in use."""
        self.running += 1
        self.peak = max(self.peak, self.running)

    def refused(self, now: float) -> None:
        """All slots are taken."""
        self.seen = now

    def end(self) -> None:
        """It is not in use."""
        self.running -= 1

    def asked(self) -> None:
        """What is kept free here would be in its way: it is given back, and granted again in the same step."""
        self.peak = self.running

    def entry(self, now: float) -> Entry:
        """What it needs, and holds from here on: what is given back is used no more before the store has agreed."""
        self.held, self.peak, self.renewed = max(self.peak, self.running), self.running, now
        return Entry("slots", self.key, self.held, self.limit.count)

    def learn(self, state: int, now: float) -> None:
        """What it holds, with what was asked for."""
        self.held = state

    def idle(self, now: float) -> bool:
        """Nothing runs, and nothing is held."""
        return not self.running and not self.held

    def unsettled(self) -> bool:
        """Whether it holds another number than it needs."""
        return not self.alone and self.held != self.running

    def stands(self, now: float) -> tuple[int, float]:
        """What is known to be free."""
        return max(self.limit.count - max(self.running, self.held), 0), SLOT_RETRY_S
