"""The parent of the workers: granian's, which also replaces one that hangs, and goes on where one crashes."""

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any, Final

from granian import net
from granian.server.mp import MPServer, WorkerProcess

from mcp_server.cli.serving.heartbeat import BEAT_S, Watch
from mcp_server.observe.log import logger

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 15.0
"""Between the crash of a worker and its next start, where it crashes again and again."""
STEADY_S: Final = 30.0
"""A worker that ran so long before it crashed begins with the first pause again."""


class Workers(MPServer):
    """Granian's processes. As long as none has come up, a start that fails twice ends the server, as granian has it.

    Afterwards nothing does but a signal: granian stops all workers when one dies twice within 5.5 seconds, and one
    poisonous request, sent twice, would end the whole server.
    """

    def __init__(self, *args: Any, beats: Path, hung_s: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._beats, self._hung_s = beats, hung_s
        self._crashes: dict[int, int] = {}
        self._was_up = False
        self._over = threading.Event()

    def _init_shared_socket(self) -> None:
        """One listening socket for all workers, as granian has it everywhere but on Linux.

        There each worker has its own (SO_REUSEPORT), with a queue of its own: connections that wait in the queue of a
        worker that ends are reset (unless net.ipv4.tcp_migrate_req is set), and those of one that hangs wait for ever.
        From one queue whoever is free accepts.
        """
        holder: Any = net.SocketSpec(self.bind_addr, self.bind_port, self.backlog).build()  # type: ignore[attr-defined]
        self._shd, self._sfd = holder, holder.get_fd()
        self._sso = socket.socket(fileno=self._sfd)
        self._sso.set_inheritable(True)

    def startup(self, spawn_target: Any, target_loader: Any) -> None:
        """Begin to watch, once there is something to watch."""
        super().startup(spawn_target, target_loader)  # type: ignore[no-untyped-call]
        if self._hung_s:
            threading.Thread(target=self._watch, daemon=True).start()

    def shutdown(self, exit_code: int = 0) -> None:
        """Stop them all; from here on nobody is killed but by granian's own clock."""
        self._over.set()
        super().shutdown(exit_code)  # type: ignore[no-untyped-call]

    def _respawn_workers(self, workers: list[int], spawn_target: Any, target_loader: Any, delay: float = 0) -> None:
        crashed = not delay  # else it is a signal, their lifetime or their memory, and the old ones still serve
        if crashed and self._have_come_up(workers):
            self._pause(workers)
            if self.interrupt_signal:
                return
        super()._respawn_workers(workers, spawn_target, target_loader, delay)
        if self._was_up:
            self.respawned_wrks.clear()

    def _have_come_up(self, workers: list[int]) -> bool:
        """Whether any worker ever had a beat: then a new one will be able to, sooner or later."""
        if not self._was_up:
            self._was_up = any((self._beats / str(_pid(self.wrks[idx]))).exists() for idx in workers)
        return self._was_up

    def _pause(self, workers: list[int]) -> None:
        """Longer each time: a worker that dies at once must not keep a core busy with its starts."""
        now = time.monotonic()
        for idx in workers:
            steady = now - self.wrks[idx].birth >= STEADY_S
            self._crashes[idx] = 1 if steady else self._crashes.get(idx, 0) + 1
        worst = max(self._crashes[idx] for idx in workers)
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(worst - 1, 10), LONGEST_PAUSE_S)
        logger.warning("a worker has crashed; another begins", crashes=worst, after_s=pause_s)
        self.main_loop_interrupt.wait(pause_s)

    def _watch(self) -> None:
        watch = Watch(self._beats, max(2, round(self._hung_s / BEAT_S)))
        while not self._over.wait(BEAT_S):
            for pid in watch.look([_pid(one) for one in list(self.wrks)]):
                logger.error("a worker hangs; it is killed and replaced", pid=pid, hung_s=self._hung_s)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _pid(worker: WorkerProcess) -> int:
    return int(worker.inner.pid or 0)
