"""One client on a pipe: its lines become calls of the pipeline, whose outcomes become lines."""

import asyncio
import functools
import getpass
import io
import math
import os
import sys
import time
from collections.abc import Coroutine
from typing import Any, BinaryIO, Final

from mcp_server.engine import spans
from mcp_server.engine.call import Call
from mcp_server.engine.methods import lifecycle
from mcp_server.engine.outcome import (
    Completed,
    Subscribed,
)
from mcp_server.engine.pipeline import Pipeline
from mcp_server.identity import Credential, Principal
from mcp_server.limits import callers
from mcp_server.observe.log import logger
from mcp_server.protocol import errors, jsonrpc, revisions
from mcp_server.protocol.errors import RequestId, RpcError
from mcp_server.protocol.inbound import Legacy, LegacyBatch, Modern, ModernNotification, classify_line
from mcp_server.protocol.jsonrpc import Notification, Request, Response
from mcp_server.protocol.meta import RoutingFields
from mcp_server.protocol.types import notifications
from mcp_server.protocol.types.notifications import CANCELLED
from mcp_server.registry.server import McpServer
from mcp_server.sessions.durations import Opened
from mcp_server.sessions.session import Session
from mcp_server.sessions.subscriptions import Subscription, session_changes
from mcp_server.stdio import answers, framing
from mcp_server.stdio.channel import CONVERSATION, Output, PipeChannel

MAX_RUNNING: Final = 1_000
CLOSE_S: Final = 2.0
"""How long the end waits for handlers: one that swallows its cancellation would keep the process for ever."""
EXPIRED: Final = "the access token has expired"
REVOKED: Final = "the session has ended; sign in again"


