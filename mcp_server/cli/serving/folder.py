"""Private folder of a running server: what its workers leave for each other, for their parent and for their successors.

In it are the documents of APIs, sealed keys of issuers, and a heartbeat of each worker. It ends with the server.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mcp_server.rest.importing import lock

PREFIX: Final = "mcp-server-"
_RESOURCE: Final = "resource"
_MEMORY: Final = Path("/dev/shm")  # nosec B108 # noqa: S108 - a folder of its own is made there


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user can read, removed at the end; raises `OSError` where none can be made.

    It is locked: systemd-tmpfiles, which clears /tmp of what nobody has read for days, leaves it alone (tmpfiles.d(5)).
    """
    folder = _made()
    try:
        with contextlib.ExitStack() as held:
            if (file := lock.share(folder)) is not None:
                held.callback(os.close, file)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def name_server(folder: Path, resource: str) -> None:
    """Say whose workers these are, for `mcp-server revoke`, which finds them by it."""
    (folder / _RESOURCE).write_text(resource, "utf-8")


def of_server(resource: str) -> list[Path]:
    """The folders of this user's running servers of a resource on this machine."""
    found = [one for place in {Path(tempfile.gettempdir()), _MEMORY} for one in place.glob(f"{PREFIX}*")]
    return sorted(one for one in found if _is_of(one, resource))


def _is_of(folder: Path, resource: str) -> bool:
    """Anybody may make a folder of that name: another's is not written to. One of a killed server has no reader."""
    try:
        mine = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
        return mine and (folder / _RESOURCE).read_text("utf-8") == resource and lock.shared(folder)
    except (OSError, UnicodeDecodeError):
        return False


def _made() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError:
        if not _MEMORY.is_dir():
            raise
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=_MEMORY))
