"""What the workers of one server share: small values that expire, and messages to each other."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

from mcp_server.protocol import sealed

MAX_ENTRIES: Final = 200_000
MAX_BYTES: Final = 64 * 1024 * 1024
"""Of each kind."""
KEPT_BYTES: Final = 16 * 1024 * 1024
"""Of one principal and of each kind, on all workers together."""
OVERHEAD: Final = 256
"""Bytes that an entry is held to cost beside its value: many small ones are not free."""
SMALL: Final = 4096
ALONE_S: Final = 2.0
RETRY_S: Final = 0.01
RENEWED_BELOW: Final = 0.95
"""A life that is nearly whole is not renewed: most look-ups then write nothing."""

Receive = Callable[[bytes], None]


def owner_of(principal_key: str) -> str:
    """The name under which what a principal keeps is counted: a digest, for keys of a store are seen by many."""
    return sealed.digest(principal_key.encode())


class StoreUnavailable(Exception):
    """The shared store cannot be reached: what needs it can be tried again later."""


class StoreFull(StoreUnavailable):
    """There is no room for what must not be forgotten before its time."""


class StateBackend(Protocol):
    """A store with expiry and a bus; `worker` names this process, `distributed` whether others see the same.

    Every coroutine but `start` and `stop` raises `StoreUnavailable`.
    """

    worker: str
    distributed: bool

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

    async def delete(self, key: str) -> None:
        """Forget a value."""

    async def claim(self, key: str, ttl_s: float, token: str = "") -> bool:
        """Whether this is the first claim of the key within its time, on whatever worker."""

    async def release(self, key: str, token: str) -> None:
        """Let the key be claimed again, where it is still claimed with this token."""

    async def broadcast(self, message: bytes) -> None:
        """To every other worker."""

    async def send(self, worker: str, message: bytes) -> None:
        """To one other worker."""

    async def start(self, receive: Receive) -> None:
        """Begin to hear other workers."""

    async def stop(self) -> None:
        """Hear no more."""


def room_for(value: bytes, total: int) -> int:
    """What of a kind's room a value may use: large ones leave a quarter, so that something new can always begin."""
    return total if len(value) <= SMALL else total * 3 // 4


@asynccontextmanager
async def lock(backend: StateBackend, name: str) -> AsyncIterator[None]:
    """Of all workers one at a time, for a change of milliseconds; one that dies in it is waited for `ALONE_S`.

    Raises `StoreUnavailable` where the wait is longer than any such change could be.
    """
    key, token = f"alone:{name}", secrets.token_hex(8)
    for _ in range(int(2 * ALONE_S / RETRY_S)):
        if await backend.claim(key, ALONE_S, token):
            break
        await asyncio.sleep(RETRY_S)
    else:
        raise StoreUnavailable(f"{name} is being changed elsewhere")
    try:
        yield
    finally:
        await backend.release(key, token)  # a change that took too long lost its claim: another's must stand
