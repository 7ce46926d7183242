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

from mcp_server import settings
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


class Told(msgspec.Struct, kw_only=True):
    """What a parent tells: all settings as texts, when they were read, how often that failed, what is not in use.

    `number` says which of two is the later one, whatever a clock does.
    """

    texts: dict[str, str]
    read_at: float
    failed: int = 0
    stale: list[str] = msgspec.field(default_factory=list)
    number: int = 0

    def __repr__(self) -> str:
        return f"Told({sorted(self.texts)}, {self.failed})"


class Handover:
    """Both sides of it. `told` is what a worker begins with: a fork has the parent's memory, a spawn a copy."""

    def __init__(self, folder: Path, key: str, told: Told) -> None:
        self.told = told
        self._path, self._key = folder / "settings", key
        self._seen = 0

    def tell(self, told: Told) -> None:
        """Have all workers hear it; raises `OSError`, and then only those that begin from now on know it."""
        self.told = msgspec.structs.replace(told, number=self.told.number + 1)
        self.write()

    def write(self) -> None:
        """Write what was told last; raises `OSError`."""
        payload, nonce = msgspec.json.encode(self.told), os.urandom(NONCE_BYTES)
        sealed = self._keys().seal(payload, (), nonce=nonce, expires_at=_NEVER)
        if len(sealed) > MAX_SEALED:
            raise OSError("settings are too large to be handed to workers")
        beside = self._path.with_suffix(".new")
        beside.touch(0o600)
        beside.write_text(sealed, "ascii")
        beside.replace(self._path)

    def hear(self) -> bool:
        """Whether there is something new, which is `told` then; raises `OSError` and `InvalidSealedValue`.

        What is older than what this worker began with lies there where the parent had no room to write since.
        """
        try:
            written = self._path.stat().st_mtime_ns
        except FileNotFoundError:  # nothing has been told yet
            return False
        if written == self._seen:
            return False
        text = self._path.read_text("ascii")
        self._seen = written  # not before: where no descriptor was free, the next look reads it
        found = msgspec.json.decode(self._keys().open(text, (), now=0), type=Told)
        if found.number < self.told.number:
            return False
        self.told = found
        return True

    def _keys(self) -> SealingKeys:
        return SealingKeys([self._key.encode()], PURPOSE)


class Following:
    """A worker's side, in its loop: it looks each second, and takes over what is new."""

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
        if self._handover.hear() or again:
            self._taking = asyncio.get_running_loop().create_task(self._take())

    async def _take(self) -> None:
        try:
            await self._live.renew(settings.from_texts(self._handover.told.texts, self._presumed))
        except settings.SettingsError as error:  # the parent has judged them: another version of the code
            logger.error("settings of the parent cannot be used", problems=logged(error.problems))

    def _measure(self) -> None:
        told = self._handover.told
        stale = {*told.stale, *map(variable, self._live.stale)}
        metrics.settings_read(time.time() - told.read_at, told.failed, len(stale))
