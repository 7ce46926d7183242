"""Records as they lie in a store: one that cannot be read counts as gone.

It is another version's, or was written by somebody else. Nobody is answered with a fault of ours for it, and nothing is
shut for as long as it lies there.
"""

from collections.abc import Callable
from typing import TypeVar

from mcp_server.observe.log import logger
from mcp_server.protocol.errors import UNREADABLE

Record = TypeVar("Record")


def decoded(decode: Callable[[bytes], Record], stored: bytes, kind: str) -> Record | None:
    """The record; None, and a line in the log, where these bytes are none of its `kind`."""
    try:
        return decode(stored)
    except UNREADABLE as error:
        unreadable(kind, type(error).__name__)
        return None


def unreadable(kind: str, reason: str) -> None:
    """Say so in the log."""
    logger.error("a record in the store cannot be read; it counts as gone", kind=kind, reason=reason)
