"""The way of a call, the same for every transport: admission → limits → the work → its outcome, recorded once."""

import asyncio
import functools
import itertools
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from mcp_server.engine import limiting, records, spans
from mcp_server.engine.call import Admission, Admitted, BadCall, Call, Challenged, Channel
from mcp_server.engine.limiting import CallLimits, StatedLimits
from mcp_server.engine.needs import UNDECIDED
from mcp_server.engine.outcome import (
    CUT,
    LATE,
    Cancelled,
    Denied,
    Failed,
    Limited,
    Outcome,
    Subscribed,
    Unavailable,
)
from mcp_server.engine.runtime import Runtime
from mcp_server.engine.supervisor import CallSupervisor, CallSupervisors, CancelReason
from mcp_server.identity import Principal
from mcp_server.limits.allowances import NOTHING_HELD, Ask, Grant, Refusal, Wanted
from mcp_server.limits.concurrency import ConcurrencyLimiter, Place
from mcp_server.limits.limiter import Limiter
from mcp_server.limits.rate import RateLimiter
from mcp_server.observe import metrics, tracing
from mcp_server.observe.audit import Decision
from mcp_server.observe.load import Load
from mcp_server.observe.log import logger
from mcp_server.observe.recorder import Recorder
from mcp_server.observe.tracing import RequestContext, Traces
from mcp_server.protocol import errors, methods
from mcp_server.protocol.errors import RpcError
from mcp_server.sessions.subscriptions import Subscription
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.revocations import Revocation

STREAMS_RETRY_S: Final = 5
CALLS_RETRY_S: Final = 1
LONG_S: Final = 5.0
"""A call that runs so long leaves a line of its beginning, whatever it does."""
TOKEN_REVOKED: Final = Denied(frozenset(), anonymous=False, ended=True)
"""Of a caller whose token was revoked since it was judged."""
REVOKED_MEANWHILE: Final = msgspec.structs.replace(TOKEN_REVOKED, ran=True)
"""The same while its handler ran."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller may do: handlers at once, handlers begun in a second, and all its messages in a second.

    The `stated` ones are counted with the other workers' where these share a store; with `rate` None the handlers begun
    in a second are among them. A call may take `call_timeout_s` seconds.
    """

    calls: ConcurrencyLimiter
    rate: RateLimiter | None
    messages: RateLimiter
    stated: CallLimits = msgspec.field(default_factory=lambda: CallLimits(StatedLimits(), Limiter()))
    call_timeout_s: float = 600


