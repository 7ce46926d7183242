"""The private folder of a server: there while it runs, in memory where no other place takes it."""

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
