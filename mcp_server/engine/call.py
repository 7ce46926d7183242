"""A request on its way through the engine, and what it was found to be about."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
from msgspec import UNSET

from mcp_server.authoring.sink import NullSink, Sink
from mcp_server.identity import Principal
from mcp_server.protocol import errors, revisions
from mcp_server.protocol.jsonrpc import Request
from mcp_server.protocol.meta import RoutingFields
from mcp_server.registry.prompt import Prompt
from mcp_server.registry.resource import Resource
from mcp_server.registry.tool import Tool
from mcp_server.sessions.session import Session

_decode_capabilities = msgspec.json.Decoder(dict[str, Any]).decode


class Call(msgspec.Struct, frozen=True):
    """Who calls, in which revision, under which ids.

    `modern` is whether the request stands alone, with an envelope of its own; `fields` are the headers, None where
    there are none, `twice` those sent more than once.
    """

    request: Request
    peek: RoutingFields
    revision: str
    principal: Principal | None
    request_id: str
    trace_id: str
    modern: bool
    session: Session | None = None
    fields: Mapping[bytes, bytes] | None = None
    twice: AbstractSet[bytes] = frozenset()
    open_sink: Callable[[], Sink] = NullSink
    found: list[str] = []
    """The tools that a call turned out to be about while it ran, for the audit: of `tasks/*`, whose task it is."""

    @property
    def owner(self) -> str:
        """What states, cursors, tasks and listeners of this caller are bound to."""
        return "" if self.principal is None else self.principal.key

    def capabilities(self) -> Mapping[str, Any]:
        """What the client declared, in this request or when its session opened."""
        if self.modern:
            declared = self.peek.meta.client_capabilities
            try:
                return {} if declared is UNSET else _decode_capabilities(declared)
            except errors.UNREADABLE:
                return {}
        if self.session is None:
            return {}
        known = self.session.capabilities
        return known if revisions.elicits(self.revision) else {k: v for k, v in known.items() if k != "elicitation"}


class ResourceMatch(msgspec.Struct, frozen=True):
    """A resource found by its URI, with the handler's arguments."""

    resource: Resource
    uri: str
    arguments: dict[str, Any]


Target = Tool | Prompt | ResourceMatch


class NeedsScopes(msgspec.Struct, frozen=True):
    """The caller lacks scopes; `needed` is all that the operation asks for. Nobody known → log in first."""

    needed: frozenset[str]


class Admitted(msgspec.Struct, frozen=True):
    """A call that may run, and what it names; `name` is the registered one, never a caller's own words."""

    call: Call
    target: Target | None = None
    needed: frozenset[str] = frozenset()
    name: str = ""