class Pipeline:
    """Serves calls of one runtime within limits, and tells a recorder of each."""

    def __init__(
        self,
        runtime: Runtime,
        limits: Limits,
        recorder: Recorder,
        supervisors: CallSupervisors,
        traces: Traces | None = None,
    ) -> None:
        self.runtime, self._limits, self._recorder, self._supervisors = runtime, limits, recorder, supervisors
        self.traces = runtime.invoker.traces = traces or Traces()
        if runtime.sessions is not None:
            runtime.sessions.durations.operations = lambda: self.traces.operations
        self._prefix, self._numbers = os.urandom(6).hex(), itertools.count(1)
        self._begun: dict[int, str] = {}
        """The admissions (by `id`) of running calls whose beginning was written down, and their calls' names."""
        self._answered_for: dict[int, Outcome] = {}
        """The admissions (by `id`) of calls that were ended and go on, and what was answered for them."""
        supervisors.late, supervisors.outlived = self._late, self._answer_for
        self._is_revoked = runtime.revocations.known.over
        runtime.revocations.followers["calls"] = self._revoked
        self.stop = limits.stated.stop
        runtime.invoker.slot = limits.stated.slot
        runtime.invoker.task_ended = functools.partial(records.task_ended, recorder)
        runtime.invoker.ended = functools.partial(records.task_never_ran, recorder)

    async def serve(self, call: Call, *, counted: bool = False) -> Outcome:
        """What becomes of a call; `counted` is whether its message has been counted against its caller already.

        Raises nothing but what ends the task itself: whatever became of the call, it has been recorded once.
        """
        started = time.perf_counter()
        admission: Admission | None = None
        outcome: Outcome | None = None
        trace, here = call.trace, tracing.here.get()
        mark = None
        if trace is not here.trace or call.request_id != here.request_id:  # an item of a batch, or of a pipe
            mark = tracing.here.set(RequestContext(call.request_id, trace))
        try:
            admission = self.runtime.admit(call)
            if trace is not None and trace.sampled:
                spans.begin(trace, call, self._name(call, admission))
            if isinstance(admission, Admitted) and call.request.method in methods.RUNS_HANDLER:
                outcome = await self._run(admission, started)
            else:
                outcome = await self._answer(call, admission, counted=counted)
        except StoreUnavailable as error:
            logger.error("the shared store is away", reason=str(error))
            outcome = Unavailable()
        except Exception as error:  # noqa: BLE001 - an unauthenticated caller never sees a trace
            logger.opt(exception=error).error("request failed")
            outcome = Failed(errors.internal_error().for_request(call.request.id), "failed")
        finally:  # also where the task is cancelled: this is the one line and the one count of a call
            if self._answered_for and (early := self._answered_for.pop(id(admission), None)) is not None:
                outcome = early  # what it has come to since is told nobody
            else:
                self._record(call, admission, outcome, time.perf_counter() - started)
            if mark is not None:
                tracing.here.reset(mark)
        return outcome

    def load(self) -> Load:
        """What is in hand now."""
        runtime = self.runtime
        return Load(self._limits.calls.total, len(runtime.listeners), len(runtime.tasks.running))

    def supervisor(self) -> CallSupervisor:
        """One of the running task, for what a transport does before there is a call; its channel hands it on."""
        return CallSupervisor(self._supervisors)

    def count(self, caller: str, messages: int = 1) -> Limited | None:
        """Count messages that begin no handler; the refusal of one caller's flood of them.

        Each costs a line of the audit: unbounded, one reader's pings would rotate away what the audit says of others.
        """
        wait = self._limits.messages.wait(caller, messages)
        return _counted(Limited("too_fast", math.ceil(wait))) if wait else None

    def would_refuse(self, caller: str, method: str) -> Limited | None:
        """Why a call would be refused now, asked before its body is read; nothing is counted."""
        limits = self._limits
        wait = limits.messages.behind(caller)
        if not wait and method in methods.RUNS_HANDLER:
            if (found := limits.stated.would_refuse(caller)) is not None:
                return _counted(found)
            wait = 0.0 if limits.rate is None else limits.rate.behind(caller)
            if not wait and not limits.calls.has_room(caller):
                return _counted(Limited("too_many_at_once", CALLS_RETRY_S))
        return _counted(Limited("too_fast", math.ceil(wait))) if wait else None

    def add_stream(self, subscription: Subscription) -> Limited | Unavailable | None:
        """Take in a stream that is about to open; why none opens now."""
        listeners = self.runtime.listeners
        if listeners.add(subscription):
            return None
        return Unavailable("stopping") if listeners.closing else _counted(Limited("too_many_streams", STREAMS_RETRY_S))

    def deny(self, call: Call, reason: str) -> None:
        """Write down a call that its transport refused before it could be admitted: its token has ended."""
        decision = records.refused(call, reason)
        self._finished(call, decision, "refused", 0.0)

    def unreadable(self, principal: Principal, reason: str) -> None:
        """Write down a message that is refused before it could become a call."""
        self._recorder.noted(records.unreadable(principal, reason))

    async def _answer(self, call: Call, admission: Admission, *, counted: bool) -> Outcome:
        """What becomes of a call behind which no author's code runs, or that is not admitted."""
        if not counted and (limited := self.count(call.channel.caller)):
            return limited
        if isinstance(admission, RpcError):
            reason = "scopes_undecided" if admission is UNDECIDED else ""
            return Failed(admission.for_request(call.request.id), reason)
        if isinstance(admission, BadCall):
            return self.runtime.invoker.bad_arguments(call, admission)
        if isinstance(admission, Challenged):
            return admission.denied(call.principal)
        outcome = await self.runtime.answer(call)
        refused = self.add_stream(outcome.subscription) if isinstance(outcome, Subscribed) else None
        return refused or outcome

    async def _run(self, admitted: Admitted, started: float) -> Outcome:
        """Run an author's code within its caller's limits; the slot comes back when it and its threads have ended.

        It ends by itself, when its time is over, when its client hangs up, or when a later message cancels it.
        """
        call, limits, calls = admitted.call, self._limits, self.runtime.calls
        channel = call.channel
        if refused := self._take_slot(channel.caller):
            return refused
        place = Place(limits.calls, channel.caller)
        watch = channel.supervisor or self.supervisor()
        if conversation := channel.conversation:  # before a store is asked: a client may cancel it meanwhile
            channel.begun(admitted.kept_for, (call.request.method, admitted.name))
            calls.begun(conversation, call.request.id, functools.partial(_cancel, channel, watch))
        granted, outcome, invoked = NOTHING_HELD, None, False
        try:
            if wanted := limits.stated.to_ask(admitted):
                begun = await _count_stated(limits.stated, call, wanted)
                if isinstance(begun, Refusal):
                    return _counted(limiting.limited(begun))
                granted, place.on_released = begun, begun.release
            watch.begin(limits.call_timeout_s, channel, admitted, started)
            # From here on `_revoked` finds it.
            revoked = call.principal is not None and self._is_revoked(call.principal)
            ahead = self._recorder.begun == "before" and records.may_act(admitted)
            if (revoked or ahead) and (barred := await self._barred(admitted, revoked=revoked)) is not None:
                return barred
            invoked = True
            outcome = await self.runtime.invoker.run(admitted, place)
            return outcome if watch.reason is None else _swallowed(call, watch.reason) or outcome
        except asyncio.CancelledError:
            if not watch.absorb_cancellation() or watch.reason is None:
                raise
            return _ended(call, watch.reason) if invoked else _not_begun(call, watch.reason)
        finally:
            if outcome is None and not place.began:  # nothing has, nor ever will: no quota has it
                granted.undo()
            place.release()
            watch.stop()
            if conversation:
                calls.ended(conversation, call.request.id)

    def hung_up(self, whose: Callable[[Call], bool]) -> None:
        """The client of these calls has gone."""
        self._supervisors.end_those(lambda about: isinstance(about, Admitted) and whose(about.call), "disconnected")

    def _revoked(self, revocation: Revocation) -> int:
        """End the running calls of tokens that are over: what they come to is told nobody."""

        def whose(about: object) -> bool:
            who = about.call.principal if isinstance(about, Admitted) else None
            return who is not None and revocation.ends(who)

        return self._supervisors.end_those(whose, "revoked")

    def _take_slot(self, caller: str) -> Outcome | None:
        """Take a slot of a caller's limit; why there is none."""
        if self._supervisors.over:  # the rest of a batch: what began now nobody would end, nor hear of
            return Unavailable("stopping")
        if self._recorder.refuses:
            return Unavailable("audit_failing")
        limits = self._limits
        if not limits.calls.acquire(caller):  # before anything is asked of a store: so many may wait for it
            return _counted(Limited("too_many_at_once", CALLS_RETRY_S))
        if limits.rate is not None and (wait := limits.rate.wait(caller)):  # last: what is counted has begun
            limits.calls.release(caller)
            return _counted(Limited("too_fast", math.ceil(wait)))
        return None

    async def _barred(self, admitted: Admitted, *, revoked: bool) -> Outcome | None:
        """Why a call that was counted must not begin: its token is over, or its beginning cannot be written down."""
        if revoked:
            return TOKEN_REVOKED
        return None if await self._recorder.written(self._beginning(admitted)) else Unavailable("audit_failing")

    def _late(self, about: object) -> tuple[float, Callable[[], None]] | None:
        """A call takes its time: its beginning is written down now, or when it takes long."""
        if not isinstance(about, Admitted) or self._recorder.begun == "off" or self._is_written(about):
            return None
        if not records.may_act(about):
            return LONG_S, functools.partial(self._note_begun, about)
        self._note_begun(about)
        return None

    def _answer_for(self, about: object, reason: CancelReason, started: float) -> None:
        """Answer for a handler that goes on though it was ended, and write it down: nobody knows when it will end.

        An item of a batch has this answer, too, and waits for the others'.
        """
        if not isinstance(about, Admitted):
            return
        outcome = _ended(about.call, reason)
        about.call.channel.answer_for(about.call, outcome)
        self._record(about.call, about, outcome, time.perf_counter() - started)
        self._answered_for[id(about)] = outcome

    def _note_begun(self, admitted: Admitted) -> None:
        if not self._is_written(admitted):
            self._recorder.noted(self._beginning(admitted))

    def _is_written(self, admitted: Admitted) -> bool:
        """Whether its beginning is, or its end, after which nothing would take its name back (another has its `id`)."""
        return id(admitted) in self._begun or id(admitted) in self._answered_for

    def _beginning(self, admitted: Admitted) -> Decision:
        self._begun[id(admitted)] = name = f"{self._prefix}{next(self._numbers):x}"
        return records.beginning(admitted, name)

    def _record(self, call: Call, admission: Admission | None, outcome: Outcome | None, seconds: float) -> None:
        name = self._name(call, admission)
        needed = admission.needed if isinstance(admission, Admitted) else frozenset()
        if type(outcome) is Denied and not outcome.ended:  # also by a handler, which asked for more than was declared
            needed = outcome.needed
        decision, counted_as = records.decision(call, name, needed, outcome, admitted=admission is not None)
        if isinstance(admission, Admitted):
            records.add_what_ran(decision, admission, outcome, seconds)
            if self._begun:
                decision.call = self._begun.pop(id(admission), "")
        self._finished(call, decision, counted_as, seconds)
        if counted_as != "ok" or ((trace := call.trace) is not None and trace.span is not None):
            spans.end(self.traces, call, name, outcome, seconds)

    def _finished(self, call: Call, decision: Decision, counted_as: str, seconds: float) -> None:
        self._recorder.finished(
            decision,
            method=_known(call.request.method),
            outcome=counted_as,
            seconds=seconds,
            revision=call.revision,
            piped=call.headers is None,
        )

    def _name(self, call: Call, admission: Admission | None) -> str:
        """The registered name of what a call asks for, also where it is not let in; never a caller's own words."""
        return admission.name if isinstance(admission, Admitted) else self.runtime.policy.tool_name(call)


