"""The span of a call, from its beginning to its export one object of a few fields.

The SDK's own would cost as much as the call again: it judges each attribute, and ours are known to be good. And what
runs for one call in a hundred finds nothing in the processor's caches, and drives out what the next calls need: each
thing that is made here costs several times what it costs in a loop.
"""

import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

UNSET: Final = Status(StatusCode.UNSET)


class Maker(NamedTuple):
    """What all spans of a server share."""

    resource: Resource
    scope: InstrumentationScope
    limits: SpanLimits


class CallSpan(NonRecordingSpan, ReadableSpan):  # type: ignore[misc]
    """Current while its call runs, so that what a handler adds to it is kept as the SDK keeps it; then exported."""

    # Of the class until there are some; neither base is initialized, for each would set them.
    _status = UNSET
    _events: Sequence[Event] = ()
    _links: Sequence[Link] = ()
    _end_time: int | None = None
    _instrumentation_info = None
    added: BoundedAttributes | None = None
    """What a handler has set."""
    recording = True
    plain = True
    """Whether it has nothing of a handler's, whose texts are as long as a caller likes."""
    weighs: int | None = None
    """What it took of the queue's room, and gives back."""

    def __init__(
        self,
        maker: Maker,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, str | int],
        context: SpanContext,
        began_ns: int,
    ) -> None:
        self._maker, self._name, self._kind, self._attributes = maker, name, kind, attributes
        self._context, self._start_time = context, began_ns

    def within(self, parent: SpanContext | None, links: Sequence[Link]) -> None:
        """Where it belongs."""
        self._parent, self._links = parent, links

    def over(self, attributes: Mapping[str, Any]) -> None:
        """It has ended: what is ours counts before what a handler set under the same name."""
        self.recording, self._end_time = False, time.time_ns()
        if attributes or self.added:
            self._attributes = {**(self.added or {}), **(self._attributes or {}), **attributes}

    @property
    def resource(self) -> Resource:
        """The server's."""
        return self._maker.resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        """Ours."""
        return self._maker.scope

    def is_recording(self) -> bool:
        """Until it has ended."""
        return self.recording

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Add them, or put them in the place of a handler's own."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Add one, within the SDK's limits."""
        if not self.recording:
            return
        self.plain = False
        if self.added is None:
            limits = self._maker.limits
            self.added = BoundedAttributes(
                limits.max_span_attributes, immutable=False, max_value_len=limits.max_span_attribute_length
            )
        self.added[key] = value

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Add an event, within the SDK's limits."""
        limits = self._maker.limits
        if not self.recording or (limits.max_events is not None and len(self._events) >= limits.max_events):
            return
        kept = BoundedAttributes(limits.max_event_attributes, attributes, max_value_len=limits.max_attribute_length)
        if self.recording:  # a long list takes long, and a call may end while a thread of its handler's goes on
            self.plain, self._events = False, (*self._events, Event(name, kept, timestamp))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add it as an event."""
        about = {
            "exception.type": type(exception).__qualname__,
            "exception.message": str(exception),
            "exception.stacktrace": "".join(traceback.format_exception(exception)),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**about, **(attributes or {})}, timestamp)

    def update_name(self, name: str) -> None:
        """Give it another name."""
        if self.recording:
            self.plain, self._name = False, name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Say how it went."""
        if not self.recording:
            return
        given = status if isinstance(status, Status) else Status(status, description)
        text = given.description
        limit = self._maker.limits.max_attribute_length
        self.plain, self._status = False, Status(given.status_code, text if text is None else text[:limit])
