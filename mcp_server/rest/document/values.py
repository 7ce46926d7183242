"""JSON pointers, and the small things that every step of the reading shares."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from mcp_server.rest.model import Fault

MAX_FAULTS: Final = 1000
"""A document of a million bad references is told by its first thousand."""
_MAX_TEXT: Final = 300


class Lexeme(msgspec.Struct, frozen=True):
    """How a scalar of YAML was written; it holds only while `container[key]` still is `value`."""

    container: Any
    value: Any
    text: str


class Faults:
    """A bounded collector of faults, each told once."""

    def __init__(self, known: Iterable[Fault] = ()) -> None:
        self._found = dict.fromkeys(known)
        self._left_out = 0

    def add(self, pointer: str, text: str) -> None:
        """One more; its text may quote the document, so its length is bounded."""
        if len(self._found) < MAX_FAULTS:
            self._found[Fault(pointer, text[:_MAX_TEXT])] = None
        else:
            self._left_out += 1

    def all(self) -> tuple[Fault, ...]:
        """What was collected, and how many were not."""
        more = [Fault("", f"{self._left_out} more faults are not told")] if self._left_out else []
        return (*self._found, *more)


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
