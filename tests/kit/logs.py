"""What the log has got in the course of a test."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from mcp_server.observe.log import logger


def written_since(log_file: TextIO, before: int) -> str:
    """What the log has got meanwhile."""
    log_file.flush()
    return Path(log_file.name).read_bytes()[before:].decode()


@contextlib.contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    """The fields of each line meanwhile, as they were given."""
    lines: list[dict[str, Any]] = []
    sink = logger.add(lambda line: lines.append({"text": line.record["message"], **line.record["extra"]}), level=0)
    try:
        yield lines
    finally:
        logger.remove(sink)
