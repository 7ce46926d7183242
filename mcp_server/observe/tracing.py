"""W3C trace context: the trace id of a request, so that log and audit join the caller's trace."""

import re
from typing import Final

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_NONE: Final = "0" * 32


def trace_id(traceparent: str | None) -> str:
    """The 32 hex digits of a well-formed traceparent, else the empty text."""
    if traceparent is None or len(traceparent) > 128:
        return ""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found and found[1] != _NONE else ""
