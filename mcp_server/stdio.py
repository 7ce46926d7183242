"""The other shell: newline-delimited JSON-RPC on stdin and stdout, both eras (2026-07-28 transports/stdio).

There are no headers, no HTTP statuses and no challenges; what the engine decides is the same. The process has one
legacy session, opened by `initialize`, and modern requests stand beside it on the same pipe.
"""

import asyncio
import contextlib
import getpass
import math
import os
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from mcp_server.engine.call import Admitted, Call, NeedsScopes
from mcp_server.engine.dispatch import Dispatcher
from mcp_server.engine.methods.listening import Opened
from mcp_server.identity import Principal
from mcp_server.observe.log import logger
from mcp_server.protocol import errors, jsonrpc, revisions
from mcp_server.protocol.errors import RequestId, RpcError
from mcp_server.protocol.inbound import Legacy, LegacyBatch, Modern, ModernNotification, classify_line
from mcp_server.protocol.jsonrpc import Notification, Request, Response
from mcp_server.protocol.meta import RoutingFields
from mcp_server.protocol.types import notifications
from mcp_server.protocol.types.notifications import CANCELLED, CancelledParams, SubscriptionFilter
from mcp_server.sessions.session import Session
from mcp_server.sessions.subscriptions import Subscription

MAX_LINE: Final = 16 * 1024 * 1024
MAX_RUNNING: Final = 1_000
AUTHORIZATION_ERROR: Final = -31001
_decode_cancelled = msgspec.json.Decoder(CancelledParams).decode
SESSION: Final = "stdio"


class Voice:
    """What one request may say beside its answer: nothing any more once it is answered or cancelled."""

    def __init__(self, pipe: "Pipe") -> None:
        self._pipe, self.over = pipe, False

    async def send(self, message: bytes) -> None:
        """One line."""
        if not self.over:
            await self._pipe.send(message)

    async def pause(self, retry_ms: int) -> None:
        """A pipe is not let go."""


