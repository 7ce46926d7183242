"""The state backend: what the workers of one server share. Small values that expire, claims, and messages."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from mcp_server.protocol import sealed

if TYPE_CHECKING:
    from mcp_server.store.jobs.queue import JobQueue

MAX_ENTRIES: Final = 200_000
MAX_BYTES: Final = 64 * 1024 * 1024
"""Of each kind."""
KEPT_BYTES: Final = 16 * 1024 * 1024
"""Of one principal and of each kind, on all workers together."""
OVERHEAD: Final = 256
"""Bytes that an entry is held to cost beside its value: many small ones are not free."""
SMALL: Final = 4096
RENEWED_BELOW: Final = 0.95
"""A life that is nearly whole is not renewed: most look-ups then write nothing."""
LOCKS: Final = "lock"
"""The kind of claims that are locks: single-use claims, which are never pushed out, leave them room of their own."""

Receive = Callable[[bytes], None]
EVERYBODY: Final = ""
Message = tuple[str, bytes]
"""The worker that it is for, or `EVERYBODY`, and its bytes."""
GAP: Final = b""
"""What is received where messages may have been lost: whoever follows events reads anew what they would have told."""


def owner_of(principal_key: str) -> str:
    """The name under which what a principal keeps is counted: a digest, for keys of a store are seen by many."""
    return sealed.digest(principal_key.encode())


class StoreUnavailable(Exception):
    """The shared store cannot be reached: what needs it can be tried again later."""


class StoreFull(StoreUnavailable):
    """There is no room for what must not be forgotten before its time."""


class VersionConflict(Exception):
    """Somebody else has written the value since it was read: optimistic concurrency control."""


class StateBackend(Protocol):
    """A store with expiry and a bus; `worker` names this process, `distributed` whether others see the same.

    `jobs` are what outlives the worker that took it. Every coroutine but `start` and `stop` raises `StoreUnavailable`.
    """

    worker: str
    distributed: bool
    jobs: "JobQueue"

    async def get(self, key: str, renew_s: float | None = None) -> bytes | None:
        """The value, its life renewed when asked; None when there is none any more."""

    async def set(self, key: str, value: bytes, ttl_s: float, owner: str = "") -> None:
        """Keep a value for so many seconds; `owner` is whose it is, where memory is short."""

    async def keep(self, key: str, value: bytes, ttl_s: float, *, owner: str, limit: int, charge: int) -> bool:
        """Keep a value unless its owner would keep more than `limit` bytes of its kind; whether it is kept.

        `charge` is what it adds: less than its length where an older value of the key is replaced. Raises `StoreFull`
        where all owners together keep too much.
        """

    async def held(self, kind: str, owner: str) -> int:
        """The bytes of a kind that an owner keeps."""

    async def delete(self, key: str) -> bool:
        """Forget a value; whether there was one."""

    async def claim(self, key: str, ttl_s: float, token: str = "", owner: str = "") -> bool:
        """Whether this is the first claim of the key within its time, on whatever worker.

        A claim is never forgotten before its time: raises `StoreFull` where there is no room for one more.
        """

    async def extend(self, key: str, token: str, ttl_s: float) -> bool:
        """Whether the claim is still this token's; if so it is good for so much longer."""

    async def release(self, key: str, token: str) -> None:
        """Let the key be claimed again, where it is still claimed with this token."""

    async def remember(self, name: str, value: bytes, until: float, limit: int) -> None:
        """Add to a set of values, each of which is there until its time (seconds since the epoch); the same once.

        Beyond `limit` those go whose time is over first.
        """

    async def remembered(self, name: str) -> list[bytes]:
        """The set's values whose time is not over."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """To other workers, in this order."""

    async def start(self, receive: Receive) -> None:
        """Begin to hear other workers; `receive` is given `GAP` where messages may have been lost."""

    async def stop(self) -> None:
        """Hear no more."""


@runtime_checkable
class Readdressed(Protocol):
    """A backend whose address, with the password in it, can be another one while it is used."""

    async def renew(self, url: str) -> None:
        """Use it from now on; raises `StoreUnavailable`, and stays as it is, where it cannot be used."""


def room_for(value: bytes, total: int) -> int:
    """What of a kind's room a value may use: large ones leave a quarter, so that something new can always begin."""
    return total if len(value) <= SMALL else total * 3 // 4
