"""The job queue port: work that outlives its worker, each with a record, and a lease for whoever runs it.

A record and its place in the queue change in one step: what is recorded as to be run is in the queue, what has ended is
not. Who runs a job holds a lease on it and renews it; a lease that is not renewed, or is given up, is claimed by
another worker. That one writes the next fencing number into the record's version, and a late worker's write, which
still names the version of before, is refused.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

import msgspec

from mcp_server.store.backend import OVERHEAD, StoreFull, VersionConflict
from mcp_server.store.expiring_map import ExpiringMap

VERSION: Final = 16
"""Characters before a record's text, new at each write: what a later write says that it replaces."""
NOBODY: Final = ""
Then = Literal["keep", "run", "free", "park", "end"]
"""What becomes of a job with a write: nothing, it is leased to the writer, free to be claimed, waiting, over."""
Persistence = Literal["kept", "lost", "unknown"]


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One write of a record. `replaces` is the version that must stand, empty where none may; it raises otherwise.

    `ttl_s` is for the first write, later ones keep the end that the record has. With `charge` so many bytes more are
    counted for the owner, who may keep `limit`. `job` is what another worker needs to run it.
    """

    id: str
    record: bytes
    replaces: str
    then: Then
    owner: str
    limit: int
    charge: int = 0
    ttl_s: float | None = None
    job: bytes = b""


class Job(msgspec.Struct, frozen=True):
    """What is kept to run a job, and for how many seconds its record is kept yet, by the store's own clock."""

    data: bytes
    left_s: float


class JobQueue(Protocol):
    """Every coroutine raises `StoreUnavailable`. A lease is held by the worker that this object is for."""

    async def write(self, move: Move) -> bool:
        """One step; whether it fits into its owner's bound. The same move may be said again: it is done once.

        Raises `VersionConflict`, also where the record is gone, and `StoreFull`.
        """

    async def job(self, job_id: str) -> Job | None:
        """What is kept to run it."""

    async def renew(self, job_ids: Sequence[str]) -> set[str]:
        """Hold these leases from now on anew; returns those that this worker holds no more."""

    async def claim(self, idle_s: float, most: int) -> list[str]:
        """Lease jobs that are free, or whose lease was not renewed for so long; of two workers one gets each."""

    async def withdraw(self, silent_s: float) -> bool:
        """Claim no more; whether another worker has looked for something to claim within so many seconds."""

    async def postpone(self, job_id: str) -> None:
        """Give up a lease; the job can be claimed when one would have run out."""

    async def drop(self, job_id: str) -> None:
        """Take a job out of the queue, of which there is nothing to run."""

    async def leave(self) -> None:
        """Forget the name of this worker, which ends, unless it holds leases yet."""

    async def persistence(self) -> Persistence:
        """Whether what is queued outlives a restart of the store."""


Lease = tuple[str, float]
"""Who holds it, and since when."""


class InMemoryJobs:
    """The queue in memory; `leases` and `seen` may be shared by what stands for several workers."""

    def __init__(
        self,
        worker: str,
        room: Callable[[str], ExpiringMap],
        clock: Callable[[], float],
        leases: dict[str, Lease],
        seen: dict[str, float],
    ) -> None:
        self._worker, self._room, self._clock, self._leases, self._seen = worker, room, clock, leases, seen

    async def write(self, move: Move) -> bool:
        """One step: nothing is awaited in it."""
        room, key = self._room("task:"), _record(move.id)
        stands = (room.get(key, None) or b"")[:VERSION]
        if stands == move.record[:VERSION]:
            return True
        if stands.decode() != move.replaces:
            raise VersionConflict(move.id)
        if not self._fits(room, move):
            return False
        left = room.left(key) if move.ttl_s is None else move.ttl_s
        if move.job:
            room.set(_job(move.id), move.job, left, move.owner)
        try:
            room.set(key, move.record, left, move.owner)
        except StoreFull:
            if not move.replaces:
                room.drop(_job(move.id))
            raise
        self._then(move)
        return True

    def _then(self, move: Move) -> None:
        match move.then:
            case "run":
                self._leases[move.id] = self._worker, self._clock()
            case "free":
                self._leases[move.id] = NOBODY, float("-inf")
            case "park":
                self._leases.pop(move.id, None)
            case "end":
                self._leases.pop(move.id, None)
                self._room("task:").drop(_job(move.id))

    def _fits(self, room: ExpiringMap, move: Move) -> bool:
        """Counted exactly here, whatever was charged."""
        if not move.charge:
            return True
        more = len(move.record) + OVERHEAD + (len(move.job) + OVERHEAD if move.job and not move.replaces else 0)
        for _ in range(2):
            if room.held(move.owner, without=_record(move.id)) + more <= move.limit:
                return True
            room.sweep()
        return False

    async def job(self, job_id: str) -> Job | None:
        """What is kept to run it."""
        room = self._room("task:")
        data = room.get(_job(job_id), None)
        return None if data is None else Job(data, room.left(_job(job_id)))

    async def renew(self, job_ids: Sequence[str]) -> set[str]:
        """Hold these leases anew."""
        lost = {one for one in job_ids if self._leases.get(one, (NOBODY, 0.0))[0] != self._worker}
        self._leases.update({one: (self._worker, self._clock()) for one in job_ids if one not in lost})
        return lost

    async def claim(self, idle_s: float, most: int) -> list[str]:
        """Lease what is free."""
        room, now = self._room("task:"), self._clock()
        self._seen[self._worker] = now
        idle = [one for one, (_, since) in self._leases.items() if now - since >= idle_s]
        found: list[str] = []
        for one in idle:
            if len(found) == most:
                break
            if room.get(_job(one), None) is None:
                del self._leases[one]
            else:
                self._leases[one] = self._worker, now
                found.append(one)
        return found

    async def withdraw(self, silent_s: float) -> bool:
        """Whether somebody else has claimed lately."""
        self._seen.pop(self._worker, None)
        return any(self._clock() - seen <= silent_s for seen in self._seen.values())

    async def postpone(self, job_id: str) -> None:
        """Not now."""
        if self._leases.get(job_id, (NOBODY, 0.0))[0] == self._worker:
            self._leases[job_id] = NOBODY, self._clock()

    async def drop(self, job_id: str) -> None:
        """Nothing to run."""
        self._room("task:").drop(_job(job_id))
        self._leases.pop(job_id, None)

    async def leave(self) -> None:
        """There is nobody else."""

    async def persistence(self) -> Persistence:
        """All ends with the process, which nobody takes for a surprise."""
        return "kept"


def _record(job_id: str) -> str:
    return f"task:{job_id}"


def _job(job_id: str) -> str:
    return f"task:{job_id}:job"
