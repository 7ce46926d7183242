"""File locks where a handler forks: what its child has open must not hold what its worker has given up."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mcp_server import file_lock, forking
from mcp_server.cli.serving.folder import locked
from mcp_server.file_lock import FileLock
from mcp_server.observe.merging import merge, reading


@contextmanager
def forked() -> Iterator[None]:
    """Meanwhile there is a child that was forked here, as `multiprocessing` does it, and which lives on."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_folder_that_is_read_while_a_handler_forks_can_be_merged_afterwards(tmp_path: Path) -> None:
    with ExitStack() as child:
        with reading(tmp_path):
            child.enter_context(forked())
            assert not merge(tmp_path, 1)
        assert merge(tmp_path, 1)


def test_a_lock_that_is_dropped_is_free_though_a_fork_has_its_file(tmp_path: Path) -> None:
    """A thread forks in the moment between the opening of the file and its being known as one to close."""
    mine, next_one = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert mine.take()
    forking._known.discard(mine)
    with forked():
        assert not next_one.take()
        mine.drop()
        assert next_one.take()
    next_one.drop()


def test_a_fork_gives_up_no_lock_of_its_parent(tmp_path: Path) -> None:
    mine, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert mine.take()
    with forked():
        assert not other.take()
    assert not other.take()
    mine.drop()
    assert other.take()
    other.drop()


def test_a_folder_is_held_until_its_server_lets_it_go(tmp_path: Path) -> None:
    with ExitStack() as child:
        with locked(tmp_path):
            child.enter_context(forked())
            assert file_lock.shared(tmp_path)
        assert not file_lock.shared(tmp_path)
