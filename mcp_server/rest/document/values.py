"""JSON pointers, and the small things that every step of the reading shares."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from mcp_server.rest.model import Fault

MAX_FAULTS: Final = 1000
"""A document of a million bad references is told by its first thousand."""
_MAX_TEXT: Final = 300
_MAX_POINTER: Final = 1000


class Lexeme(msgspec.Struct, frozen=True):
    """How a scalar of YAML was written; it holds only while `container[key]` still is `value`."""

    container: Any
    value: Any
    text: str


class Faults:
    """A bounded collector of faults, each told once."""

    def __init__(self) -> None:
        self._found: dict[Fault, None] = {}
        self._left_out = 0

    @property
    def count(self) -> int:
        """How many there are so far."""
        return len(self._found) + self._left_out

    def add(self, pointer: str, text: str) -> None:
        """One more; both quote the document, so they are bounded in length and end no line of a log."""
        if len(self._found) < MAX_FAULTS:
            self._found[Fault(_told(pointer, _MAX_POINTER), _told(text, _MAX_TEXT))] = None
        else:
            self._left_out += 1

    def all(self) -> tuple[Fault, ...]:
        """What was collected, and how many were not."""
        more = [Fault("", f"{self._left_out} more faults are not told")] if self._left_out else []
        return (*self._found, *more)


def _told(text: str, most: int) -> str:
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def pointer_of(path: Iterable[str | int]) -> str:
    """A JSON pointer (RFC 6901): `/paths/~1orders/get`."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def escaped(step: str) -> str:
    """One step of a JSON pointer."""
    return step.replace("~", "~0").replace("/", "~1")


def text_in(container: dict[str, Any], key: str, default: str = "") -> str:
    """A text member, or the default where something else stands."""
    held = container.get(key)
    return held if type(held) is str else default
