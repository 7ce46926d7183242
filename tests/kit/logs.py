"""What the log has got in the course of a test."""

from pathlib import Path
from typing import TextIO


def written_since(log_file: TextIO, before: int) -> str:
    """What the log has got meanwhile."""
    log_file.flush()
    return Path(log_file.name).read_bytes()[before:].decode()
