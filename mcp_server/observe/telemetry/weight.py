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
    """Characters and bytes of its names, texts, attributes and events; it has ended, and weighs the same later."""
    if type(span) is not CallSpan:
        return _of(span)
    if span.weighs is None:  # a thread of a handler's that goes on may be adding something
        span.weighs = PLAIN if span.plain else _of(span)
    return span.weighs


def _of(span: ReadableSpan) -> int:
    size = len(span.name) + _of_members(span.attributes, 0)
    for event in span.events:
        size += len(event.name) + _EACH + _of_members(event.attributes, 0)
    for link in span.links:
        size += _EACH + _of_members(link.attributes, 0)
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
