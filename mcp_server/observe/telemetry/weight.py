"""What a span holds in memory: of what authors add to it the SDK bounds texts and their number, not lists and names."""

from collections.abc import Mapping
from sys import maxsize
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan

from mcp_server.observe.telemetry.call_span import CallSpan

MAX_DEPTH: Final = 32
"""A value that is nested deeper weighs too much for any room: weighing it is one call in another for each level."""
PLAIN: Final = 4096
"""Bytes of a call's span to which a handler has added nothing: a dozen names and texts that are ours, or bounded."""
_EACH: Final = 64
"""Bytes of an object beside its text."""
_TEXTS: Final = frozenset({str, bytes})
_NESTING: Final = frozenset({tuple, dict})
"""What the SDK makes of lists and mappings."""


def weight(span: ReadableSpan) -> int:
    """Characters and bytes of its names, texts, attributes and events; it has ended, and weighs the same later.

    The text of its status the SDK does not cut: it is what an exception says that ends an author's span. Nor do many
    links bound what their `tracestate` holds.
    """
    if type(span) is CallSpan and span.plain:
        return PLAIN
    size = len(span.name) + len(span.status.description or "") + _of_members(span.attributes, 0)
    for context in (span.context, span.parent):
        if context is not None and context.trace_state:
            size += _of_members(context.trace_state, 0)
    for event in span.events:
        size += len(event.name) + _EACH + _of_members(event.attributes, 0)
    for link in span.links:
        size += _EACH + _of_members(link.attributes, 0) + _of_members(link.context.trace_state, 0)
    return size


def _of_members(found: Mapping[str, Any] | None, depth: int) -> int:
    """Each call has a span or two of some dozen members: it shall cost next to nothing."""
    size = 0
    for name, value in (found or {}).items():
        size += len(name) + 2 * _EACH
        if (kind := type(value)) in _TEXTS:
            size += len(value)
        elif kind in _NESTING:
            size += _of_nested(value, depth + 1)
    return size


def _of_nested(value: Any, depth: int) -> int:
    if depth > MAX_DEPTH:
        return maxsize
    if isinstance(value, Mapping):
        return _of_members(value, depth)
    size = 0
    for one in value:
        size += _EACH
        if (kind := type(one)) in _TEXTS:
            size += len(one)
        elif kind in _NESTING:
            size += _of_nested(one, depth + 1)
    return size
