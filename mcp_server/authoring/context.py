"""What a handler may do with its call: know who calls, report, ask, and carry notes from round to round."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar, overload

import msgspec

from mcp_server.authoring.interaction import Answer, Interaction, Question
from mcp_server.authoring.questions import ElicitResult, Form, check, elicitation, roots, sampling, url_elicitation
from mcp_server.authoring.sink import Sink
from mcp_server.identity import Credential, Principal
from mcp_server.observe.tracing import Trace, materialized
from mcp_server.protocol.types import notifications
from mcp_server.protocol.types.inputs import CreateMessageResult, Root, SamplingMessage
from mcp_server.protocol.types.notifications import LOG_LEVELS, LogLevel, MessageParams, ProgressParams

BURST: Final = 100
PER_SECOND: Final = 50
"""How many notifications one call may send: at once, and then each second; what is over is dropped."""


class IncomingRequest(Protocol):
    """The incoming request of a call, as far as a call that goes on from here may use it."""

    @property
    def credential(self) -> Credential | None:
        """The caller's token, for an exchange and nothing else; None where there is none."""

    def header(self, name: str) -> str | None:
        """A header of the request, None where it has none or it was sent more than once."""


class TaskRequest:
    """The request of a call that runs as a task: the task's id, and how many times a worker has begun to run it."""

    def __init__(self, incoming: IncomingRequest, task_id: str, attempt: int) -> None:
        self._incoming, self._task_id, self.attempt = incoming, task_id, attempt
        self._sent = 0

    @property
    def credential(self) -> Credential | None:
        """The caller's token."""
        return self._incoming.credential

    def header(self, name: str) -> str | None:
        """A header of the request."""
        return self._incoming.header(name)

    def idempotency_key(self) -> str:
        """A key for the next request to an API that is not idempotent by itself: the same one in each run of the task.

        Of several requests each has its own, in the order in which the handler makes them: one key for two requests
        would have the second taken for the first.
        """
        self._sent += 1
        return self._task_id if self._sent == 1 else f"{self._task_id}-{self._sent}"


class Upstreams(Protocol):
    """The APIs behind a server; they are called within a call, as its caller."""

    def bind(self, name: str, facts: "CallFacts") -> Any:
        """The API of this name for one call; raises `LookupError` that tells the names there are."""


Holds = Callable[[Principal | None, Any, Mapping[str, object]], bool]
"""(caller, scopes, values) → whether the caller holds these scopes, made with these values."""


class SharedContext(msgspec.Struct, frozen=True):
    """What all calls of a server share: `ctx.state`, who is told that a resource changed, the APIs behind it.

    `holds` judges a caller as a refusal would.
    """

    state: dict[str, Any]
    resource_updated: Callable[[str], None]
    holds: Holds
    upstreams: Upstreams | None = None


class CallFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a call before its handler runs."""

    principal: Principal | None
    request_id: str
    trace: Trace | None
    revision: str
    shared: SharedContext
    incoming: IncomingRequest
    capabilities: Mapping[str, Any]
    progress_token: str | int | None
    log_level: LogLevel | None


SomeContext = TypeVar("SomeContext", bound="Context")


class Context:
    """Injected into a handler by its annotation.

    `principal` is None only in what is public and was called without a token. `state` is one dictionary for the whole
    server process: what a lifespan opened, handlers find there. `notes` is this call's own small dictionary of JSON
    values: where asking makes the handler run again, it finds there what it wrote.
    """

    def __init__(self, facts: CallFacts, sink: Sink, rounds: Interaction) -> None:
        self._facts, self._sink, self._rounds = facts, sink, rounds
        self._progress = float("-inf")
        self._tokens, self._counted_at = float(BURST), time.monotonic()
        self._asked = 0

    def seen_as(self, kind: "type[SomeContext]") -> "SomeContext":
        """The same context as a subclass, which an author may have given methods of their own."""
        return kind(self._facts, self._sink, self._rounds)

    @property
    def principal(self) -> Principal | None:
        """Who calls."""
        return self._facts.principal

    @property
    def request_id(self) -> str:
        """The id of this call in logs and the audit."""
        return self._facts.request_id

    @property
    def trace_id(self) -> str:
        """The W3C trace id of this call, the client's or one of this server's; empty where nothing is traced."""
        facts = self._facts
        return "" if facts.trace is None else materialized(facts.trace, facts.request_id).trace_id

    @property
    def revision(self) -> str:
        """The protocol revision that the client speaks."""
        return self._facts.revision

    @property
    def state(self) -> dict[str, Any]:
        """What all handlers of this process share."""
        return self._facts.shared.state

    @property
    def notes(self) -> dict[str, Any]:
        """What this call keeps from round to round."""
        return self._rounds.notes

    def holds(self, scopes: Any, /, **values: object) -> bool:
        """Whether the caller has what `NeedsScopes(scopes, **values)` would ask for: look first, and then raise it.

        It knows what `principal.scopes` does not say of scopes with variables: what stands for them, and what opens all
        of them. Each variable has a value here, also one that is an argument of the call.
        """
        return self._facts.shared.holds(self.principal, scopes, values)

    @property
    def task_attempt(self) -> int:
        """In a task: how many times a worker has begun to run it, this one included; 0 where the call is no task.

        From the second on an earlier run may have acted: it was lost with its worker, handed back, or ended in a
        question that is answered now.
        """
        incoming = self._facts.incoming
        return incoming.attempt if isinstance(incoming, TaskRequest) else 0

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Say how far the call is; nothing is sent unless the client asked, nor for a value that does not grow."""
        token = self._facts.progress_token
        if progress <= self._progress:
            return
        self._progress = progress
        if token is not None and (progress == total or self._may_speak()):
            params = ProgressParams(token, progress, total, message)
            await self._sink.send(notifications.encode("notifications/progress", params))

    async def log(self, level: LogLevel, data: Any, logger: str | None = None) -> None:
        """Send a line to the client's log; nothing is sent below the level it asked for. Never put secrets there."""
        lowest = self._facts.log_level
        if lowest is not None and LOG_LEVELS[level] >= LOG_LEVELS[lowest] and self._may_speak():
            await self._sink.send(notifications.encode("notifications/message", MessageParams(level, data, logger)))

    @overload
    async def elicit(self, message: str, form: type[Form], *, key: str | None = None) -> ElicitResult[Form]: ...
    @overload
    async def elicit(
        self, message: str, form: dict[str, Any], *, key: str | None = None
    ) -> ElicitResult[dict[str, Any]]: ...
    async def elicit(self, message: str, form: Any, *, key: str | None = None) -> ElicitResult[Any]:
        """Have the user fill in a form; `form` is a type with flat fields or a JSON schema of one.

        Raises `MissingCapability` when the client cannot, `InvalidClientAnswer` when one that waits answers otherwise.
        """
        return await self._one(elicitation(message, form), key)

    async def elicit_url(self, message: str, url: str, *, key: str | None = None) -> ElicitResult[None]:
        """Send the user to a page; `accept` means that they went, so look in your own store whether they finished.

        The URL must hold nothing secret, and the page must make sure that it is this principal who opens it.
        """
        return await self._one(url_elicitation(message, url), key)

    async def sample(
        self,
        messages: str | Sequence[SamplingMessage],
        *,
        max_tokens: int,
        system: str | None = None,
        key: str | None = None,
        **more: Any,
    ) -> CreateMessageResult:
        """Have the client's model answer; `messages` is a text or a list of `SamplingMessage`."""
        return await self._one(sampling(messages, max_tokens=max_tokens, system=system, **more), key)

    async def roots(self, *, key: str | None = None) -> list[Root]:
        """The folders that the client's user works in; informational, never an authorization."""
        return await self._one(roots(), key)

    @overload
    async def ask(self, **questions: Question[Answer]) -> dict[str, Answer]: ...
    @overload
    async def ask(self, **questions: Question[Any]) -> dict[str, Any]: ...
    async def ask(self, **questions: Question[Any]) -> dict[str, Any]:
        """Put several questions in one round: `await ctx.ask(name=elicitation(...), fact=sampling(...))`."""
        return await self._put(questions)

    async def pause(self, retry_ms: int = 1000) -> None:
        """Let the client's connection go while a long call runs on; a legacy client with a session comes back."""
        await self._sink.pause(retry_ms)

    def upstream(self, name: str) -> Any:
        """An API behind this server, called as this call's caller: `await ctx.upstream("orders").get("/orders/1")`.

        The caller's token is traded for one of the API's, within the call's time. Raises `LookupError` for a name that
        no API has.
        """
        if self._facts.shared.upstreams is None:
            raise LookupError("no API is configured: MCP_OPENAPI, MCP_UPSTREAM_URL or mcp.toml")
        return self._facts.shared.upstreams.bind(name, self._facts)

    def resource_updated(self, uri: str) -> None:
        """Tell whoever subscribed to this resource that it changed."""
        self._facts.shared.resource_updated(uri)

    async def _one(self, question: Question[Answer], key: str | None) -> Answer:
        self._asked += 1
        name = key or f"q{self._asked}"
        answer: Answer = (await self._put({name: question}))[name]
        return answer

    async def _put(self, questions: Mapping[str, Question[Any]]) -> dict[str, Any]:
        check(questions, self._facts.capabilities)
        return await self._rounds.ask(questions)

    def _may_speak(self) -> bool:
        now = time.monotonic()
        self._tokens = min(float(BURST), self._tokens + (now - self._counted_at) * PER_SECOND)
        self._counted_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def facts_of(context: Context) -> CallFacts:
    """All that is known of a call: what goes on to an API takes its caller with it."""
    return context._facts  # noqa: SLF001 - the same module
