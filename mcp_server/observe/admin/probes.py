"""Probes of a whole server: what each worker last said of itself, from the folder in which they beat."""

import time
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

SILENT_S: Final = 10.0
"""A worker beats each second; one that has not for so long is not counted on."""
HANGING_S: Final = 60.0
"""Twice as long as the parent leaves a worker that hangs: nobody looks after them any more."""
_SERVES: Final = frozenset({"ok", "degraded"})
MAX_STATE: Final = 32


class WorkerState(NamedTuple):
    """One worker: its process, its own readiness in a word, the seconds since its last beat."""

    pid: int
    status: str
    age_s: float


def states(folder: Path, now: float | None = None) -> list[WorkerState]:
    """All workers that have begun."""
    now, found = time.time() if now is None else now, []
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.isdecimal():
            try:
                age_s = now - path.stat().st_mtime
                said = path.read_text("ascii")[:MAX_STATE]
            except (OSError, UnicodeDecodeError):  # it has just ended
                continue
            found.append(WorkerState(int(path.name), said or "starting", age_s))
    return sorted(found)


def live(workers: list[WorkerState]) -> tuple[int, bytes]:
    """/healthz of the server: its parent answers here, so it lives, unless all workers hang and nobody ends them."""
    hanging = bool(workers) and all(one.age_s > HANGING_S for one in workers)
    return (503, _body("hanging", workers)) if hanging else (200, _body("ok", workers))


def ready(workers: list[WorkerState]) -> tuple[int, bytes]:
    """/readyz of the server: ready while one worker is, for whoever is free takes the next connection.

    One that drains while another has begun in its place does not make the server leave its balancer.
    """
    counted = {one.status for one in workers if one.age_s <= SILENT_S}
    serving = counted & _SERVES
    if serving:
        return 200, _body("ok" if counted - {"draining"} == {"ok"} else "degraded", workers)
    word = next((one for one in ("draining", "down") if one in counted), "starting" if not workers else "down")
    return 503, _body(word, workers)


def _body(status: str, workers: list[WorkerState]) -> bytes:
    listed = [{"pid": one.pid, "status": "silent" if one.age_s > SILENT_S else one.status} for one in workers]
    return msgspec.json.encode({"status": status, "workers": listed})