class Pipe:
    """One client at the other end of the pipes. `principal` is who its token, or the desktop's user, is."""

    def __init__(self, dispatcher: Dispatcher, principal: Principal, output: Any, call_timeout_s: float) -> None:
        self._dispatcher, self._principal, self._output = dispatcher, principal, output
        self._call_timeout_s = call_timeout_s
        self._session: Session | None = None
        self._running: dict[RequestId, asyncio.Task[None]] = {}
        self._voices: dict[RequestId, Voice] = {}
        self._listeners: dict[RequestId, Subscription] = {}
        self._numbers = 0

    async def send(self, message: bytes) -> None:
        """One line."""
        self._output.write(message + b"\n")
        self._output.flush()

    async def take(self, line: bytes) -> None:
        """A line of the client: a request is answered beside others, the rest at once."""
        message = classify_line(line)
        if isinstance(message, RpcError):
            await self.send(jsonrpc.failure(message))
        elif isinstance(message, LegacyBatch):
            self._begin(self._answer_batch(message), f"batch {self._numbers}")
        elif isinstance(message, Modern):
            self._start(message.request, message.peek, message.revision)
        elif isinstance(message, Legacy) and isinstance(message.message, Request):
            self._start(message.message, message.peek, self._revision())
        else:
            await self._heard(message)

    async def close(self) -> None:
        """The client has closed its end: nothing is awaited any more."""
        for listener in self._listeners.values():
            listener.end()
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _revision(self) -> str:
        return self._session.revision if self._session else revisions.NEWEST_LEGACY

    def _start(self, request: Request, peek: RoutingFields, revision: str) -> None:
        if request.id in self._running or len(self._running) >= MAX_RUNNING:
            why = "the id is in use" if request.id in self._running else "too many requests are running"
            self._begin(self.send(jsonrpc.failure(errors.invalid_request(why, request.id))), f"refusal {self._numbers}")
            return
        self._begin(self._reply(request, peek, revision), request.id)

    def _begin(self, work: Coroutine[Any, Any, None], key: RequestId) -> None:
        self._numbers += 1
        task = asyncio.create_task(work)
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))

    async def _reply(self, request: Request, peek: RoutingFields, revision: str) -> None:
        try:
            answer = await self._answer(request, peek, revision)
        except Exception:  # noqa: BLE001 - the client learns that it failed, the log why
            logger.exception("request failed")
            answer = jsonrpc.failure(errors.internal_error().for_request(request.id))
        if answer is not None:
            await self.send(answer)

    async def _answer_batch(self, batch: LegacyBatch) -> None:
        """The messages of a 2025-03-26 batch, answered by one array."""
        if self._revision() != revisions.BATCHING:
            await self.send(jsonrpc.failure(errors.invalid_request("a batch is no message of this revision")))
            return
        answers: list[bytes] = []
        for item in batch.items:
            if isinstance(item, RpcError):
                answers.append(jsonrpc.failure(item))
            elif isinstance(item.message, Request):
                answers.append(await self._answer(item.message, item.peek, self._revision()) or b"")
            else:
                await self._heard(item)
        if answers:
            await self.send(b"[" + b",".join(filter(None, answers)) + b"]")

    async def _heard(self, message: ModernNotification | Legacy) -> None:
        said = message.notification if isinstance(message, ModernNotification) else message.message
        if isinstance(said, Response):
            await self._dispatcher.questions.answer(SESSION, said)
        elif isinstance(said, Notification):
            self._notified(said)

    async def _answer(self, request: Request, peek: RoutingFields, revision: str) -> bytes | None:
        """The line that answers a request, or None where a stream of lines has."""
        modern = revision in revisions.MODERN_SET
        session = None if modern else await self._live()
        number = f"stdio-{self._numbers}"
        voice = self._voices[request.id] = Voice(self)
        call = Call(
            request, peek, revision, self._principal, number, "", modern, session, None, frozenset(), lambda: voice
        )
        try:
            value = await self._decide(call)
        finally:
            voice.over = True
            self._voices.pop(request.id, None)
        if isinstance(value, RpcError):
            return jsonrpc.failure(value.for_request(request.id))
        if isinstance(value, Opened):
            return await self._listen(request.id, value)
        if request.method == "initialize":
            await self._open(request)
        return jsonrpc.result(request.id, value)

    async def _decide(self, call: Call) -> object | RpcError:
        if self._principal.expires_at < time.time():
            return RpcError(code=AUTHORIZATION_ERROR, message="the access token has expired")
        admitted = self._dispatcher.admit(call)
        if isinstance(admitted, NeedsScopes):
            needed = " ".join(sorted(admitted.needed))
            return RpcError(code=AUTHORIZATION_ERROR, message=f"insufficient scope: {needed}")
        return admitted if isinstance(admitted, RpcError) else await self._run(admitted)

    async def _run(self, admitted: Admitted) -> object | RpcError:
        try:
            async with asyncio.timeout(self._call_timeout_s):
                return await self._dispatcher.run(admitted)
        except TimeoutError:  # a handler's own is the invoker's
            return RpcError(code=errors.INTERNAL_ERROR, message="The call took too long")
        except Exception:  # noqa: BLE001 - the client learns that it failed, the log why
            logger.exception("request failed")
            return errors.internal_error()

    async def _live(self) -> Session | None:
        """The session as it is stored now: its log level and subscriptions may have changed."""
        sessions = self._dispatcher.sessions
        if self._session is None or sessions is None:
            return None
        return await sessions.find(SESSION, self._principal.key) or self._session

    async def _open(self, request: Request) -> None:
        revision, capabilities = self._dispatcher.negotiated(request)
        if SESSION in self._listeners:
            self._listeners.pop(SESSION).end()
        self._session = Session(SESSION, self._principal.key, revision, capabilities)
        if self._dispatcher.sessions is not None:
            await self._dispatcher.sessions.save(self._session)
        wanted = SubscriptionFilter(tools_list_changed=True, prompts_list_changed=True, resources_list_changed=True)
        listener = Subscription(self._principal.key, wanted, session=SESSION)
        if self._dispatcher.listeners.add(listener):
            self._listeners[SESSION] = listener
            self._begin(self._carry(listener), f"{SESSION} listener")

    async def _listen(self, request_id: RequestId, opened: Opened) -> bytes | None:
        if not self._dispatcher.listeners.add(opened.listener):
            return jsonrpc.failure(errors.invalid_request("too many subscriptions", request_id))
        self._listeners[request_id] = opened.listener
        await self.send(opened.first)
        try:
            await self._carry(opened.listener)
        finally:
            del self._listeners[request_id]
        await self.send(notifications.encode(CANCELLED, {"requestId": request_id}))
        return jsonrpc.result(request_id, self._dispatcher.listened(request_id))

    async def _carry(self, listener: Subscription) -> None:
        """Send what a listener hears until it is ended, at the latest with the token."""
        left = self._principal.expires_at - time.time()
        ending = None if math.isinf(left) else asyncio.get_running_loop().call_later(left, listener.end)
        try:
            while not listener.ended or listener.waiting:
                for frame in await listener.next():
                    await self.send(frame)
        finally:
            if ending is not None:
                ending.cancel()
            self._dispatcher.listeners.remove(listener)

    def _notified(self, notification: Notification) -> None:
        """Only cancellations matter; one of something unknown or finished is ignored, and nothing is answered."""
        if notification.method != CANCELLED:
            return
        with contextlib.suppress(*errors.UNREADABLE):
            request_id = _decode_cancelled(notification.params).request_id
            if (voice := self._voices.get(request_id)) is not None:
                voice.over = True
            if (task := self._running.get(request_id)) is not None:
                task.cancel()


async def run(
    dispatcher: Dispatcher,
    principal: Principal,
    source: Any = None,
    output: Any = None,
    *,
    call_timeout_s: float = 600,
) -> None:
    """Serve until the client closes its end; `source` and `output` are binary files, stdin and stdout by default."""
    pipe = Pipe(dispatcher, principal, output or sys.stdout.buffer, call_timeout_s)
    await dispatcher.start()
    lines = _lines(source or sys.stdin.buffer)
    try:
        while (line := await lines.get()) is not None:
            if line.strip():
                await pipe.take(line)
    finally:
        await pipe.close()
        await dispatcher.stop()


def _lines(source: Any) -> "asyncio.Queue[bytes | None]":
    """The lines of a blocking file, read by a thread that ends with the process; None is the end."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=64)

    def read() -> None:
        while True:
            line = source.readline(MAX_LINE + 1)
            over = not line or len(line) > MAX_LINE
            asyncio.run_coroutine_threadsafe(queue.put(None if over else line), loop).result()
            if over:
                return

    threading.Thread(target=read, name="stdin", daemon=True).start()
    return queue


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