class Connection:
    """One client at the other end of the pipes. `principal` is who its token, or the desktop's user, is."""

    def __init__(
        self,
        pipeline: Pipeline,
        principal: Principal,
        output: Output,
        *,
        credential: Credential | None = None,
        max_running: int = MAX_RUNNING,
    ) -> None:
        self._credential = credential
        self._pipeline, self._runtime = pipeline, pipeline.runtime
        self._principal, self._output = principal, output
        self._caller = callers.key(principal.key, "")
        self._ends = principal.expires_at
        self._max_running = max_running
        self._session: Session | None = None
        self._session_changes: Subscription | None = None
        self._subscriptions: set[Subscription] = set()
        self._answering: set[RequestId] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls = 0
        self._closing = False

    async def take(self, line: framing.Line) -> None:
        """A line of the client: a request is answered beside others, the rest at once."""
        if isinstance(line, framing.LineTooLong):
            await self._fail(errors.invalid_request("the line is too long"))
            return
        message = classify_line(line)
        if isinstance(message, Modern):
            await self._begin(self._reply(message.request, message.peek, message.revision), message.request.id)
        elif isinstance(message, Legacy) and isinstance(message.message, Request):
            await self._begin(self._reply(message.message, message.peek, self._revision()), message.message.id)
        elif limited := self._pipeline.count(
            self._caller, len(message.items) if isinstance(message, LegacyBatch) else 1
        ):
            self._pipeline.unreadable(self._principal, limited.reason)
            await self._say(answers.limited(limited, None))
        elif isinstance(message, RpcError):
            await self._fail(message)
        elif isinstance(message, LegacyBatch):
            await self._begin(self._reply_batch(message), None)
        else:
            await self._accept(message)

    async def close(self) -> None:
        """The client has closed its end: nothing is awaited any more."""
        self._closing = True
        for subscription in list(self._subscriptions):
            subscription.end()
        self._pipeline.hung_up(lambda call: isinstance(call.channel, PipeChannel) and call.channel.is_of(self._output))
        if self._tasks:  # its calls, each of which has its line by then
            await asyncio.wait(self._tasks, timeout=CLOSE_S / 2)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S / 2)

    def _revision(self) -> str:
        return self._session.revision if self._session else revisions.NEWEST_LEGACY

    async def _fail(self, error: RpcError) -> None:
        """Refuse what did not become a call: it leaves a line, as each request over HTTP does."""
        self._pipeline.unreadable(self._principal, str(error.code))
        await self._say(jsonrpc.failure(error))

    async def _say(self, line: bytes) -> None:
        """Beside what comes: the end of a client that does not read is heard. Behind so many lines it has to read."""
        if not await self._begin(self._output.send(line), None):
            await self._output.send(line)

    async def _begin(self, work: Coroutine[Any, Any, None], request_id: RequestId | None) -> bool:
        """Answer beside others, if there is room; it has begun when this returns: the next line may cancel it."""
        if len(self._tasks) >= self._max_running:
            work.close()
            if request_id is not None:
                await self._fail(errors.invalid_request("too many requests are running", request_id))
            return False
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        await asyncio.sleep(0)
        return True

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A client that reads no more is seen at the end of its own pipe; anything else that failed here is a fault."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, OSError):
            logger.opt(exception=error).error("a line could not be answered")

    async def _reply(self, request: Request, peek: RoutingFields, revision: str) -> None:
        try:
            answer = await self._answer(request, peek, revision)
        except Exception:  # noqa: BLE001 - beside the pipeline, which lets none through: the session's store, a subscription
            logger.exception("request failed")
            answer = jsonrpc.failure(errors.internal_error().for_request(request.id))
        if answer is not None:
            await self._output.send(answer)

    async def _reply_batch(self, batch: LegacyBatch) -> None:
        """The messages of a 2025-03-26 batch, answered by one array."""
        if self._revision() != revisions.BATCHING:
            await self._fail(errors.invalid_request("a batch is no message of this revision"))
            return
        answers: list[bytes | None] = []
        for item in batch.items:
            if self._closing:
                return
            if isinstance(item, RpcError):
                self._pipeline.unreadable(self._principal, str(item.code))
                answers.append(jsonrpc.failure(item))
            elif isinstance(item.message, Request):
                answers.append(await self._answer(item.message, item.peek, self._revision(), counted=True))
            else:
                await self._accept(item)
        if said := [one for one in answers if one]:
            await self._output.send(b"[" + b",".join(said) + b"]")

    async def _accept(self, message: ModernNotification | Legacy) -> None:
        """What the client says without waiting for an answer."""
        said = message.notification if isinstance(message, ModernNotification) else message.message
        if isinstance(said, Response):
            await self._runtime.questions.answer(CONVERSATION, said)
        elif isinstance(said, Notification):
            await self._runtime.notified(said, CONVERSATION)

    async def _answer(
        self, request: Request, peek: RoutingFields, revision: str, *, counted: bool = False
    ) -> bytes | None:
        """The line that answers a request, or None where none is wanted."""
        if request.id in self._answering:
            if not counted and (limited := self._pipeline.count(self._caller)):
                return answers.limited(limited, request.id)
            return jsonrpc.failure(errors.invalid_request("the id is in use", request.id))
        self._answering.add(request.id)
        try:
            return await self._serve(request, peek, revision, counted=counted)
        finally:
            self._answering.discard(request.id)

    async def _serve(self, request: Request, peek: RoutingFields, revision: str, *, counted: bool) -> bytes | None:
        self._calls += 1
        channel = PipeChannel(self._output, self._caller, self._credential, alone=not counted)
        call = Call(
            request=request,
            peek=peek,
            revision=revision,
            principal=self._principal,
            request_id=f"stdio-{self._calls}",
            trace=self._pipeline.traces.call(None, spans.stated(peek.meta), known=True),
            session=None if revision in revisions.MODERN_SET else await self._live_session(),
            channel=channel,
        )
        if time.time() >= self._ends:
            self._pipeline.deny(call, "expired")
            return jsonrpc.failure(answers.refused(EXPIRED, request.id))
        if self._runtime.revocations.known.over(self._principal):
            self._pipeline.deny(call, "session_ended")
            return jsonrpc.failure(answers.refused(REVOKED, request.id))
        try:
            outcome = await self._pipeline.serve(call, counted=counted)
        finally:
            channel.silence()
        if channel.answered:
            return None
        if request.method == "initialize" and isinstance(outcome, Completed):
            await self._open_session(request)
        if isinstance(outcome, Subscribed):
            return await self._carry_to_its_end(request.id, outcome)
        return answers.render(request.id, outcome)

    async def _live_session(self) -> Session | None:
        """The session as it is stored now: its log level and subscriptions may have changed."""
        sessions = self._runtime.sessions
        if self._session is None or sessions is None:
            return None
        return await sessions.find(CONVERSATION, self._principal.key) or self._session

    async def _open_session(self, request: Request) -> None:
        revision, capabilities = lifecycle.negotiated(request.params)
        if self._session_changes is not None:
            self._session_changes.end()
        self._session = Session(CONVERSATION, self._principal.key, revision, capabilities)
        if self._runtime.sessions is not None:
            await self._runtime.sessions.save(self._session)
            self._runtime.sessions.durations.opened(CONVERSATION, Opened(revision, time.time(), piped=True))
        readable = functools.partial(self._runtime.policy.readable, principal=self._principal)
        subscription = Subscription(self._principal.key, session_changes([]), session=CONVERSATION, readable=readable)
        subscription.principal = self._principal
        if self._runtime.listeners.add(subscription):
            self._session_changes = subscription
            if not await self._begin(self._carry(subscription), None):
                self._runtime.listeners.remove(subscription)

    async def _carry_to_its_end(self, request_id: RequestId, subscribed: Subscribed) -> bytes | None:
        """The notifications of a subscription; its last line, unless its client has cancelled it."""
        cancelled = False

        def cancel() -> None:
            nonlocal cancelled
            cancelled = True
            subscribed.subscription.end()

        self._runtime.calls.begun(CONVERSATION, request_id, cancel)
        try:
            await self._output.send(subscribed.first)
            await self._carry(subscribed.subscription)
        finally:
            self._runtime.calls.ended(CONVERSATION, request_id)
        if cancelled:
            return None
        await self._output.send(notifications.encode(CANCELLED, {"requestId": request_id}))
        return jsonrpc.result(request_id, self._runtime.listened(request_id))

    async def _carry(self, subscription: Subscription) -> None:
        """Send what a subscription is told until it is ended, at the latest with the token."""
        left = self._ends - time.time()
        ending = None if math.isinf(left) else asyncio.get_running_loop().call_later(left, subscription.end)
        self._subscriptions.add(subscription)
        try:
            while not subscription.ended or subscription.waiting:
                for frame in await subscription.next():
                    await self._output.send(frame)
        finally:
            if ending is not None:
                ending.cancel()
            self._subscriptions.discard(subscription)
            self._runtime.listeners.remove(subscription)


