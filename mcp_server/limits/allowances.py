"""Allowances: the limits that one worker holds its callers to, all or none of a call's at once; pure, without I/O.

Alone it decides everything by itself. With a ledger it begins calls on credit, says what was used in batches, and has a
call wait only where the credit is used up: `begin` tells, `collect` and `apply` are the two halves of a settling.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from mcp_server.limits.accounts import LEASE_S, Account, QuotaAccount, RateAccount, SlotAccount
from mcp_server.limits.callers import is_stranger
from mcp_server.limits.ledger import Asked, Batch, Settled
from mcp_server.limits.rule import Limit, Scope

SLOT_LEASE_S: Final = 10.0
"""After so long without a word of its worker a slot is free again: it has died."""
AWAY_S: Final = 1.0
"""A store that did not answer is asked again after this; until then a worker keeps to its share."""
MAX_ACCOUNTS: Final = 10_000
"""Of callers with a token, and as many of those without."""
MAX_BATCH: Final = 500
_KEY_BYTES: Final = 16


class Wanted(NamedTuple):
    """A limit that a call is subject to. `scope` is whose it is, for metrics, `place` where and how it was stated.

    `subject` is whom it counts for, empty for all callers together; `cost` what the call counts in quotas, the same in
    all limits of a call.
    """

    limit: Limit
    scope: Scope
    place: str
    subject: str
    cost: int = 1


class Refusal(msgspec.Struct, frozen=True):
    """A limit that has no room, and the seconds until it may have."""

    limit: Limit
    scope: Scope
    wait_s: float
    cost: int = 1


class Counted(NamedTuple):
    """Where a call was counted, and of a quota in which period."""

    account: Account
    period: str


class Grant:
    """A call that may begin; `release` is said once, when it has ended, and `undo` before that if it never began."""

    __slots__ = ("_cost", "_counted", "_settles")

    def __init__(self, counted: Sequence[Counted], cost: int, settles: Callable[[Account], None]) -> None:
        """`settles` is told of accounts that may have something to settle."""
        self._counted, self._cost, self._settles = counted, cost, settles

    def release(self) -> None:
        """What runs at once is one less."""
        for account, _ in self._counted:
            account.end()
            self._settles(account)

    def undo(self) -> None:
        """It has not begun, for another reason than a limit: no quota has it."""
        for account, period in self._counted:
            account.undo(self._cost, period)
            self._settles(account)


NOTHING_HELD: Final = Grant((), 1, lambda _: None)
"""Of a call whose end matters to no limit, nor whether it began."""


class Ask:
    """A call that waits for the store's word; `answer` is given once, and of one that is `over` nobody wants it."""

    __slots__ = ("accounts", "answer", "cost", "over")

    def __init__(self, accounts: Sequence[Account], cost: int = 1) -> None:
        self.accounts, self.cost = accounts, cost
        self.answer: Grant | Refusal | None = None
        self.over = False


class Sent(NamedTuple):
    """A batch on its way, and what it is about."""

    batch: Batch
    accounts: Sequence[Account]
    asks: Sequence[Ask]


