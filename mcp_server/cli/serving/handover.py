"""Handing settings to workers: one that begins has them from its parent's memory, one that runs by a sealed file.

The file lies in the private folder of the server; the key that it is sealed with has never been outside of the memory
of parent and workers, so who reads the disk, a backup or the environment of a process has nothing.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from mcp_server import atomic_file, settings
from mcp_server.observe import metrics
from mcp_server.observe.log import logger
from mcp_server.protocol.sealed import MAX_SEALED, NONCE_BYTES, SealingKeys
from mcp_server.settings.live import LiveSettings
from mcp_server.settings.report import logged, variable

PURPOSE: Final = "settings of workers"
LOOK_S: Final = 1.0
AGAIN_LOOKS: Final = 5
"""What could not be taken over is tried again after so many looks."""
_NEVER: Final = 1 << 40


class SettingsSnapshot(msgspec.Struct, kw_only=True):
    """Settings as a parent hands them over: as texts, when they were read, how often that failed, what is not in use.

    `number` says which of two is the later one, whatever a clock does.
    """

    texts: dict[str, str]
    read_at: float
    failed: int = 0
    stale: list[str] = msgspec.field(default_factory=list)
    number: int = 0

    def __repr__(self) -> str:
        return f"SettingsSnapshot({sorted(self.texts)}, {self.failed})"


class Handover:
    """Both sides of it. `current` is what a worker begins with: a fork has the parent's memory, a spawn a copy."""

    def __init__(self, folder: Path, key: str, current: SettingsSnapshot) -> None:
        self.current = current
        self._path, self._key = folder / "settings", key
        self._seen = 0

    def publish(self, snapshot: SettingsSnapshot) -> None:
        """Publish settings to all workers; raises `OSError`, and then only those that begin from now on know them."""
        self.current = msgspec.structs.replace(snapshot, number=self.current.number + 1)
        self.write()

    def write(self) -> None:
        """Write what was published last; raises `OSError`."""
        payload, nonce = msgspec.json.encode(self.current), os.urandom(NONCE_BYTES)
        sealed = self._keys().seal(payload, (), nonce=nonce, expires_at=_NEVER)
        if len(sealed) > MAX_SEALED:
            raise OSError("settings are too large to be handed to workers")
        atomic_file.write(self._path, sealed.encode("ascii"))

    def poll(self) -> bool:
        """Poll for newer settings, which are `current` then; raises `OSError` and `InvalidSealedValue`.

        What is older than what this worker began with lies there where the parent had no room to write since.
        """
        try:
            written = self._path.stat().st_mtime_ns
        except FileNotFoundError:  # nothing has been published yet
            return False
        if written == self._seen:
            return False
        text = self._path.read_text("ascii")
        self._seen = written  # not before: where no descriptor was free, the next look reads it
        found = msgspec.json.decode(self._keys().open(text, (), now=0), type=SettingsSnapshot)
        if found.number < self.current.number:
            return False
        self.current = found
        return True

    def _keys(self) -> SealingKeys:
        return SealingKeys([self._key.encode()], PURPOSE)


class SettingsFollower:
    """Settings follower, a worker's side in its loop: it looks each second, and takes over what is new."""

    def __init__(self, handover: Handover, live: LiveSettings, presumed: Mapping[str, str]) -> None:
        self._handover, self._live, self._presumed = handover, live, presumed
        self._looks = 0
        self._taking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look, and again each second, in the running loop."""
        asyncio.get_running_loop().call_later(LOOK_S, self.start)  # first: whatever fails, the next look comes
        self._looks += 1
        self._measure()
        if self._taking is not None and not self._taking.done():
            return
        again = self._live.pending and self._looks % AGAIN_LOOKS == 0
        if self._handover.poll() or again:
            self._taking = asyncio.get_running_loop().create_task(self._take())

    async def _take(self) -> None:
        try:
            await self._live.renew(settings.from_texts(self._handover.current.texts, self._presumed))
        except settings.SettingsError as error:  # the parent has validated them: another version of the code
            logger.error("settings of the parent cannot be used", problems=logged(error.problems))

    def _measure(self) -> None:
        current = self._handover.current
        stale = {*current.stale, *map(variable, self._live.stale)}
        metrics.settings_read(time.time() - current.read_at, current.failed, len(stale))