async def run(
    pipeline: Pipeline,
    principal: Principal,
    source: BinaryIO | None = None,
    output: io.RawIOBase | BinaryIO | None = None,
    *,
    credential: Credential | None = None,
    max_running: int = MAX_RUNNING,
    stopped: asyncio.Event | None = None,
) -> None:
    """Serve until the client closes its end, or this is `stopped`.

    `source` and `output` are binary files, stdin and stdout by default.
    """
    out = Output(output or sys.stdout.buffer)
    connection = Connection(pipeline, principal, out, credential=credential, max_running=max_running)
    await pipeline.runtime.start()
    taking = asyncio.create_task(_take_all(connection, framing.lines(source or sys.stdin.buffer)))
    stopping = asyncio.create_task((stopped or asyncio.Event()).wait())
    try:
        await asyncio.wait([taking, stopping], return_when=asyncio.FIRST_COMPLETED)
        if taking.done():
            await taking
    finally:
        taking.cancel()
        stopping.cancel()
        await connection.close()
        out.close()
        await pipeline.runtime.stop()


async def _take_all(connection: Connection, lines: "asyncio.Queue[framing.Line | None]") -> None:
    while (line := await lines.get()) is not None:
        if isinstance(line, framing.LineTooLong) or line.strip():
            await connection.take(line)


def desktop_scopes(server: McpServer, default: frozenset[str]) -> frozenset[str]:
    """What whoever started the process holds: all that is declared, and not only what is known to be needed.

    A handler looks for what it would ask for (`NeedsScopes`), and here nobody could grant it.
    """
    return server.declared_scopes(default).union(server.scopes)


def desktop_user(scopes: frozenset[str]) -> Principal:
    """Who calls where no token is given: the one who started the process, who may do what the server can."""
    return Principal(
        issuer="stdio",
        subject=str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser(),  # Windows has no numbers
        client_id="stdio",
        scopes=scopes,
        roles=frozenset(),
        expires_at=float("inf"),
        token_digest="",
    )
