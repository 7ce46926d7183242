"""The port by which workers count limits together: what each has used is settled, and what it asks for is granted."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol


class Entry(NamedTuple):
    """What one worker has to say of one account: `used` since it last did; of slots, how many it holds now.

    Of a quota that is less than none where calls that were counted never began.
    Of a rate `bound` is its tolerance and `step` what a call costs, both in microseconds; else `bound` is the count, of
    a quota `step` the milliseconds that its period still lasts. `key` tells nobody who it is about.
    """

    kind: Literal["rate", "quota", "slots"]
    key: str
    used: int
    bound: float
    step: float = 0.0


class Asked(NamedTuple):
    """A call that waits: what it counts in quotas, and the entries, by their places, that all must have room for it."""

    cost: int
    places: Sequence[int]


class Batch(NamedTuple):
    """Entries, and calls that wait."""

    entries: Sequence[Entry]
    asks: Sequence[Asked]


class Settled(NamedTuple):
    """How the accounts stand, and what becomes of the calls: zero microseconds, or how long which entry has no room.

    Of a rate the state is the microseconds that are paid for already, of a quota what is used, of slots what this
    worker holds. `workers` is how many have settled lately, this one among them.
    """

    states: Sequence[int]
    answers: Sequence[tuple[int, int]]
    workers: int


class Ledger(Protocol):
    """Where the accounts of all workers are."""

    async def settle(self, batch: Batch) -> Settled | None:
        """Count what was used and grant what is asked, in one step; None where the store cannot be reached."""
