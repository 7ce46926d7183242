"""A request on its way through the engine, and what it was found to be about."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from mcp_server.authoring.context import IncomingRequest
from mcp_server.authoring.sink import NullSink, Sink
from mcp_server.engine.outcome import Denied, Outcome
from mcp_server.engine.supervisor import CallSupervisor, Waiting
from mcp_server.identity import Credential, Principal
from mcp_server.limits.rule import Limit
from mcp_server.observe.tracing import Trace
from mcp_server.protocol import errors, revisions
from mcp_server.protocol.jsonrpc import Request
from mcp_server.protocol.meta import RoutingFields
from mcp_server.registry.prompt import Prompt
from mcp_server.registry.requirement import Login
from mcp_server.registry.resource import Resource
from mcp_server.registry.tool import Tool
from mcp_server.sessions.session import Session

Standing = Sequence[tuple[Limit, int, float]]
"""Limits, what is left of each, and the seconds until that may be more."""
_decode_capabilities = msgspec.json.Decoder(dict[str, Any]).decode


class Channel(Waiting, IncomingRequest, Protocol):
    """What a transport does for a call that it carries."""

    caller: str
    """Whom the limits count the call for (`limits.callers.key`)."""
    address: str
    """Where the caller is, for the audit; empty on a pipe."""
    conversation: str
    """Within which a request's id names it, so that a later message can cancel it; empty where none can."""
    supervisor: CallSupervisor | None
    """Of the task that answers, where the transport has made one; it has stopped."""

    standing: Standing
    """How the caller stands with its limits, where that is told with the answer."""

    def begun(self, needed: frozenset[str], about: tuple[str, str]) -> None:
        """A call of a conversation is admitted: who comes back for what it says must hold `needed`.

        `about` is the method and the registered name: what that needs by then, too.
        """

    def open_sink(self) -> Sink:
        """Where the call speaks before its result."""

    def denied_status(self, call: "Call", denied: Denied) -> int:
        """The status that a refusal has in this transport, 0 where there is none; it goes on the call's span."""

    def answer_for(self, call: "Call", outcome: Outcome) -> None:
        """Begin to answer with this, for the handler goes on though it was ended; what it comes to is said to nobody.

        Not where the answer has others' in it, which must be waited for: it is this call's part of it then.
        """

    def silence(self) -> None:
        """The client wants nothing more of this call."""


class NullChannel:
    """Nobody at the other end: for calls that are made within the process."""

    caller = address = conversation = ""
    supervisor: CallSupervisor | None = None
    credential: Credential | None = None
    hung_up: Callable[[], Awaitable[None]] | None = None
    quiet_s: float | None = None
    standing: Standing = ()

    def header(self, name: str) -> str | None:
        """There are none."""

    def begun(self, needed: frozenset[str], about: tuple[str, str]) -> None:
        """Nothing is kept."""

    def open_sink(self) -> Sink:
        """Nowhere."""
        return NullSink()

    def denied_status(self, call: "Call", denied: Denied) -> int:
        """There is none."""
        return 0

    def answer_for(self, call: "Call", outcome: Outcome) -> None:
        """Nobody waits for an answer."""

    def silence(self) -> None:
        """It is silent."""

    async def stay_open(self) -> None:
        """Nobody waits."""


class HeaderFields(msgspec.Struct, frozen=True):
    """The headers of a request, and the names of those that were sent more than once."""

    values: Mapping[bytes, bytes]
    repeated: AbstractSet[bytes] = frozenset()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, in which revision, under which ids.

    `headers` are None where the transport has none.
    """

    request: Request
    peek: RoutingFields
    revision: str
    principal: Principal | None
    request_id: str
    trace: Trace | None = None
    session: Session | None = None
    headers: HeaderFields | None = None
    channel: Channel = msgspec.field(default_factory=NullChannel)

    @property
    def modern(self) -> bool:
        """Whether the request stands alone, with an envelope of its own."""
        return self.revision in revisions.MODERN_SET

    @property
    def credential(self) -> Credential | None:
        """The caller's token, opaque: for an exchange (RFC 8693) and nothing else."""
        return self.channel.credential

    @property
    def owner(self) -> str:
        """What states, cursors, tasks and subscriptions of this caller are bound to."""
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


class Challenged(msgspec.Struct, frozen=True):
    """The caller lacks scopes, or a `login` that is recent or strong enough. Nobody known → log in first.

    `needed` is all that the operation asks for; with `scopes_held` nothing of it is missing.
    """

    needed: frozenset[str]
    login: Login | None = None
    scopes_held: bool = False

    def denied(self, principal: Principal | None) -> Denied:
        """The outcome of a call of this caller that nothing more is done for."""
        anonymous = principal is None
        if self.login is None:
            return Denied(self.needed, anonymous)
        return Denied(self.needed, anonymous, self.login.fresh_s, self.login.acr)


class BadCall(msgspec.Struct, frozen=True):
    """Its arguments are wrong, which is found out where scopes are made of them; `text` says how, for the model."""

    target: Target | None
    text: str


class Admitted(msgspec.Struct, frozen=True):
    """A call that may run, and what it names; `name` is the registered one, never a caller's own words.

    `relied_on` is what who comes back for the answer must hold, None for `needed`. `arguments` are the handler's, where
    they had to be read already: it gets the very values that scopes were made of, for a default may be new each time.
    """

    call: Call
    target: Target | None = None
    needed: frozenset[str] = frozenset()
    name: str = ""
    relied_on: frozenset[str] | None = None
    arguments: dict[str, Any] | None = None

    @property
    def kept_for(self) -> frozenset[str]:
        """What who comes back for the answer must hold."""
        return self.needed if self.relied_on is None else self.relied_on


Admission = Admitted | Challenged | BadCall | errors.RpcError
