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
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there


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


def _made() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError:
        if not _MEMORY.is_dir():
            raise
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=_MEMORY))
