"""An author's code run for a call: its context, its rounds of questions, and what its failures become."""

import asyncio
import functools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from mcp_server.authoring import interaction
from mcp_server.authoring.context import CallFacts, Context
from mcp_server.authoring.errors import MissingCapability, ProtocolError, ResourceNotFound, ToolError
from mcp_server.authoring.interaction import (
    InputRequired,
    Interaction,
    Question,
    RequestStateCodec,
    ResumableInteraction,
    WaitingInteraction,
)
from mcp_server.authoring.sink import Sink
from mcp_server.engine.call import Admitted, Call, ResourceMatch
from mcp_server.engine.methods import prompts, tools
from mcp_server.engine.methods import tasks as task_features
from mcp_server.engine.methods.lists import LIST_TTL_MS
from mcp_server.limits.concurrency import Place
from mcp_server.observe.log import logger
from mcp_server.protocol import downgrade, errors, methods
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.sealed import InvalidSealedValue
from mcp_server.protocol.types.notifications import LogLevel
from mcp_server.protocol.types.resources import ReadResourceResult
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.registry import threads
from mcp_server.registry.prompt import Prompt
from mcp_server.registry.server import McpServer
from mcp_server.registry.threads import Blocking, Threads
from mcp_server.registry.tool import Tool
from mcp_server.sessions.client_requests import ClientRequests
from mcp_server.sessions.tasks import TaskInteraction, Tasks
from mcp_server.store.backend import StoreUnavailable

RESULT_TTL_MS = 0
"""What a resource holds may change at any time: a client may keep it, but asks again before it uses it."""
_decode_level = msgspec.json.Decoder(LogLevel).decode