async def _count_stated(stated: CallLimits, call: Call, wanted: Sequence[Wanted]) -> Grant | Refusal:
    """Count a call against the limits that were stated."""
    begun = stated.begin(wanted)
    if isinstance(begun, Ask):
        begun = await stated.settled(begun)
    if stated.told:
        call.channel.standing = stated.stands(wanted)
    return begun


def _counted(limited: Limited) -> Limited:
    metrics.limited(limited.scope)
    return limited


def _known(method: str) -> str:
    """The label of a method in metrics: a caller's own words would make a series each."""
    return method if method in methods.REVISIONS_OF else records.OTHER


def _cancel(channel: Channel, watch: CallSupervisor) -> None:
    channel.silence()
    watch.cancelled()


def _swallowed(call: Call, reason: CancelReason) -> Outcome | None:
    """What becomes of a call that was ended, though its handler has returned something all the same."""
    return _ended(call, reason) if reason == "cancelled" or reason == "revoked" else None  # noqa: PLR1714 - narrows it


def _ended(call: Call, reason: CancelReason) -> Outcome:
    match reason:
        case "timed_out":
            late = RpcError(code=errors.INTERNAL_ERROR, message=LATE)
            return Failed(late.for_request(call.request.id), reason)
        case "stopping":  # no Retry-After: it may have acted, and a client that repeats it by itself would act twice
            cut = RpcError(code=errors.INTERNAL_ERROR, message=CUT, status=503)
            return Failed(cut.for_request(call.request.id), reason)
        case "revoked":
            return REVOKED_MEANWHILE
        case _:
            return Cancelled(reason)


def _not_begun(call: Call, reason: CancelReason) -> Outcome:
    """What becomes of a call that was ended while the store or the audit was asked whether it may begin."""
    match reason:
        case "stopping":
            return Unavailable("stopping")
        case "revoked":
            return TOKEN_REVOKED
        case "cancelled" | "disconnected":
            return Cancelled(reason, ran=False)
        case _:
            return _ended(call, reason)
