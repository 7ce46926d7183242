"""The span of a call, from its beginning to its export one object of a few fields.

The SDK's own would cost as much as the call again: it judges each attribute, and ours are known to be good. And what
runs for one call in a hundred finds nothing in the processor's caches, and drives out what the next calls need: each
thing that is made here costs several times what it costs in a loop.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes, AttributeValue

UNSET: Final = Status(StatusCode.UNSET)
_TAKEN: Final = TraceFlags(TraceFlags.SAMPLED)


class Maker(NamedTuple):
    """What all spans of a server share."""

    resource: Resource
    scope: InstrumentationScope
    limits: SpanLimits


class Added:
    """What a handler has added to its call's span, within the SDK's limits."""

    name: str | None = None
    status: Status | None = None
    dropped_events = dropped_links = 0
    """How many there was no place for."""

    def __init__(self, limits: SpanLimits) -> None:
        self.limits = limits
        self.attributes = BoundedAttributes(
            limits.max_span_attributes, immutable=False, max_value_len=limits.max_span_attribute_length
        )
        self.events: list[Event] = []
        self.links: list[Link] = []


class CallSpan(NonRecordingSpan, ReadableSpan):
    """Current while its call runs, so that what a handler adds to it is kept as the SDK keeps it; then exported.

    What is added is kept apart and taken over once, at the end: a thread of a handler that goes on while it ends then
    writes into what nobody looks at any more, and what the span weighs in its queue stays what it was.
    """

    # Of the class until there are some; neither base is initialized, for each would set them.
    _parent: SpanContext | None = None
    _named: SpanContext | None = None
    _first: Mapping[str, Any] = MappingProxyType({})
    _last = _first
    """Attributes of a handler's, and those that are known at the end."""
    _made: Mapping[str, Any] | None = None
    """All of them, once it has ended and somebody has asked."""
    _status = UNSET
    _events: Sequence[Event] = ()
    _links: Sequence[Link] = ()
    _end_time: int | None = None
    _instrumentation_info = None
    added: Added | None = None
    recording = True
    _dropped = (0, 0, 0)
    plain = True
    """Whether it has nothing of a handler's, whose texts are as long as a caller likes."""

    def __init__(
        self,
        maker: Maker,
        name: str,
        kind: SpanKind,
        about: Callable[[], Mapping[str, str | int]],
        ids: tuple[str, str],
        began_ns: int,
    ) -> None:
        """`about` makes its attributes; `ids` are those of its trace and its own, as W3C Trace Context writes them."""
        self.maker, self._name, self._kind, self._about = maker, name, kind, about
        self._ids, self._start_time = ids, began_ns

    @property
    def _context(self) -> SpanContext:  # type: ignore[override]
        """Made where it is asked for: of nearly all spans that is the thread that delivers them.

        Without a lock, which a forked child would find taken: two threads make two that are equal.
        """
        if self._named is None:
            trace_id, span_id = (int(one, 16) for one in self._ids)
            state = None if self._parent is None else self._parent.trace_state
            self._named = SpanContext(
                trace_id=trace_id, span_id=span_id, is_remote=False, trace_flags=_TAKEN, trace_state=state
            )
        return self._named

    @property
    def _attributes(self) -> Mapping[str, Any]:
        """Made where they are asked for, as its context is; at the end once for all.

        The SDK has no other way for an author's processor to take something out, or to put others in their place.
        """
        if self._made is not None:
            return self._made
        last = self._last  # before the others: where there is one, they are there, too
        made = {**self._first, **self._about(), **last}
        return made if last is CallSpan._last else self.__dict__.setdefault("_made", made)

    @_attributes.setter
    def _attributes(self, given: Mapping[str, Any]) -> None:
        self._made = given

    def within(self, parent: SpanContext | None, links: Sequence[Link]) -> None:
        """Where it belongs."""
        self._parent, self._links = parent, links

    def over(self, attributes: Mapping[str, Any], *, error: str | None = None) -> None:
        """It has ended; `error` is its description where it failed, which may be empty.

        What is ours counts before what a handler set under the same name.
        """
        self.recording, self._end_time = False, time.time_ns()
        if self.added is not None:  # nearly none has; the object has no dict until it is asked for
            self._take(self.__dict__.pop("added"))
        self._last = attributes
        if error is not None:
            self._status = Status(StatusCode.ERROR, error or None)

    def _take(self, added: Added) -> None:
        self.plain = False
        self._first = added.attributes.copy()
        self._events, self._links = tuple(added.events), (*self._links, *added.links)
        self._name, self._status = added.name or self._name, added.status or self._status
        self._dropped = added.attributes.dropped, added.dropped_events, added.dropped_links

    @property
    def _yet(self) -> Added | None:
        """What is kept apart still: once it has ended, its own fields have it."""
        return self.added if self.recording else None

    @property
    def name(self) -> str:
        """A handler's, where it gave one."""
        added = self._yet
        return self._name if added is None else added.name or self._name

    @property
    def status(self) -> Status:
        """A handler's, where it has set one."""
        added = self._yet
        return self._status if added is None else added.status or self._status

    @property
    def events(self) -> Sequence[Event]:
        """What a handler has added up to now."""
        added = self._yet
        return self._events if added is None else tuple(added.events)

    @property
    def links(self) -> Sequence[Link]:
        """Ours, and what a handler has added."""
        added = self._yet
        return (*self._links, *(() if added is None else added.links))

    @property
    def dropped_attributes(self) -> int:
        """A handler's that there was no place for, once it has ended."""
        return self._dropped[0]

    @property
    def dropped_events(self) -> int:
        """The same of events."""
        return self._dropped[1]

    @property
    def dropped_links(self) -> int:
        """The same of links."""
        return self._dropped[2]

    @property
    def resource(self) -> Resource:
        """The server's."""
        return self.maker.resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        """Ours."""
        return self.maker.scope

    def is_recording(self) -> bool:
        """Until it has ended."""
        return self.recording

    def _open(self) -> Added | None:
        """Where a handler's are kept; None once it has ended."""
        if not self.recording:
            return None
        if self.added is None:  # in one step: threads that come at once add to the same
            self.__dict__.setdefault("added", Added(self.maker.limits))
        return self.added

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Add them, or put them in the place of a handler's own."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Add one."""
        if (added := self._open()) is not None:
            added.attributes[key] = value

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Add an event."""
        if (added := self._open()) is None:
            return
        limits = added.limits
        if limits.max_events is None or len(added.events) < limits.max_events:
            kept = BoundedAttributes(limits.max_event_attributes, attributes, max_value_len=limits.max_attribute_length)
            added.events.append(Event(name, kept, timestamp))
        else:
            added.dropped_events += 1

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Add a link, unless it leads nowhere."""
        if not context or not context.is_valid or (added := self._open()) is None:
            return
        limits = added.limits
        if limits.max_links is None or len(self._links) + len(added.links) < limits.max_links:
            kept = BoundedAttributes(limits.max_link_attributes, attributes, max_value_len=limits.max_attribute_length)
            added.links.append(Link(context, kept))
        else:
            added.dropped_links += 1

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
        if (added := self._open()) is not None:
            added.name = str(name)  # an author's may be none, and is weighed

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Say how it went."""
        if (added := self._open()) is None:
            return
        given = status if isinstance(status, Status) else Status(status, description)
        text = given.description
        limit = added.limits.max_attribute_length
        added.status = Status(given.status_code, text if text is None else text[:limit])
