"""The way of a call, the same for every transport: admission → limits → the work → its outcome, recorded once."""

import asyncio
import functools
import math
import time
from typing import Final

import msgspec

from mcp_server.engine import records
from mcp_server.engine.call import Admission, Admitted, BadCall, Call, Challenged, Channel
from mcp_server.engine.needs import UNDECIDED
from mcp_server.engine.outcome import (
    Cancelled,
    Denied,
    Failed,
    Limited,
    Outcome,
    Subscribed,
    Unavailable,
    denied,
)
from mcp_server.engine.runtime import Runtime
from mcp_server.engine.supervisor import CallSupervisor, CallSupervisors, CancelReason
from mcp_server.identity import Principal
from mcp_server.limits.concurrency import ConcurrencyLimiter, Place
from mcp_server.limits.rate import RateLimiter
from mcp_server.observe.log import logger
from mcp_server.observe.recorder import Recorder
from mcp_server.protocol import errors, methods
from mcp_server.protocol.errors import RpcError
from mcp_server.store.backend import StoreUnavailable

STREAMS_RETRY_S: Final = 5
CALLS_RETRY_S: Final = 1
CUT: Final = "The server is stopping: the call was ended, and may have had effects"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller may do: handlers at once, handlers begun in a second, and all its messages in a second.

    A call may take `call_timeout_s` seconds.
    """

    calls: ConcurrencyLimiter
    rate: RateLimiter
    messages: RateLimiter
    call_timeout_s: float = 600


class Pipeline:
    """Serves calls of one runtime within limits, and tells a recorder of each."""

    def __init__(self, runtime: Runtime, limits: Limits, recorder: Recorder, supervisors: CallSupervisors) -> None:
        self.runtime, self._limits, self._recorder, self._supervisors = runtime, limits, recorder, supervisors
        runtime.invoker.task_ended = functools.partial(records.task_ended, recorder)
        runtime.invoker.lost = functools.partial(records.task_lost, recorder)

    async def serve(self, call: Call, *, counted: bool = False) -> Outcome:
        """What becomes of a call; `counted` is whether its message has been counted against its caller already.

        Raises nothing but what ends the task itself: whatever became of the call, it has been recorded once.
        """
        started = time.perf_counter()
        admission: Admission | None = None
        outcome: Outcome | None = None
        try:
            admission = self.runtime.admit(call)
            if isinstance(admission, Admitted) and call.request.method in methods.RUNS_HANDLER:
                outcome = await self._run(admission)
            else:
                outcome = await self._answer(call, admission, counted=counted)
        except StoreUnavailable as error:
            logger.error("the shared store is away", reason=str(error))
            outcome = Unavailable()
        except Exception as error:  # noqa: BLE001 - an unauthenticated caller never sees a trace
            logger.opt(exception=error).error("request failed")
            outcome = Failed(errors.internal_error().for_request(call.request.id), "failed")
        finally:  # also where the task is cancelled: this is the one line and the one count of a call
            self._record(call, admission, outcome, time.perf_counter() - started)
        return outcome

    def supervisor(self) -> CallSupervisor:
        """One of the running task, for what a transport does before there is a call; its channel hands it on."""
        return CallSupervisor(self._supervisors)

    def count(self, caller: str, messages: int = 1) -> Limited | None:
        """Count messages that begin no handler; the refusal of one caller's flood of them.

        Each costs a line of the audit: unbounded, one reader's pings would rotate away what the audit says of others.
        """
        wait = self._limits.messages.wait(caller, messages)
        return Limited("too_fast", math.ceil(wait)) if wait else None

    def foreseen(self, caller: str, method: str) -> Limited | None:
        """Why a call would be refused now, asked before its body is read; nothing is counted."""
        limits = self._limits
        if wait := limits.messages.behind(caller):
            return Limited("too_fast", math.ceil(wait))
        if method not in methods.RUNS_HANDLER:
            return None
        if wait := limits.rate.behind(caller):
            return Limited("too_fast", math.ceil(wait))
        return None if limits.calls.has_room(caller) else Limited("too_many_at_once", CALLS_RETRY_S)

    def deny(self, call: Call, reason: str) -> None:
        """Write down a call that its transport refused before it could be admitted: its token has ended."""
        decision = records.refused(call, reason)
        self._recorder.finished(decision, method=_known(call.request.method), outcome="refused", seconds=0.0)

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
            return denied(admission, anonymous=call.principal is None)
        outcome = await self.runtime.answer(call)
        if isinstance(outcome, Subscribed) and not self.runtime.listeners.add(outcome.subscription):
            return (
                Unavailable("stopping")
                if self.runtime.listeners.closing
                else Limited("too_many_streams", STREAMS_RETRY_S)
            )
        return outcome

    async def _run(self, admitted: Admitted) -> Outcome:
        """Run an author's code within its caller's limits; the slot comes back when it and its threads have ended.

        It ends by itself, when its time is over, when its client hangs up, or when a later message cancels it.
        """
        call, limits, calls = admitted.call, self._limits, self.runtime.calls
        channel = call.channel
        if self._supervisors.over:  # the rest of a batch: what began now nobody would end, nor hear of
            return Unavailable("stopping")
        if wait := limits.rate.wait(channel.caller):
            return Limited("too_fast", math.ceil(wait))
        if not limits.calls.acquire(channel.caller):
            return Limited("too_many_at_once", CALLS_RETRY_S)
        place = Place(limits.calls, channel.caller)
        watch = channel.supervisor or self.supervisor()
        watch.begin(limits.call_timeout_s, channel)
        if conversation := channel.conversation:
            channel.begun(admitted.kept_for, (call.request.method, admitted.name))
            calls.begun(conversation, call.request.id, functools.partial(_cancel, channel, watch))
        try:
            outcome = await self.runtime.invoker.run(admitted, place)
            return Cancelled("cancelled") if watch.reason == "cancelled" else outcome  # swallowed by the handler
        except asyncio.CancelledError:
            if not watch.absorb_cancellation() or watch.reason is None:
                raise
            return _ended(call, watch.reason)
        finally:
            place.release()
            watch.stop()
            if conversation:
                calls.ended(conversation, call.request.id)

    def _record(self, call: Call, admission: Admission | None, outcome: Outcome | None, seconds: float) -> None:
        method = call.request.method
        if isinstance(admission, Admitted):
            name, needed = admission.name, admission.needed
        else:
            name = self.runtime.policy.tool_name(call)
            needed = frozenset()
        if type(outcome) is Denied:  # also by a handler, which asked for more than was declared
            needed = outcome.needed
        decision, counted_as = records.decision(call, name, needed, outcome, admitted=admission is not None)
        self._recorder.finished(decision, method=_known(method), outcome=counted_as, seconds=seconds)


def _known(method: str) -> str:
    """The label of a method in metrics: a caller's own words would make a series each."""
    return method if method in methods.REVISIONS_OF else records.OTHER


def _cancel(channel: Channel, watch: CallSupervisor) -> None:
    channel.silence()
    watch.cancelled()


def _ended(call: Call, reason: CancelReason) -> Outcome:
    match reason:
        case "timed_out":
            late = RpcError(code=errors.INTERNAL_ERROR, message="The call took too long")
            return Failed(late.for_request(call.request.id))
        case "stopping":  # no Retry-After: it may have acted, and a client that repeats it by itself would act twice
            cut = RpcError(code=errors.INTERNAL_ERROR, message=CUT, status=503)
            return Failed(cut.for_request(call.request.id), "stopping")
        case _:
            return Cancelled(reason)
