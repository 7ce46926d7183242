"""An author's code run for a call: its context, its rounds of questions, and what its failures become."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from mcp_server.authoring import interaction
from mcp_server.authoring.context import CallFacts, Context, SharedContext, TaskRequest
from mcp_server.authoring.errors import (
    BadArguments,
    MissingCapability,
    ProtocolError,
    ResourceNotFound,
    SessionEnded,
    ToolError,
)
from mcp_server.authoring.interaction import (
    InputRequired,
    Question,
    ResumableInteraction,
    WaitingInteraction,
)
from mcp_server.authoring.sink import DeferredSink, Sink
from mcp_server.engine import spans
from mcp_server.engine.admission import log_level
from mcp_server.engine.call import Admitted, BadCall, Call, ResourceMatch, Target
from mcp_server.engine.methods import prompts, tools
from mcp_server.engine.methods import tasks as task_methods
from mcp_server.engine.methods.lists import LIST_TTL_MS
from mcp_server.engine.methods.task_jobs import EXPIRED, UNREADABLE, Codecs
from mcp_server.engine.needs import UNDECIDED, Needs
from mcp_server.engine.outcome import Completed, Denied, Failed, NeedsInput, Outcome, ToolFailed, answered, cut_off
from mcp_server.identity import Principal, marks_of, missing
from mcp_server.limits import threads
from mcp_server.limits.concurrency import Place
from mcp_server.limits.threads import Blocking, Threads
from mcp_server.observe import tracing
from mcp_server.observe.log import logger
from mcp_server.protocol import downgrade, errors, methods
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.sealed import InvalidSealedValue, UnknownKey
from mcp_server.protocol.types.resources import ReadResourceResult
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.registry.prompt import Prompt
from mcp_server.registry.requirement import NeedsScopes, Undecided
from mcp_server.registry.server import McpServer
from mcp_server.registry.tool import Tool
from mcp_server.sessions.client_requests import ClientRequests
from mcp_server.sessions.tasks import NewTask, TaskInteraction, Tasks
from mcp_server.sessions.tasks.record import TaskRecord
from mcp_server.sessions.tasks.run import MayHaveActed, Run
from mcp_server.store.backend import StoreUnavailable

RESULT_TTL_MS = 0
"""What a resource holds may change at any time: a client may keep it, but asks again before it uses it."""


class Invoker:
    """Runs handlers."""

    def __init__(
        self,
        server: McpServer,
        codecs: Codecs,
        questions: ClientRequests,
        tasks: Tasks | None,
        pool: Threads,
        server_meta: Raw,
        needs: Needs,
    ) -> None:
        self._needs, self._codec, self._jobs = needs, codecs.rounds, codecs.jobs
        self._server, self._questions, self._tasks = server, questions, tasks
        self._pool, self._server_meta, self.traces = pool, server_meta, tracing.Traces()
        self.slot: Callable[[Tool, Call], Awaitable[Callable[[], None]]] | None = None
        """Waits until one more of the tool's calls may run at once; what it returns gives the slot back."""
        self.task_ended: Callable[[Call, str, str], None] = lambda *_: None
        """Told of each run of a task: the call that began it, the tool, and how it ended."""
        self.ended: Callable[[TaskRecord, str], None] = lambda *_: None
        """Told of a task that has failed without a run: its worker was lost, or its caller may have it run no more."""

    async def run(self, admitted: Admitted, place: Place | None = None) -> Outcome:
        """What becomes of a call behind which author's code runs.

        Raises `StoreUnavailable` where none of it has begun, nor ever will for this call, and nothing else of ours.

        `place` is the slot of its caller's limit that the call takes, None where nobody else could be kept waiting.
        """
        threads.current.set(blocking := Blocking(self._pool, place))
        call, target = admitted.call, admitted.target
        carried: ResumableInteraction | None = None
        outcome: Outcome | RpcError
        began = False
        try:
            if call.peek.request_state is not UNSET or call.peek.input_responses is not UNSET:
                carried = await self._carried(call, target)
            if isinstance(target, Tool) and (tasks := self._tasks_for(call, target)) is not None:
                outcome = await self._start_task(tasks, target, admitted, carried, place)
            else:
                began = True
                blocking.begin()
                context = functools.partial(self._context, call, carried)
                if isinstance(target, Tool):  # nearly every call: no function of its own between
                    result = await tools.call(target, call.peek.arguments, call.revision, context, admitted.arguments)
                    outcome = self._tool_result(result, call)
                else:
                    outcome = await self._run_other(admitted, context)
        except (Exception, InputRequired) as error:  # the caller learns that it failed, the log why
            if isinstance(error, StoreUnavailable) and not began:
                raise
            outcome = self._ended_with(error, admitted)
        return Failed(outcome.for_request(call.request.id)) if isinstance(outcome, RpcError) else outcome

    def _ended_with(self, error: Exception | InputRequired, admitted: Admitted) -> Outcome | RpcError:
        """What becomes of a call that ended with an exception; where the store fails it, it has begun all the same."""
        call = admitted.call
        match error:
            case StoreUnavailable():  # first, whatever else an author's class is
                return cut_off(call.request, error)
            case InputRequired():
                return self._ask(error, call)
            case NeedsScopes() | SessionEnded():
                return self._needing(error, admitted)
            case InvalidSealedValue():
                logger.info("requestState refused", reason=str(error), request=call.request_id)
                return errors.invalid_params("requestState is not valid for this call")
            case ProtocolError():
                return RpcError(code=error.code, message=error.message, data=error.data)
            case _:
                logger.exception("handler failed", method=call.request.method, name=admitted.name)
                return self._told_as_failed(admitted)

    def bad_arguments(self, call: Call, refused: BadCall) -> Outcome:
        """What is told of arguments that are wrong: of a tool in its revision's way, else as a bad request."""
        told: CallToolResult | RpcError = errors.invalid_params(refused.text)
        if isinstance(refused.target, Tool):
            told = tools.bad_arguments(refused.target, call.peek.arguments, call.revision, refused.text)
        return self._tool_result(told, call)

    def _needing(self, raised: NeedsScopes | SessionEnded, admitted: Admitted) -> Outcome | RpcError:
        """A handler's own demand, refused as a declared one is; or a token that came out to be good no longer."""
        call = admitted.call
        if isinstance(raised, SessionEnded):
            return Denied(frozenset(), anonymous=False, ended=True)
        try:
            return self._denied(raised, call) or self._told_as_failed(admitted)
        except BadArguments as error:
            return self.bad_arguments(call, BadCall(admitted.target, str(error)))
        except Undecided as error:
            logger.error("a handler needs what cannot be asked for", reason=str(error), request=call.request_id)
            return Failed(UNDECIDED.for_request(call.request.id), "scopes_undecided")

    def _denied(self, raised: NeedsScopes, call: Call) -> Denied | None:
        """What a handler asks for, as a refusal; None where its caller has all of it.

        A challenge would then be a lie: the client logs in, comes back with the same scopes, and is challenged for
        ever. It is the handler that fails, and no client can mend it (decision 14).

        Raises `BadArguments` for a value that no scope may hold, `Undecided` for a scope that is not declared.
        """
        choice = self._needs.raised(raised, call.principal)
        if choice.missing:
            return Denied(choice.needed, anonymous=call.principal is None)
        logger.error(
            "a handler asks for scopes that its caller holds; ctx.holds(...) tells it",
            method=call.request.method,
            scopes=sorted(choice.needed),
            request=call.request_id,
        )
        return None

    def _demand_of_task(self, raised: NeedsScopes, tool: Tool, call: Call) -> CallToolResult | RpcError:
        """The same in a task, which has been told of already: it fails, and says which scopes it wanted."""
        try:
            if (denied := self._denied(raised, call)) is None:
                return errors.internal_error()
            return RpcError(code=errors.AUTHORIZATION_ERROR, message=denied.text)
        except BadArguments as error:
            return tools.bad_arguments(tool, call.peek.arguments, call.revision, str(error))
        except Undecided as error:
            logger.error("a handler needs what cannot be asked for", reason=str(error), request=call.request_id)
            return UNDECIDED

    def _holds(self, principal: Principal | None, scopes: Any, values: Mapping[str, object]) -> bool:
        return self._needs.holds(NeedsScopes(scopes, **values), principal)

    async def _carried(self, call: Call, target: Target | None) -> ResumableInteraction | None:
        """What a repeated call brings with it."""
        if not call.modern:
            return None
        single_use = getattr(target, "single_use", False)
        return await self._codec.resume(call.peek, self._binding(call), single_use=single_use)

    def _tasks_for(self, call: Call, tool: Tool) -> Tasks | None:
        """Where the call becomes a task: of a tool that may, for a known caller whose client knows tasks."""
        known = tool.task != "never" and call.principal is not None
        return self._tasks if known and task_methods.declared(call) else None

    async def _run_other(self, admitted: Admitted, context: Callable[[], Context]) -> Outcome | RpcError:
        call, target = admitted.call, admitted.target
        try:
            result: object
            if isinstance(target, Prompt):
                got = await prompts.get(target, call, context, admitted.arguments)
                if isinstance(got, RpcError):
                    return got
                result = downgrade.prompt_result(got, call.revision, self._server_meta)
            elif isinstance(target, ResourceMatch):
                result = await self._read(target, call, context)
                if isinstance(result, RpcError):
                    return result
            else:
                completed = await prompts.complete(self._server, call, context)
                result = downgrade.complete(completed, call.revision, self._server_meta)
        except MissingCapability as error:
            return errors.missing_capability(error.required) if call.modern else errors.invalid_params(str(error))
        except SessionEnded:
            raise
        except ToolError as error:
            return RpcError(code=errors.INTERNAL_ERROR, message=str(error))
        return answered(call.request, result)

    async def _read(self, match: ResourceMatch, call: Call, context: Callable[[], Context]) -> object | RpcError:
        try:
            contents = await match.resource.read(match.uri, match.arguments, context)
        except ResourceNotFound:
            return errors.resource_not_found(match.uri, modern=call.modern)
        result = ReadResourceResult(contents=contents)
        same_for_all = match.resource.same_for_all
        ttl_ms = LIST_TTL_MS if same_for_all else RESULT_TTL_MS
        return downgrade.cacheable(result, call.revision, self._server_meta, ttl_ms=ttl_ms, public=same_for_all)

    def _context(self, call: Call, carried: ResumableInteraction | None) -> Context:
        sink = DeferredSink(call.channel.open_sink)
        if call.modern:
            return Context(self._facts(call), sink, carried or ResumableInteraction({}, {}))
        return Context(self._facts(call), sink, WaitingInteraction(functools.partial(self._put, call, sink)))

    async def _start_task(
        self,
        tasks: Tasks,
        tool: Tool,
        admitted: Admitted,
        carried: ResumableInteraction | None,
        place: Place | None,
    ) -> Outcome:
        call = admitted.call
        begun = NewTask(
            principal_key=call.owner,
            tool=tool.name,
            needed=admitted.kept_for,
            run=self._task_run(tool, call, admitted.arguments),
            job=functools.partial(self._jobs.stored, call, tool.name),
            first=(carried or ResumableInteraction({}, {})) if tool.ask_first else None,
            place=place,
            retry=tool.on_lost == "retry",
            marks=None if call.principal is None else marks_of(call.principal),
        )
        try:
            created = await tasks.start(begun)
        except MayHaveActed as away:
            return cut_off(call.request, away)
        except (ToolError, StoreUnavailable) as refused:  # no handler has begun
            if carried is not None:
                await carried.give_back()
            if isinstance(refused, StoreUnavailable):
                raise
            return self._tool_result(tools.failed(str(refused)), call)
        return answered(call.request, msgspec.structs.replace(created, meta=self._server_meta))

    def _task_run(self, tool: Tool, call: Call, arguments: dict[str, Any] | None) -> Run:
        """A call as a run of a task; `arguments` where admission has read them already."""

        async def run(running: TaskInteraction) -> CallToolResult | RpcError:
            running.blocking = threads.current.get().begin()
            running.write_down = functools.partial(self.task_ended, call, tool.name)
            incoming = TaskRequest(call.channel, running.record.id, running.record.attempt)
            facts = msgspec.structs.replace(self._facts(call), incoming=incoming)
            outcome = "task_failed"
            try:
                if self.slot is not None and running.place is not None:  # the first run has those of its call
                    running.place.on_released = await self.slot(tool, call)
                result = await tools.call(
                    tool, call.peek.arguments, call.revision, lambda: Context(facts, running, running), arguments
                )
                outcome = "task_failed" if isinstance(result, RpcError) else "task_completed"
            except ProtocolError as error:
                return RpcError(code=error.code, message=error.message, data=error.data)
            except NeedsScopes as raised:
                result = self._demand_of_task(raised, tool, call)
            except SessionEnded as ended:
                result = tools.failed(str(ended))
            except InputRequired:
                running.write_down = None  # it has not ended: it runs again with the answer
                raise
            except asyncio.CancelledError:
                outcome = f"task_{running.ending or 'failed'}"  # by nobody: its time is over
                raise
            finally:
                running.told(outcome)
            if isinstance(result, RpcError):
                return result
            return downgrade.call_result(result, call.revision, self._server_meta)

        return spans.task_run(self.traces, call, tool.name, run)

    def retries(self, tool: str) -> bool | None:
        """Whether a task of a tool may be run again where its worker was lost; None of one that is not here."""
        found = self._server.tools.get(tool)
        return None if found is None else found.on_lost == "retry"

    def resume(self, record: TaskRecord, job: bytes) -> Run | RpcError:
        """A task that began on another worker, or has asked, as a run; what it needs is asked for anew."""
        try:
            call = self._jobs.restored(job, record.id, record.principal_key)
        except (InvalidSealedValue, *errors.UNREADABLE) as error:
            logger.warning("a task cannot go on as its caller", tool=record.tool, reason=str(error))
            return UNREADABLE if isinstance(error, UnknownKey) else EXPIRED
        tool = self._server.tools.get(record.tool)
        if tool is None or missing(record.needed, call.principal) or not self._needs.within_reach(tool, call.principal):
            return EXPIRED
        run = self._task_run(tool, call, None)

        async def resumed(running: TaskInteraction) -> CallToolResult | RpcError:
            threads.current.set(Blocking(self._pool, running.place))
            return await run(running)

        return resumed

    def _ask(self, asked: InputRequired, call: Call) -> Outcome | RpcError:
        """The round ends: the state that the client shall bring back is sealed."""
        if call.request.method not in methods.ASKS:
            logger.error("a completion asked its client", method=call.request.method)
            return errors.internal_error(status=200)
        try:
            state = self._codec.seal(asked.carried, self._binding(call))
        except ToolError as error:
            return self._tool_result(tools.failed(str(error)), call)
        except InvalidSealedValue:  # arguments that a handler could take, and that are too deep from here
            return errors.too_deep()
        except (msgspec.MsgspecError, TypeError, ValueError):
            logger.exception("notes cannot be encoded", method=call.request.method)
            return errors.internal_error(status=200)
        required = interaction.required(asked.questions, state)
        required = msgspec.structs.replace(required, result_type="input_required", meta=self._server_meta)
        return answered(call.request, required, NeedsInput)

    @staticmethod
    def _binding(call: Call) -> tuple[str, ...]:
        return interaction.binding(call.owner, call.request.method, call.request.params)

    async def _put(self, call: Call, sink: Sink, questions: Mapping[str, Question[Any]]) -> dict[str, Raw]:
        """Put questions to a legacy client, all at once; `questions.check` has seen that there is a session."""
        session = call.session.id if call.session else ""
        try:
            async with asyncio.TaskGroup() as asking:  # who refuses one question has ended the call: none stays open
                jobs = [
                    asking.create_task(
                        self._questions.ask(
                            session, sink.send, one.request.method, one.legacy_params(f"{call.request_id}-{key}")
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
            trace=tracing.here.get().trace,
            revision=call.revision,
            shared=SharedContext(
                self._server.state, self._server.resource_updated, self._holds, self._server.upstreams
            ),
            incoming=call.channel,
            capabilities=call.capabilities(),
            progress_token=None if token is UNSET else token,
            log_level=log_level(call),
        )

    def _told_as_failed(self, admitted: Admitted) -> Outcome | RpcError:
        """What is told of a handler that failed, whatever the log says of it."""
        target, call = admitted.target, admitted.call
        if isinstance(target, Tool):
            text = f"{target.name} failed; the server's log has request {call.request_id}"
            return self._tool_result(tools.failed(text), call)
        return errors.internal_error(status=200)

    def _tool_result(self, result: CallToolResult | RpcError, call: Call) -> Outcome:
        if not isinstance(result, CallToolResult):
            return Failed(result.for_request(call.request.id))
        kind = ToolFailed if result.is_error is True else Completed
        return answered(call.request, downgrade.call_result(result, call.revision, self._server_meta), kind)
