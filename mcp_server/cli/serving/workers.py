"""The parent of the workers: granian's, which also replaces one that hangs, and goes on where one crashes.

What is waited for is looked at again and again, and nothing is waited for alone: while an old worker drains, a new one
may crash, and a signal may come.
"""

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from granian import net
from granian.server.mp import MPServer, WorkerProcess

from mcp_server.cli.serving.heartbeat import BEAT_S, Watch
from mcp_server.observe import metrics
from mcp_server.observe.log import logger

LOOK_S: Final = 0.2
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 15.0
"""Between the crash of a worker and its next start, where it crashes again and again."""
STEADY_S: Final = 30.0
"""A worker that ran so long before it crashed begins with the first pause again."""
BEGIN_S: Final = 60.0
"""How long a new worker may take to begin before an old one is kept in its place."""
TRIES: Final = 2
"""Starts that may fail where no worker has ever come up: then it is the configuration."""


class WorkerTimes(msgspec.Struct, frozen=True):
    """Seconds: after a signal to stop a worker is killed at last, and one that hangs for so long is; 0 never."""

    kill_s: int = 39
    hung_s: float = 0


Renew = Callable[[float, bool], WorkerTimes | None]
"""Asked at each look, and told of a SIGHUP: the times of workers that replace these; None where all stay."""


