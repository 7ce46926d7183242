"""Reading settings anew while workers serve: at SIGHUP, when a file has changed, and when managers are due.

The parent of the workers does it, for all of them at once, and hands on what changed. Secret managers are asked by a
process of its own, for the parent must see a signal and a worker that hangs at any moment.
"""

import contextlib
import math
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from mcp_server import settings
from mcp_server.cli.serving import graceful
from mcp_server.cli.serving.handover import Handover, SettingsSnapshot
from mcp_server.observe.log import logger
from mcp_server.observe.sampling import Lasting
from mcp_server.secrets.fetch import DEADLINE_S
from mcp_server.settings import Found, Settings, live
from mcp_server.settings.report import logged, variable

WATCH_S: Final = 5.0
"""Files are looked at so often: Kubernetes swaps a folder at once, an agent writes one file after the other."""
JITTER: Final = 0.1
"""A tenth more or less, so that the servers of a fleet do not ask a manager all at the same time."""
AGAIN_S: Final = 30.0
"""After a reading that failed, where the next one would be later: a change of a file meanwhile waits for it, too. And
after there was no room to tell workers of one."""
SPARE_S: Final = 5.0
"""Beyond the deadline of the fetch, for a process to begin and to end."""
OF_PARENT: Final = frozenset(
    {"host", "port", "reuse_port", "workers", "admin_host", "admin_port", "max_token_bytes", "max_streams"}
    | {"log_format", "log_level", "secrets_refresh_s"}
)
"""What the parent itself has used, or what is made before there are workers."""


class Reread(NamedTuple):
    """What was read, and whether workers have to be replaced for it."""

    settings: Settings
    replaces: bool


class Reading(Protocol):
    """Somebody who reads all settings, managers among them."""

    def done(self, now: float) -> Found | None:
        """What was read; None while it is not over."""

    def stop(self) -> None:
        """Never mind."""