class Invoker:
    """Runs handlers."""

    def __init__(
        self,
        server: McpServer,
        keeper: RequestStateCodec,
        questions: ClientRequests,
        tasks: Tasks | None,
        pool: Threads,
        server_meta: Raw,
    ) -> None:
        self._server, self._keeper, self._questions, self._tasks = server, keeper, questions, tasks
        self._pool, self._server_meta = pool, server_meta
        self.task_ended: Callable[[Call, str, str], None] = lambda *_: None
        """Told of each task that has run: the call that began it, the tool, and how it ended."""

    async def run(self, admitted: Admitted, place: Place | None = None) -> object | RpcError:
        """A handler's result in the revision's shape, the questions it asks, or the rejection in its place.

        `place` is the slot of its caller's limit that the call takes, None where nobody else could be kept waiting.
        """
        threads.current.set(Blocking(self._pool, place))
        call, target = admitted.call, admitted.target
        peek = call.peek
        carried: ResumableInteraction | None = None
        try:
            if call.modern and (peek.request_state is not UNSET or peek.input_responses is not UNSET):
                carried = await self._resume(call, single_use=getattr(target, "single_use", False))
            if not isinstance(target, Tool):
                return await self._run_other(admitted, lambda: self._context(call, carried))
            takes_task = target.task != "never" and call.principal is not None
            if takes_task and self._tasks is not None and task_features.declared(call):
                return await self._start_task(self._tasks, target, call, carried)
            result = await tools.call(target, peek.arguments, call.revision, lambda: self._context(call, carried))
            if isinstance(result, RpcError):
                return result
            return downgrade.call_result(result, call.revision, self._server_meta)
        except InputRequired as asked:
            return self._ask(asked, call)
        except InvalidSealedValue as error:
            logger.info("requestState refused", reason=str(error), request=call.request_id)
            return errors.invalid_params("requestState is not valid for this call")
        except ProtocolError as error:
            return RpcError(code=error.code, message=error.message, data=error.data)
        except StoreUnavailable:
            raise
        except Exception:  # noqa: BLE001 - the caller learns that it failed, the log why
            return self._failed(admitted)

    async def _run_other(self, admitted: Admitted, context: Callable[[], Context]) -> object | RpcError:
        call, target = admitted.call, admitted.target
        try:
            if isinstance(target, Prompt):
                got = await prompts.get(target, call, context)
                return (
                    got if isinstance(got, RpcError) else downgrade.prompt_result(got, call.revision, self._server_meta)
                )
            if isinstance(target, ResourceMatch):
                return await self._read(target, call, context)
            completed = await prompts.complete(self._server, call, context)
            return downgrade.complete(completed, call.revision, self._server_meta)
        except MissingCapability as error:
            return errors.missing_capability(error.required) if call.modern else errors.invalid_params(str(error))
        except ToolError as error:
            return RpcError(code=errors.INTERNAL_ERROR, message=str(error))

    def _context(self, call: Call, carried: ResumableInteraction | None) -> Context:
        return Context(self._facts(call), call.open_sink(), self._rounds(call, carried))

    async def _read(self, reading: ResourceMatch, call: Call, context: Callable[[], Context]) -> object | RpcError:
        try:
            contents = await reading.resource.read(reading.uri, reading.arguments, context)
        except ResourceNotFound:
            return errors.resource_not_found(reading.uri, modern=call.modern)
        result = ReadResourceResult(contents=contents)
        same_for_all = reading.resource.same_for_all
        ttl_ms = LIST_TTL_MS if same_for_all else RESULT_TTL_MS
        return downgrade.cacheable(result, call.revision, self._server_meta, ttl_ms=ttl_ms, public=same_for_all)

    async def _start_task(
        self, tasks: Tasks, tool: Tool, call: Call, carried: ResumableInteraction | None
    ) -> object | RpcError:
        first = (carried or ResumableInteraction({}, {})) if tool.ask_first else None

        async def run(running: TaskInteraction) -> CallToolResult | RpcError:
            context = functools.partial(Context, self._facts(call), running, running)
            outcome = "task_failed"
            try:
                result = await tools.call(tool, call.peek.arguments, call.revision, context)
                outcome = "task_failed" if isinstance(result, RpcError) else "task_completed"
            except ProtocolError as error:
                return RpcError(code=error.code, message=error.message, data=error.data)
            except InputRequired:
                outcome = ""  # asked in the call, before it became a task
                raise
            except asyncio.CancelledError:
                outcome = "task_cancelled"
                raise
            finally:
                if outcome:
                    self.task_ended(call, tool.name, outcome)
            return result if isinstance(result, RpcError) else self._shape_call(result, call)

        try:
            created = await tasks.start(call.owner, tool.name, run, first)
        except ToolError as error:
            return self._shape_call(tools.failed(str(error)), call)
        return msgspec.structs.replace(created, meta=self._server_meta)

    def _ask(self, asked: InputRequired, call: Call) -> object | RpcError:
        """The round ends: the state that the client shall bring back is sealed."""
        if call.request.method not in methods.ASKS:
            logger.error("a completion asked its client", method=call.request.method)
            return msgspec.structs.replace(errors.internal_error(), status=200)
        try:
            state = self._keeper.seal(asked.carried, self._binding(call))
        except ToolError as error:
            return self._shape_call(tools.failed(str(error)), call)
        except InvalidSealedValue:  # arguments that a handler could take, and that are too deep from here
            return errors.too_deep()
        except (msgspec.MsgspecError, TypeError, ValueError):
            logger.exception("notes cannot be encoded", method=call.request.method)
            return msgspec.structs.replace(errors.internal_error(), status=200)
        required = interaction.required(asked.questions, state)
        return msgspec.structs.replace(required, result_type="input_required", meta=self._server_meta)

    async def _resume(self, call: Call, *, single_use: bool) -> ResumableInteraction:
        return await self._keeper.resume(call.peek, self._binding(call), single_use=single_use)

    @staticmethod
    def _binding(call: Call) -> tuple[str, ...]:
        return interaction.binding(call.owner, call.request.method, call.request.params)

    def _rounds(self, call: Call, carried: ResumableInteraction | None) -> Interaction:
        if call.modern:
            return carried or ResumableInteraction({}, {})
        return WaitingInteraction(functools.partial(self._put, call))

    async def _put(self, call: Call, questions: Mapping[str, Question[Any]]) -> dict[str, Raw]:
        """Put questions to a legacy client, all at once; `asking.check` has seen that there is a session."""
        session = call.session.id if call.session else ""
        sink: Sink = call.open_sink()
        try:
            async with asyncio.TaskGroup() as asking:  # who refuses one question has ended the call: none stays open
                jobs = [
                    asking.create_task(
                        self._questions.ask(
                            session, sink.send, one.request.method, _legacy_params(one, f"{call.request_id}-{key}")
                        )
                    )
                    for key, one in questions.items()
                ]
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        return {key: job.result() for key, job in zip(questions, jobs, strict=True)}

    def _facts(self, call: Call) -> CallFacts:
        token = call.peek.meta.progress_token
        return CallFacts(
            principal=call.principal,
            request_id=call.request_id,
            trace_id=call.trace_id,
            revision=call.revision,
            state=self._server.state,
            capabilities=call.capabilities(),
            progress_token=None if token is UNSET else token,
            log_level=_log_level(call),
            server=self._server,
        )

    def _failed(self, admitted: Admitted) -> object | RpcError:
        target, call = admitted.target, admitted.call
        logger.exception("handler failed", method=call.request.method, name=getattr(target, "name", ""))
        if isinstance(target, Tool):
            text = f"{target.name} failed; the server's log has request {call.request_id}"
            return self._shape_call(tools.failed(text), call)
        return msgspec.structs.replace(errors.internal_error(), status=200)

    def _shape_call(self, result: CallToolResult, call: Call) -> CallToolResult:
        return downgrade.call_result(result, call.revision, self._server_meta)


def level_named(call: Call) -> LogLevel | RpcError | None:
    """The log level that a modern request asks for; an unknown one is refused."""
    raw = call.peek.meta.log_level
    if raw is UNSET:
        return None
    try:
        level: LogLevel = _decode_level(raw)
    except errors.UNREADABLE:
        return errors.invalid_params("logLevel is none of the eight levels")
    return level


def _log_level(call: Call) -> LogLevel | None:
    if call.modern:
        named = level_named(call)
        return None if isinstance(named, RpcError) else named
    return call.session.log_level if call.session else None


def _legacy_params(question: Question[Any], elicitation_id: str) -> Any:
    """The parameters as a legacy request has them: an address to visit has an id there."""
    params = question.request.params
    if isinstance(params, dict) and params.get("mode") == "url":
        return {**params, "elicitationId": elicitation_id}
    return params
