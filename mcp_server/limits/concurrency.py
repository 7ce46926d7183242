"""Concurrency limiters: what one caller, and all together, may hold at once, counted in calls, threads or bytes."""

from collections.abc import Callable, Mapping
from typing import Final

from mcp_server.limits.callers import is_stranger

OF_ONE_ADDRESS: Final = 4
"""Callers without a token hold as much as one principal all together; of that an address has this fraction."""
_STRANGERS: Final = ""
"""What all of them hold is counted under this key."""


class ConcurrencyLimiter:
    """A counting semaphore that refuses instead of waiting, with a bound for each holder and one for all.

    `least` is what even a single address may hold, `whole` who may hold all there is. Who holds nothing takes no
    memory.
    """

    def __init__(self, each: int, total: int | None = None, *, least: int = 1, whole: str | None = None) -> None:
        self._each, self._total, self._whole = each, total, whole
        self._of_address = min(max(each // OF_ONE_ADDRESS, least), each)
        self._held: dict[str, int] = {}
        self._sum = 0

    def acquire(self, who: str, amount: int = 1) -> bool:
        """Whether there is room for so much more; then `release` must follow."""
        if not self.has_room(who, amount):
            return False
        self._change(who, amount)
        return True

    def has_room(self, who: str, amount: int = 1) -> bool:
        """Whether `acquire` would succeed now."""
        if self._total is not None and self._sum + amount > self._total:
            return False
        if who == self._whole:
            return True
        mine = self._held.get(who, 0) + amount
        if not is_stranger(who):
            return mine <= self._each
        return mine <= self._of_address and self._held.get(_STRANGERS, 0) + amount <= self._each

    @property
    def holders(self) -> Mapping[str, int]:
        """Who holds how much now; all callers without a token together stand under the empty key as well."""
        return self._held

    @property
    def total(self) -> int:
        """How much all together hold now."""
        return self._sum

    def most(self, who: str) -> int:
        """How much it may hold at once when nobody else holds anything."""
        return self._of_address if is_stranger(who) else self._each

    def release(self, who: str, amount: int = 1) -> None:
        """Give back what was acquired; raises `ValueError` for more than that."""
        if self._held.get(who, 0) < amount:
            raise ValueError("more is given back than was taken")
        self._change(who, -amount)

    def _change(self, who: str, amount: int) -> None:
        self._sum += amount
        for holder in (who, _STRANGERS) if is_stranger(who) else (who,):
            if held := self._held.get(holder, 0) + amount:
                self._held[holder] = held
            else:
                self._held.pop(holder, None)


class Place:
    """A call's slot in a concurrency limiter, given back when the call and each thread that works for it have ended.

    A client that hangs up ends the call, not the thread: given back then, the slot would let one caller begin thread
    after thread.
    """

    __slots__ = ("_holders", "_limiter", "began", "on_released", "who")

    def __init__(self, limiter: ConcurrencyLimiter, who: str) -> None:
        self._limiter, self.who = limiter, who
        self._holders = 1
        self.began = False
        """Whether an author's code has begun for the call: one that never did is in no quota."""
        self.on_released: Callable[[], None] | None = None
        """Called with the last release: what the call holds beside its slot."""

    def hold(self) -> None:
        """One more works for the call."""
        self._holders += 1

    def release(self) -> None:
        """One has ended; the last one gives the slot back."""
        self._holders -= 1
        if not self._holders:
            self._limiter.release(self.who)
            if self.on_released is not None:
                self.on_released()
