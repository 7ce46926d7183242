"""Private folder of a running server: what its workers leave for each other, for their parent and for their successors.

In it are the documents of APIs, sealed keys of issuers, and a heartbeat of each worker. It ends with the server.
"""

import contextlib
import itertools
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mcp_server import file_lock
from mcp_server.observe import merging

PREFIX: Final = "mcp-server-"
METRICS_PREFIX: Final = "mcp-metrics-"
DEAD_S: Final = 3600.0
"""How long nobody has changed a folder before it is looked at: one that is being made has no lock yet."""
MAX_LOOKED_AT: Final = 1000
MAX_SWEPT: Final = 100
"""Folders that one start looks at, and removes: it must not wait for what years have left."""
_RESOURCE: Final = "resource"
_MEMORY: Final = Path("/dev/shm")  # nosec B108 # noqa: S108 - a folder of its own is made there


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user can read, removed at the end; raises `OSError` where none can be made.

    It is locked: systemd-tmpfiles, which clears /tmp of what nobody has read for days, leaves it alone (tmpfiles.d(5)).
    """
    folder = _made()
    try:
        with locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def name_server(folder: Path, resource: str) -> None:
    """Say whose workers these are, for `mcp-server revoke`, which finds them by it."""
    (folder / _RESOURCE).write_text(resource, "utf-8")


def folders_of(resource: str) -> list[Path]:
    """The folders of this user's running servers of a resource on this machine."""
    found = [one for place in {Path(tempfile.gettempdir()), _MEMORY} for one in place.glob(f"{PREFIX}*")]
    return sorted(one for one in found if _is_of(one, resource))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder: as long as somebody does, no other start takes it for one of the dead."""
    with contextlib.ExitStack() as holding:
        if (file := file_lock.share(folder)) is not None:
            holding.callback(file_lock.release, file)
        yield


def sweep(now: float) -> int:
    """Remove what this user's servers left that were killed; how many folders. What cannot be removed stays."""
    places = {Path(tempfile.gettempdir()), _MEMORY}
    found = (one for place in places for prefix in (PREFIX, METRICS_PREFIX) for one in place.glob(f"{prefix}*"))
    swept = 0
    for folder in itertools.islice(found, MAX_LOOKED_AT):
        if swept < MAX_SWEPT and _is_dead(folder, now):
            shutil.rmtree(folder, ignore_errors=True)
            swept += not folder.exists()
    return swept


def _is_dead(folder: Path, now: float) -> bool:
    """Whether a server of ours made it and holds it no more; anybody may make a folder of that name, or a link."""
    try:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or now - found.st_mtime < DEAD_S:
            return False
        if hasattr(os, "getuid") and found.st_uid != os.getuid():
            return False
        known = _are_counters(folder) if folder.name.startswith(METRICS_PREFIX) else (folder / _RESOURCE).is_file()
        return known and not file_lock.shared(folder)
    except OSError:
        return False


def _are_counters(folder: Path) -> bool:
    """Whether there is nothing but counters of processes that have ended: a server of before this held no lock."""
    files = [one for one in folder.iterdir() if one.name != merging.LOCK and one.suffix != ".new"]
    pids = {one.stem.rpartition("_")[2] for one in files} - {merging.ENDED}
    return all(one.suffix == ".db" for one in files) and not any(_lives(pid) for pid in pids)


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):
        return True
    return True


def _is_of(folder: Path, resource: str) -> bool:
    """Anybody may make a folder of that name: another's is not written to. One of a killed server has no reader."""
    try:
        mine = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
        return mine and (folder / _RESOURCE).read_text("utf-8") == resource and file_lock.shared(folder)
    except (OSError, UnicodeDecodeError):
        return False


def _made() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError:
        if not _MEMORY.is_dir():
            raise
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=_MEMORY))
