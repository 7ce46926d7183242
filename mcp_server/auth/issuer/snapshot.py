"""Key snapshots: what an issuer last published, kept beyond the process, so that a worker can start without it.

Without one, a worker that begins while the issuer is away refuses everybody, though the one before it would have served
on for `stale_s`: a crash, a deploy or a reschedule made a short absence an outage.
"""

import asyncio
import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from mcp_server import atomic_file
from mcp_server.auth.issuer.discovery import IssuerMetadata
from mcp_server.auth.policy import IssuerPolicy
from mcp_server.observe.log import logger
from mcp_server.protocol.sealed import MAX_SEALED, NONCE_BYTES, InvalidSealedValue, SealingKeys
from mcp_server.store.backend import StateBackend, StoreUnavailable

PURPOSE: Final = "issuer keys"
_NO_WAIT: Final[int] = getattr(os, "O_NONBLOCK", 0)
MAX_DOCUMENT: Final = MAX_SEALED // 2
"""Bytes of a key set that is kept; a hundred keys with their certificates are no more."""


class Snapshot(msgspec.Struct, frozen=True):
    """Metadata as it was parsed, the key set as it was published, and when both were read (seconds since the epoch)."""

    metadata: IssuerMetadata
    keys: msgspec.Raw
    read_at: float


class SnapshotStore(Protocol):
    """Snapshot store (a port): where snapshots are kept; nothing there is believed that we did not seal."""

    async def load(self, name: str) -> bytes | None:
        """What is kept under a name; raises `OSError` or `StoreUnavailable`."""

    async def save(self, name: str, sealed: bytes, ttl_s: float) -> None:
        """Keep it; raises `OSError` or `StoreUnavailable`."""


class BackendSnapshotStore:
    """Snapshot store in the state backend, which workers and machines share."""

    def __init__(self, backend: StateBackend) -> None:
        self._backend = backend

    async def load(self, name: str) -> bytes | None:
        """What is kept under a name."""
        return await self._backend.get(f"keys:{name}")

    async def save(self, name: str, sealed: bytes, ttl_s: float) -> None:
        """Keep it."""
        await self._backend.set(f"keys:{name}", sealed, ttl_s)


class FolderSnapshotStore:
    """Snapshot store in a folder of this machine; files are readable for their owner alone, and replaced whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def load(self, name: str) -> bytes | None:
        """What is kept under a name."""
        with contextlib.suppress(FileNotFoundError):
            return await asyncio.to_thread(self._read, name)
        return None

    async def save(self, name: str, sealed: bytes, _: float) -> None:
        """Keep it."""
        await asyncio.to_thread(self._write, name, sealed)

    def _read(self, name: str) -> bytes:
        """What a file holds; raises `OSError` for a pipe or a device, of which no thread would ever see the end."""
        with open(self._folder / name, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError("it is no file")
            return file.read(MAX_SEALED + 1)

    def _write(self, name: str, sealed: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_file.write(self._folder / name, sealed)


class Snapshots:
    """What is kept of each issuer, sealed: whoever can write to a store or a disk must not name the keys we trust."""

    def __init__(
        self, secrets: Sequence[bytes], places: Sequence[SnapshotStore], clock: Callable[[], float] = time.time
    ) -> None:
        self._sealing, self._places, self._clock = SealingKeys(secrets, PURPOSE), places, clock

    def renew(self, secrets: Sequence[bytes]) -> None:
        """Seal and open with others from now on."""
        self._sealing.renew(secrets)

    async def newest(self, policy: IssuerPolicy) -> Snapshot | None:
        """The newest that can be opened and is not older than it may be."""
        loaded = await asyncio.gather(*(place.load(_name(policy)) for place in self._places), return_exceptions=True)
        opened = [self._open(one, policy) for one in loaded if isinstance(one, bytes)]
        for one in loaded:
            if isinstance(one, BaseException):
                logger.warning("an issuer's keys cannot be recalled", issuer=policy.issuer, reason=str(one))
        return max((one for one in opened if one is not None), key=lambda one: one.read_at, default=None)

    async def keep(self, policy: IssuerPolicy, snapshot: Snapshot, stale_s: float) -> None:
        """Keep it wherever that is possible."""
        if len(snapshot.keys) > MAX_DOCUMENT:
            logger.warning("an issuer's keys are too large to be kept", issuer=policy.issuer, bytes=len(snapshot.keys))
            return
        payload, until = msgspec.json.encode(snapshot), snapshot.read_at + stale_s
        sealed = self._sealing.seal(payload, _bound(policy), nonce=os.urandom(NONCE_BYTES), expires_at=until).encode()
        for place in self._places:
            try:
                await place.save(_name(policy), sealed, stale_s)
            except (OSError, StoreUnavailable) as error:
                logger.warning("an issuer's keys cannot be kept", issuer=policy.issuer, reason=str(error))

    def _open(self, sealed: bytes, policy: IssuerPolicy) -> Snapshot | None:
        try:
            payload = self._sealing.open(sealed.decode("ascii", "replace"), _bound(policy), now=self._clock())
            return msgspec.json.decode(payload, type=Snapshot)
        except (InvalidSealedValue, msgspec.DecodeError):  # of other sealing keys, another version, or another's words
            return None


def _at_once(path: str, flags: int) -> int:
    """Open without waiting: a pipe without a writer would hold the thread for ever, and the process at its end."""
    return os.open(path, flags | _NO_WAIT)


def _bound(policy: IssuerPolicy) -> tuple[str, ...]:
    """Addresses in it were judged by where the issuer is reached from here."""
    return policy.issuer, policy.fetch_url or ""


def _name(policy: IssuerPolicy) -> str:
    return hashlib.sha256("\n".join(_bound(policy)).encode()).hexdigest()[:32]
