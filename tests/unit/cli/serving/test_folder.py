"""The private folder of a server: there while it runs, in memory where no other place takes it."""

import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from mcp_server.cli.serving import folder as module
from mcp_server.cli.serving.folder import private_folder


def test_without_a_folder_for_files_there_is_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tempfile.mkdtemp

    def refused(prefix: str, dir: Path | None = None) -> str:  # noqa: A002 - as it is called
        if dir is None:
            raise OSError(30, "Read-only file system")
        return made(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    with private_folder() as folder:
        assert folder.parent == Path("/dev/shm")
    assert not folder.exists()
    monkeypatch.setattr(module, "_MEMORY", folder)
    with pytest.raises(OSError, match="Read-only"), private_folder():
        raise AssertionError


def test_it_is_locked_as_long_as_the_server_runs() -> None:
    """By that systemd-tmpfiles knows that it is in use (tmpfiles.d(5)), though nothing in it was read for days."""
    with private_folder() as folder:
        for _ in range(2):  # who looks has to give back what it had, and no one else may have dropped ours
            there = os.open(folder, os.O_RDONLY)
            with pytest.raises(BlockingIOError):
                fcntl.flock(there, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(there)
        there = os.open(folder, os.O_RDONLY)
    fcntl.flock(there, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(there)
