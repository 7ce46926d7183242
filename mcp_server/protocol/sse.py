"""Server-sent events as bytes (WHATWG HTML §9.2; 2026-07-28 transports, 2025-11-25 §Resumability)."""

from typing import Final

import msgspec

KEEP_ALIVE: Final = b": keep-alive\n\n"


def event(data: bytes, event_id: str | None = None) -> bytes:
    """One message; `data` is JSON on one line, which our encoder makes."""
    if event_id is None:
        return b"data: " + data + b"\n\n"
    return b"id: " + event_id.encode("ascii") + b"\ndata: " + data + b"\n\n"


def priming(event_id: str) -> bytes:
    """An event without data, so that a client has an id to come back with before anything was said."""
    return b"id: " + event_id.encode("ascii") + b"\ndata: \n\n"


def retry(milliseconds: int) -> bytes:
    """After how long a client shall come back."""
    return b"retry: %d\n\n" % milliseconds


class EventId(msgspec.Struct, frozen=True):
    """A place in a stream of a session; `number` counts from 0, the priming event."""

    stream: str
    number: int

    def __str__(self) -> str:
        return f"{self.stream}.{self.number}"


def parse_id(text: str) -> EventId | None:
    """The place that a `Last-Event-ID` names, or None for a string that is no id of ours."""
    stream, dot, number = text.rpartition(".")
    plain = stream.isascii() and stream.replace("-", "").replace("_", "").isalnum()
    if not dot or not plain or len(stream) > 64 or not (number.isascii() and number.isdigit()) or len(number) > 9:
        return None
    return EventId(stream, int(number))