class Renewal:
    """The parent's side. `begin` begins a reading of managers."""

    def __init__(
        self,
        found: Found,
        presumed: Mapping[str, str],
        handover: Handover,
        *,
        begin: "Callable[[float], Reading] | None" = None,
        read: Callable[[], Found] = lambda: settings.read(asks=False),
    ) -> None:
        """`presumed` is what workers presume, so that what nobody has stated is the same to both."""
        self._presumed, self._handover = presumed, handover
        self._begin, self._read = begin or ReadingProcess, read
        self._current = self._first = settings.validate(found, presumed).settings
        self._local = read().texts
        self._reading: Reading | None = None
        self._asked = self._answers = False
        """Whether an operator has asked for a reading that has not begun, and whether the one that has is theirs."""
        self._stood = self._current
        """What stood when they did."""
        self._watch_at, self._refresh_at, self._retry_at = 0.0, math.inf, math.inf
        self._failed = 0
        self._failing, self._unheard = Lasting(), Lasting()
        """Of readings, and of telling workers."""

    def look(self, now: float, *, asked: bool) -> Reread | None:
        """Do what is due, and say what came of it; `asked` is an operator's word to read everything."""
        if asked and not self._asked:
            self._asked, self._stood = True, self._current
        if now >= self._retry_at:
            self._attempt(now, self._handover.write)
        try:
            return self._look(now)
        except OSError as error:  # no process, no descriptor: the next look may have them
            self._failed += 1
            if self._failing.tells(error.errno):
                logger.error(
                    "settings cannot be read anew", reason=error.strerror or str(error), times=self._failing.times
                )
            return None

    def stop(self) -> None:
        """Wait for nothing any more."""
        if self._reading is not None:
            self._reading.stop()

    def _look(self, now: float) -> Reread | None:
        if self._reading is not None:
            found = self._reading.done(now)
            if found is None:
                return None
            self._reading = None
        else:
            if self._refresh_at == math.inf:
                self._refresh_at = now + self._pause()
            found = self._due(now)
        return None if found is None else self._taken(found, now)

    def _due(self, now: float) -> Found | None:
        """What files say by now, where something is to be done; with managers, a reading has begun instead."""
        if not (self._asked or now >= self._watch_at or now >= self._refresh_at):
            return None
        self._watch_at = now + WATCH_S
        local = self._read()
        if not self._asked and now < self._refresh_at and local.texts == self._local:
            return None
        self._local = local.texts
        managed = "MCP_SECRETS" in local.texts
        if managed:
            self._refresh_at = now + self._pause()
            self._reading = self._begin(now)
        # A reading that has begun before somebody asks may have been over at what they have changed.
        self._answers, self._asked = self._asked, False
        if managed:
            return None
        self._refresh_at = math.inf
        return local

    def _pause(self) -> float:
        if not self._current.sources.secrets:
            return math.inf
        return self._current.sources.secrets_refresh_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret

    def _taken(self, found: Found, now: float) -> Reread | None:
        validated = settings.validate(found, self._presumed)
        if validated.problems:
            self._failed += 1
            self._refresh_at = min(self._refresh_at, now + AGAIN_S)
            if self._failing.tells(tuple(validated.problems), asked=self._answers):
                logger.error(
                    "the settings cannot be used; the workers stay as they are",
                    problems=logged(validated.problems),
                    times=self._failing.times,
                )
            self._publish(msgspec.structs.replace(self._handover.current, failed=self._failed), now)
            return None
        if times := self._failing.over():
            logger.info("settings can be read again", failed=times)
        before, self._current = self._current, validated.settings
        if self._refresh_at == math.inf:
            self._refresh_at = now + self._pause()
        kept = sorted(map(variable, live.changed(self._first, validated.settings) & OF_PARENT))
        self._publish(SettingsSnapshot(texts=found.texts, read_at=time.time(), failed=self._failed, stale=kept), now)
        if self._answers:
            return Reread(validated.settings, replaces=self._replaces(kept))
        if rest := sorted(map(variable, live.needs_start(before, validated.settings))):
            text = "settings have changed that are in use only after SIGHUP, or a new start of the server"
            logger.warning(text, settings=rest)
        return Reread(validated.settings, replaces=False)

    def _replaces(self, kept: list[str]) -> bool:
        """Whether an operator wants new workers: not where nothing but what workers take over has changed."""
        if kept:
            logger.warning("settings have changed that are in use only after a new start of the server", settings=kept)
        unchanged = not live.changed(self._stood, self._current)
        return unchanged or bool(live.needs_start(self._stood, self._current))

    def _publish(self, snapshot: SettingsSnapshot, now: float) -> None:
        self._attempt(now, lambda: self._handover.publish(snapshot))

    def _attempt(self, now: float, write: Callable[[], None]) -> None:
        """Tell the workers, again and again until there is room for it; those that begin meanwhile know it already."""
        try:
            write()
            self._retry_at = math.inf
            self._unheard.over()
        except OSError as error:
            self._failed += 1
            self._retry_at = now + AGAIN_S
            if self._unheard.tells(error.errno):
                logger.error("workers cannot be told of settings yet", reason=error.strerror or str(error))


class ReadingProcess:
    """A process that reads all settings once, and tells them by a pipe."""

    def __init__(self, now: float) -> None:
        self._until = now + DEADLINE_S + SPARE_S
        method = "fork" if multiprocessing.get_start_method() == "fork" else "spawn"
        context: Any = multiprocessing.get_context(method)
        self._pipe, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_read, args=(theirs, os.getpid()), daemon=True, name="settings")
        self._process.start()
        theirs.close()

    def done(self, now: float) -> Found | None:
        """What was read; a problem where nothing comes in time."""
        if self._pipe.poll():
            found = self._received()
        elif now >= self._until:
            found = _nothing("was not over in its time")
        else:
            return None
        self.stop()
        return found

    def stop(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _received(self) -> Found:
        try:
            texts, problems, unread = msgspec.json.decode(
                self._pipe.recv_bytes(), type=tuple[dict[str, str], list[str], list[str]]
            )
        except (EOFError, OSError, msgspec.MsgspecError):
            return _nothing("ended without a word")
        return Found(texts, problems, frozenset(unread), frozenset())


def _nothing(why: str) -> Found:
    return Found({}, [f"MCP_SECRETS: the process that reads settings {why}"], frozenset(settings.names()), frozenset())


def _read(pipe: Connection, parent: int) -> None:
    """In a process of its own: with the parent's environment, and nothing that its workers need."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for one in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        signal.signal(one, signal.SIG_IGN)
    graceful.end_with_parent(parent)
    found = settings.read()
    with contextlib.suppress(OSError):
        pipe.send_bytes(msgspec.json.encode((found.texts, found.problems, sorted(found.unread))))