class Allowances:
    """The accounts of one worker, made as they are needed and forgotten when they have rested.

    `workers` is how many there are at least: one that has not reached the store yet would think itself the only one,
    and each of them let through the whole limit.
    """

    def __init__(
        self,
        *,
        shared: bool,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._shared, self._clock, self._wall = shared, clock, wall
        self._known: dict[str, Account] = {}
        self._strangers: dict[str, Account] = {}
        self._dirty: dict[Account, None] = {}
        self._slots: dict[SlotAccount, None] = {}
        self._asks: list[Ask] = []
        self._workers = self._least = workers
        self._away_until = float("-inf")
        self.changed: Callable[[float], None] = lambda _: None
        """Told in how many seconds there is something to settle."""
        self.alone: Callable[[], None] = lambda: None
        """Told of each call that is held to this worker's share."""

    @property
    def next_s(self) -> float | None:
        """In how many seconds there is something to settle; None where nothing is to be."""
        if left := max(self._away_until - self._clock(), 0.0):
            return left if self._asks or self._dirty or self._slots else None
        if self._asks:
            return 0.0
        if self._dirty:
            return LEASE_S
        return SLOT_LEASE_S / 3 if self._slots else None

    def begin(self, wanted: Sequence[Wanted]) -> Grant | Refusal | Ask:
        """Whether a call may begin: it counts against all of these limits, or against none."""
        now = self._clock()
        accounts, cost = [self._account(one, now) for one in wanted], _cost(wanted)
        if self._shared and now < self._away_until:
            return self._decide(accounts, now, self._workers, cost)
        for one in accounts:
            if not one.ready(now, cost):
                break
        else:
            return self._take(accounts, now, 0, cost)
        if (refused := _longest([one for one in accounts if one.alone], now, 0, cost)) is not None:
            return refused  # the store knows nothing of it, and would grant the others
        if not any(one.stale(now, cost) for one in accounts):  # else who waits as told would be refused once more
            refused = _longest([one for one in accounts if one.fresh(now)], now, 0, cost)
            if refused is not None:
                return refused
        ask = Ask(accounts, cost)
        self._asks.append(ask)
        self.changed(0.0)
        return ask

    def quick(self, name: str) -> bool:
        """`begin` for a call whose only limit is a rate that was asked for before; false is no answer."""
        account = self._known.get(name)
        if account is None:
            return False
        now = self._clock()
        if now < self._away_until or not account.ready(now):
            return False
        account.take(now)
        if account not in self._dirty:
            self._note(account)
        return True

    def decide_alone(self, ask: Ask) -> Grant | Refusal:
        """What becomes of a call for which the store had no word in time: it is held to this worker's share."""
        ask.over, now = True, self._clock()
        self._away_until = now + AWAY_S
        return self._decide(ask.accounts, now, self._workers, ask.cost)

    def behind(self, wanted: Sequence[Wanted]) -> Refusal | None:
        """The refusal that `begin` would give now, as far as is known; nothing is counted, and nothing remembered.

        Nobody is asked, so that a flood costs the store nothing; the wait that is told may be too long for that.
        """
        now = self._clock()
        known = [one for one in map(self._find, wanted) if one is not None and one.fresh(now)]
        return _refusal((one, one.longest(now, self._workers - 1)) for one in known)

    def stands(self, wanted: Sequence[Wanted]) -> list[tuple[Limit, int, float]]:
        """Of each limit what is left, and the seconds until that may be more."""
        now = self._clock()
        return [(one.limit, *self._account(one, now).stands(now)) for one in wanted]

    def collect(self) -> Sent | None:
        """What is to be settled now, and is on its way from here; None where there is nothing. Never two at once."""
        now = self._clock()
        asks, self._asks = [one for one in self._asks[:MAX_BATCH] if not one.over], self._asks[MAX_BATCH:]
        places: dict[Account, int] = {}
        for ask in asks:
            for account in ask.accounts:
                if not account.alone:
                    account.asked()
                    places.setdefault(account, len(places))
        for account in [one for one in self._slots if now - one.renewed > SLOT_LEASE_S / 3]:
            places.setdefault(account, len(places))
        for account in list(self._dirty):
            if len(places) >= MAX_BATCH:
                break
            places.setdefault(account, len(places))
        if not places:
            return None
        for account in places:
            self._dirty.pop(account, None)
        entries = [account.entry(now) for account in places]
        asked = [Asked(ask.cost, [places[one] for one in ask.accounts if not one.alone]) for ask in asks]
        return Sent(Batch(entries, asked), list(places), asks)

    def apply(self, sent: Sent, settled: Settled | None) -> None:
        """What the store said; None where it said nothing."""
        now = self._clock()
        if settled is None:
            self._lost(sent, now)
            return
        self._workers, self._away_until = max(settled.workers, self._least), float("-inf")
        for account, state in zip(sent.accounts, settled.states, strict=True):
            account.learn(state, now)
            if isinstance(account, SlotAccount) and not account.idle(now):
                self._slots[account] = None
        for ask, (wait, place) in zip(sent.asks, settled.answers, strict=True):
            if wait:
                account = sent.accounts[place]
                account.refused(now)
                ask.answer = Refusal(account.limit, account.scope, wait / 1e6, ask.cost)
            elif not ask.over:
                ask.answer = self._grant(ask, now)
            else:
                self._undo_shared(ask)
        self._tidy(sent.accounts, now)

    def abandon(self, ask: Ask) -> None:
        """Its client has gone before the call began: what it was granted already is given back."""
        ask.over = True
        if not isinstance(ask.answer, Grant):
            return
        ask.answer.release()
        ask.answer.undo()

    def give_back(self) -> Sent | None:
        """All that this worker holds, at its end."""
        for account in self._slots:
            account.peak = account.running
            self._dirty[account] = None
        return self.collect()

    def _grant(self, ask: Ask, now: float) -> Grant | Refusal:
        """Begin what the store has granted; other calls may have used up what is counted here alone meanwhile."""
        if (refused := _longest([one for one in ask.accounts if one.alone], now, 0, ask.cost)) is not None:
            self._undo_shared(ask)
            return refused
        for account in ask.accounts:
            if account.alone:
                account.take(now, 0, ask.cost)
            else:
                account.granted()
        return self._granted(ask.accounts, ask.cost, sent=True)

    def _undo_shared(self, ask: Ask) -> None:
        """What the store has granted does not begin; a slot that nobody uses goes back with the next settling."""
        for account in ask.accounts:
            if not account.alone:
                account.undo(ask.cost, account.counted_in(sent=True))

    def _lost(self, sent: Sent, now: float) -> None:
        self._away_until = now + AWAY_S
        for account in sent.accounts:
            account.lost()
        for ask in sent.asks:
            if not ask.over:
                ask.answer = self._decide(ask.accounts, now, self._workers, ask.cost)
        self._tidy(sent.accounts, now)

    def _tidy(self, accounts: Sequence[Account], now: float) -> None:
        """What was used, or came free, while it was on its way is settled the next time."""
        for account in accounts:
            if account.unsettled():
                self._dirty[account] = None
            if isinstance(account, SlotAccount) and account.idle(now):
                self._slots.pop(account, None)

    def _decide(self, accounts: Sequence[Account], now: float, shares: int, cost: int) -> Grant | Refusal:
        if any(not one.alone for one in accounts):
            self.alone()
        refused = _longest(accounts, now, shares, cost)
        return self._take(accounts, now, shares, cost) if refused is None else refused

    def _take(self, accounts: Sequence[Account], now: float, shares: int, cost: int) -> Grant:
        for account in accounts:
            if account.alone:
                account.take(now, 0, cost)
            else:
                account.take(now, shares, cost)
                self._note(account)
        return self._granted(accounts, cost, sent=False)

    def _granted(self, accounts: Sequence[Account], cost: int, *, sent: bool) -> Grant:
        for account in accounts:
            if account.holds:
                return Grant([Counted(one, one.counted_in(sent=sent)) for one in accounts], cost, self._settles)
        return NOTHING_HELD

    def _settles(self, account: Account) -> None:
        if account.unsettled():
            self._note(account)

    def _note(self, account: Account) -> None:
        """There is something to settle."""
        if not self._dirty:
            self.changed(LEASE_S)
        self._dirty[account] = None
        if account.holds and isinstance(account, SlotAccount):
            self._slots[account] = None

    def _find(self, one: Wanted) -> Account | None:
        accounts = self._strangers if is_stranger(one.subject) else self._known
        return accounts.get(_name(one))

    def _account(self, one: Wanted, now: float) -> Account:
        """The account of a limit and a subject; who calls last stands last."""
        stranger = is_stranger(one.subject)
        accounts = self._strangers if stranger else self._known
        name = _name(one)
        found = accounts.pop(name, None)
        if found is None:
            if len(accounts) >= MAX_ACCOUNTS:
                self._forget(accounts, now)
            found = self._make(one, name, alone=stranger or not self._shared)
        accounts[name] = found
        return found

    def _make(self, one: Wanted, name: str, *, alone: bool) -> Account:
        key = hashlib.sha256(name.encode()).digest()[:_KEY_BYTES].hex() if not alone else ""
        match one.limit.kind:
            case "rate":
                return RateAccount(one.limit, one.scope, key, alone=alone)
            case "at_once":
                return SlotAccount(one.limit, one.scope, key, alone=alone)
            case _:
                return QuotaAccount(one.limit, one.scope, key, self._wall, alone=alone)

    def _forget(self, accounts: dict[str, Account], now: float) -> None:
        """Those that have rested first, which changes nothing; then who called longest ago, but never what runs."""
        for name in [name for name, one in accounts.items() if one.idle(now)]:
            del accounts[name]
        if len(accounts) >= MAX_ACCOUNTS // 2:
            spare = [name for name, one in accounts.items() if not isinstance(one, SlotAccount) and not one.sent]
            for name in spare[: len(accounts) - MAX_ACCOUNTS // 2]:
                self._dirty.pop(accounts.pop(name), None)


def _name(one: Wanted) -> str:
    return f"{one.place}\n{one.subject}"


def _cost(wanted: Sequence[Wanted]) -> int:
    return wanted[0].cost if wanted else 1


def _longest(accounts: Sequence[Account], now: float, shares: int, cost: int) -> Refusal | None:
    """The refusal that names the longest wait; None where all have room."""
    return _refusal(((account, account.wait(now, 0 if account.alone else shares, cost)) for account in accounts), cost)


def _refusal(waits: Iterable[tuple[Account, float]], cost: int = 1) -> Refusal | None:
    longest: Refusal | None = None
    for account, wait in waits:
        if wait and (longest is None or wait > longest.wait_s):
            longest = Refusal(account.limit, account.scope, wait, cost)
    return longest
