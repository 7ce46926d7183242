"""A file is the one before or the new one, and nothing is left of one that could not be written."""

from pathlib import Path

import pytest

from mcp_server import atomic_file


def test_it_is_replaced_whole_and_is_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"before")
    path.chmod(0o644)
    with path.open("rb") as reader:  # who has it open goes on with what it was
        atomic_file.write(path, b"after")
        assert (reader.read(), path.read_bytes(), path.stat().st_mode & 0o777) == (b"before", b"after", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_where_it_cannot_be_written_the_one_before_stays_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    atomic_file.write(path, b"before")

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        atomic_file.write(path, b"after")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("state", b"before")]
    with pytest.raises(FileNotFoundError):
        atomic_file.write(tmp_path / "gone" / "state", b"")