class Workers(MPServer):
    """Granian's processes, looked after by a loop of our own.

    Granian's ends the whole server when a worker dies twice within 5.5 seconds, so that one poisonous request, sent
    twice, would; it waits for one worker at a time; and its handlers of signals take a lock that they may hold already.
    """

    def __init__(self, *args: Any, beats: Path, times: WorkerTimes, renew: Renew, **options: Any) -> None:
        """`renew` is asked at each look whether there are other settings, and told of a SIGHUP."""
        self._beats, self._renew, self._times = beats, renew, times
        super().__init__(*args, workers_kill_timeout=self._times.kill_s, **options)  # type: ignore[misc]
        self._watch, self._looked = Watch(beats), 0.0
        self._was_up, self._failed = False, 0
        self._never = threading.Event()
        self._crashes: dict[int, int] = {}
        self._due: dict[int, float] = {}
        """When the worker of a place begins again."""
        self._leaving: dict[WorkerProcess, float] = {}
        """Old ones that drain, and when each is killed."""
        self._to_replace: list[int] = []
        self._coming: tuple[int, WorkerProcess, float] | None = None
        """The new worker that shall take a place, and until when it may begin."""

    def signal_handler_interrupt(self, *_: Any) -> None:
        """A plain flag, which is looked at often: an Event would take a lock that its own waiting may hold.

        Ctrl-C reaches the workers, too, and one that has nothing to do ends before it is told to: that is no crash.
        """
        self.interrupt_signal = True
        for worker in self.wrks:
            worker.interrupt_by_parent = True
        if self.reload_on_changes:  # granian's loop then, which waits for files and not for the Event
            self.main_loop_interrupt.set()

    def signal_handler_reload(self, *_: Any) -> None:
        """The same."""
        self.reload_signal = True

    def _init_shared_socket(self) -> None:
        """One listening socket for all workers, as granian has it everywhere but on Linux.

        There each worker has its own (SO_REUSEPORT), with a queue of its own: connections that wait in the queue of a
        worker that ends are reset (unless net.ipv4.tcp_migrate_req is set), and those of one that hangs wait for ever.
        From one queue whoever is free accepts.
        """
        holder: Any = net.SocketSpec(self.bind_addr, self.bind_port, self.backlog).build()  # type: ignore[attr-defined]
        self._shd, self._sfd = holder, holder.get_fd()
        self._sso: Any = socket.socket(fileno=self._sfd)
        self._sso.set_inheritable(True)

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        def begin(idx: int) -> WorkerProcess:
            worker = self._spawn_worker(idx=idx, target=spawn_target, callback_loader=target_loader)
            worker.start()  # type: ignore[no-untyped-call]
            return worker

        while not (self.interrupt_signal or self.hopeless):
            self.main_loop_interrupt.wait(LOOK_S)
            self.main_loop_interrupt.clear()
            if not self.interrupt_signal:  # it may have come while this waited
                self.look(begin, time.monotonic())
        if self.hopeless:
            logger.error("workers cannot begin; the log says why before this")
        # `shutdown` makes 1 of them: what has ended is no fault of the end.
        self.interrupt_children = [0] if self.hopeless else []

    @property
    def hopeless(self) -> bool:
        """Whether none has ever come up, and none is on its way."""
        return self._failed >= TRIES and not any(alive(one) for one in self.wrks)

    def look(self, begin: Callable[[int], WorkerProcess], now: float) -> None:
        """Do what is due; `begin` starts a worker for a place."""
        self._was_up = self._was_up or any(self._has_begun(one) for one in self.wrks)
        self._kill_hung(now)
        self._bury(begin, now)
        asked, self.reload_signal = self.reload_signal, False
        if (renewed := self._renew(now, asked)) is not None:
            self._begin_reload(renewed)
        self._replace(begin, now)
        metrics.merge_ended({one.inner.pid for one in (*self.wrks, *self._leaving, *self._comes())})
        for worker, until in list(self._leaving.items()):
            if not alive(worker):
                metrics.process_ended(worker.inner.pid)
                del self._leaving[worker]
            elif now >= until:
                _kill(worker, "an old worker did not end in its time")

    def _bury(self, begin: Callable[[int], WorkerProcess], now: float) -> None:
        """Another worker for one that crashed: later each time, so that its starts do not keep a core busy."""
        for idx, worker in enumerate(self.wrks):
            if idx in self._due:
                if now >= self._due[idx]:
                    del self._due[idx]
                    self.wrks[idx] = begin(idx)
            elif not alive(worker):
                metrics.process_ended(worker.inner.pid)
                self._failed += not self._was_up
                steady = now - worker.birth >= STEADY_S
                self._crashes[idx] = count = 1 if steady else self._crashes.get(idx, 0) + 1
                pause_s = min(FIRST_PAUSE_S * 2.0 ** min(count - 1, 10), LONGEST_PAUSE_S)
                logger.warning("a worker has crashed; another begins", crashes=count, after_s=pause_s)
                self._due[idx] = now + pause_s

    def _begin_reload(self, times: WorkerTimes) -> None:
        self._times = WorkerTimes(kill_s=max(self._times.kill_s, times.kill_s), hung_s=times.hung_s)
        self._to_replace = list(range(len(self.wrks)))

    def _replace(self, begin: Callable[[int], WorkerProcess], now: float) -> None:
        """One after the other: an old worker goes when the new one has begun, and stays where that cannot begin."""
        if self._coming is None:
            if self._to_replace:
                idx = self._to_replace.pop(0)
                self._coming = idx, begin(idx), now + BEGIN_S
            return
        idx, new, until = self._coming
        if self._has_begun(new):
            old, self.wrks[idx] = self.wrks[idx], new
            self._due.pop(idx, None)
            old.terminate()  # type: ignore[no-untyped-call]
            self._leaving[old] = now + self._times.kill_s
            self._coming = None
        elif not alive(new) or now >= until:
            logger.error("a new worker cannot begin; the old ones go on")
            _kill(new, "")
            self._leaving[new] = math.inf  # until it has ended: it may have opened its counters
            self._coming, self._to_replace = None, []

    def _comes(self) -> list[WorkerProcess]:
        return [] if self._coming is None else [self._coming[1]]

    def _has_begun(self, worker: WorkerProcess) -> bool:
        """Its first beat comes when everything is open."""
        return (self._beats / str(worker.inner.pid)).exists()

    def _kill_hung(self, now: float) -> None:
        if now - self._looked < BEAT_S:
            return
        self._looked, hung_s = now, self._times.hung_s
        missed = max(2, round(hung_s / BEAT_S)) if hung_s else math.inf
        by_pid = {one.inner.pid or 0: one for one in self.wrks}
        for pid in self._watch.look(by_pid, missed):
            _kill(by_pid[pid], "a worker hangs; it is killed and replaced")

    def _stop_workers(self) -> None:
        """All at once, each until its time is over."""
        until = time.monotonic() + self._times.kill_s
        left = everybody = dict.fromkeys([*self.wrks, *self._comes()], until) | self._leaving
        for worker in everybody:
            worker.terminate()  # type: ignore[no-untyped-call]
        while left := {one: end for one, end in left.items() if alive(one)}:
            for worker, end in left.items():
                if time.monotonic() >= end:
                    _kill(worker, "a worker did not end in its time")
                elif not self._has_begun(worker):  # between its fork and its own handlers a signal is lost
                    worker.terminate()  # type: ignore[no-untyped-call]
            self._never.wait(LOOK_S / 4)
        for worker in everybody:  # in a folder of the operator's the next server would count them among its own
            metrics.process_ended(worker.inner.pid)
        self.wrks.clear()


def alive(worker: WorkerProcess) -> bool:
    """Whether it runs: a thread of granian's reaps it too, and for a moment only one of the two knows."""
    return bool(worker.inner.is_alive())


def _kill(worker: WorkerProcess, why: str) -> None:
    if why:
        logger.error(why, pid=worker.inner.pid)
    if worker.inner.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.inner.pid, signal.SIGKILL)
