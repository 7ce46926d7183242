"""What a span holds in memory: of what authors add to it the SDK bounds texts and their number, not lists and names."""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.util.types import AnyValue

_REFERENCE: Final = 8


def weight(span: ReadableSpan) -> int:
    """Bytes of its names, texts, attributes and events, near enough; it has ended, so that they are the same later."""
    parts = [span.name, span.status.description, span.attributes]
    for one in span.events:
        parts += (one.name, one.attributes)
    parts += [one.attributes for one in span.links]
    return sum(map(_bytes, parts))


def _bytes(value: AnyValue) -> int:
    size = sys.getsizeof(value) + _REFERENCE
    if isinstance(value, str | bytes):  # nearly all; and both are sequences
        return size
    if isinstance(value, Mapping):
        return size + sum(_bytes(name) + _bytes(one) for name, one in value.items())
    return size + sum(map(_bytes, value)) if isinstance(value, Sequence) else size
