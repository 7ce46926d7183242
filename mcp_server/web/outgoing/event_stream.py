"""Server-sent events over ASGI: a call's answer once it has something to say before its result, and listeners."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from mcp_server.observe.log import logger
from mcp_server.protocol import sse
from mcp_server.protocol.sse import EventId
from mcp_server.sessions.event_log import EventLog, StreamAccess
from mcp_server.sessions.subscriptions import Subscription, Subscriptions
from mcp_server.store.backend import StoreUnavailable
from mcp_server.web.disconnect import disconnected
from mcp_server.web.outgoing.sending import LARGE, parts
from mcp_server.web.render import CLOSE, EVENT_STREAM, NO_STORE, Headers

HEAD: Final[Headers] = [EVENT_STREAM, NO_STORE, (b"x-accel-buffering", b"no")]

MAX_KEPT: Final = 4 * 1024 * 1024
"""Bytes of one stream that wait for a client to come back; what is said after them is said once."""
MUTE_S: Final = 2.0
"""How long a stream that is over may take to be read to its end."""
OPENED: Final = b": open\n\n"
"""Something to send with the head where there is no message yet: some clients wait for the first byte."""


class SseResponse:
    """The sending half of one HTTP answer that is a stream; quiet for `keep_alive_s`, it sends a comment."""

    def __init__(self, send: Any, headers: Headers, keep_alive_s: float) -> None:
        self._send, self._headers, self._keep_alive_s = send, headers, keep_alive_s
        self._timer: asyncio.TimerHandle | None = None
        self._beat: asyncio.Task[None] | None = None
        self.opened = self.closed = self._within = False
        self.lasting = False
        """Whether it is to last, and its connection to end with it.

        A stop, which nobody has told by the time of the head, ends such streams and has their clients come back when
        nobody is accepted any more: all would come on connections that are being closed as idle in that very moment.
        """

    async def write(self, chunk: bytes) -> None:
        """Send bytes, the head first if it has not gone yet; waits while the client reads slowly."""
        if self.closed:
            return
        if not self.opened:
            self.opened = True
            ends = [CLOSE] if self.lasting else []
            await self._send({"type": "http.response.start", "status": 200, "headers": [*HEAD, *ends, *self._headers]})
        self._rest()
        await self._pass(chunk, more=True)

    async def close(self, chunk: bytes = b"") -> None:
        """Send the last bytes and let the connection go."""
        if self.closed:
            return
        if not self.opened:
            await self.write(chunk)
            chunk = b""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self._pass(chunk, more=False)

    async def _pass(self, chunk: bytes, *, more: bool) -> None:
        """Large ones in parts: what is handed over is the server's to hold until the client reads it."""
        large = len(chunk) > LARGE
        self._within |= large
        for part, last in parts(chunk):
            await self._send({"type": "http.response.body", "body": part, "more_body": more or not last})
        if large:
            self._within = False

    def abandon(self) -> None:
        """The client is gone: nothing more is sent."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._beat is not None:
            self._beat.cancel()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._keep_alive_s, self._keep_alive)

    def _keep_alive(self) -> None:
        if self._beat is None or self._beat.done():  # a beat that is still waiting means a reader that is slow
            self._beat = asyncio.get_running_loop().create_task(self._comment())
        else:
            self._rest()

    async def _comment(self) -> None:
        if self._within:  # between the parts of a message it would break it in two
            self._rest()
        else:
            await self.write(sse.KEEP_ALIVE)


class CallStream:
    """The sink of one call. In a legacy session what is said can be asked for again, by the ids of its events."""

    def __init__(
        self,
        wire: SseResponse,
        replays: EventLog | None = None,
        *,
        owner: str = "",
        session: str = "",
        stream: str = "",
        primes: bool = False,
        kept_for: StreamAccess | None = None,
    ) -> None:
        self._wire, self._replays = wire, replays
        self._owner, self._session, self._stream, self._primes = owner, session, stream, primes
        self._kept_for = kept_for or StreamAccess()
        self._number, self._said = 0, 0
        self._whole = True
        """Whether all that was said is kept: a client that comes back must not find a gap."""
        self._one_at_a_time = asyncio.Lock()
        self.spoken = self._over = False

    def end(self) -> None:
        """The call is answered, or not wanted any more: what a handler still says goes nowhere."""
        self._over = True

    def forget(self) -> None:
        """Keep nothing of what is said from now on: who comes back would not be asked what that needs."""
        self._whole = False

    async def send(self, message: bytes) -> None:
        """A message before the result: from now on the answer is a stream."""
        async with self._one_at_a_time:
            if not self._over:
                await self._open()
                await self._say(message, last=False)

    async def open(self) -> None:
        """Begin the stream though there is nothing to say yet: its comments keep the connection."""
        async with self._one_at_a_time:
            if not self._over and not self.spoken:
                self._wire.lasting = True
                await self._open()
                await self._wire.write(OPENED)

    async def pause(self, retry_ms: int) -> None:
        """Let the connection go; what is said from now on waits for the client to come back."""
        if self._replays is None:
            return
        async with self._one_at_a_time:
            if not self._over:
                await self._open()
                await self._wire.close(sse.retry(retry_ms))

    async def finish(self, message: bytes) -> None:
        """The result: the last message of the stream."""
        self.end()
        async with self._one_at_a_time:
            if message or self._replays is not None:
                await self._say(message, last=True)
            else:
                await self._wire.close()

    async def _open(self) -> None:
        if self.spoken:
            return
        self.spoken = True
        if self._replays is None:
            return
        try:
            kept = await self._replays.begin(self._owner, self._session, self._stream, self._kept_for)
        except StoreUnavailable as away:
            logger.error("a stream cannot be kept", reason=str(away))
            kept = False
        if not kept:
            self._replays = None  # it is said once, without ids to come back with
        elif self._primes:
            await self._wire.write(sse.priming(str(EventId(self._stream, 0))))

    async def _say(self, message: bytes, *, last: bool) -> None:
        self._said += len(message)
        event_id = None if self._replays is None else await self._keep(self._replays, message, last=last)
        chunk = sse.event(message, event_id)
        await (self._wire.close(chunk) if last else self._wire.write(chunk))

    async def _keep(self, replays: EventLog, message: bytes, *, last: bool) -> str | None:
        """The id under which a message can be asked for again, None for one that is not kept."""
        event = EventId(self._stream, self._number + 1)
        try:
            kept = (
                self._whole
                and self._said <= MAX_KEPT
                and await replays.append(self._owner, self._session, event, message, last=last)
            )
            self._whole = self._whole and kept  # read again: it may have been told to forget meanwhile
            if last and not self._whole:
                await replays.end(self._owner, self._session, event)
        except StoreUnavailable as away:  # who is still there is told; who comes back for it will not find it
            logger.error("a message cannot be kept", reason=str(away))
            self._whole = False
        if not self._whole:
            return None
        self._number += 1
        return str(event)


async def listen(
    wire: SseResponse,
    receive: Any,
    listeners: Subscriptions,
    listener: Subscription,
    *,
    frames: tuple[bytes, bytes],
    until_s: float,
) -> None:
    """Carry a listener, which has been added, until its client goes, it is ended, or `until_s` seconds are over.

    `frames` are the first message and the last, which is said when the end is ours; either may be empty.
    """
    first, last = frames
    async with _carrying(wire, receive, listeners, listener, until_s) as watch:
        await wire.write(sse.event(first) if first else OPENED)
        while not listener.ended or listener.waiting:
            for frame in await listener.next():
                await wire.write(sse.event(frame))
        if not watch.done():
            await wire.close(sse.event(last) if last else good_bye(listener))


def good_bye(listener: Subscription) -> bytes:
    """A legacy stream has no last message; what it can say is when to come back."""
    return sse.retry(listener.retry_ms) if listener.retry_ms else b""


async def resume(
    wire: SseResponse,
    receive: Any,
    listeners: Subscriptions,
    listener: Subscription,
    events: AsyncIterator[tuple[EventId, bytes]],
    *,
    until_s: float,
) -> None:
    """Send what a legacy session's stream said after an event, and what it will say, up to its result."""
    async with _carrying(wire, receive, listeners, listener, until_s) as watch:
        await wire.write(OPENED)
        async for at, data in events:
            await wire.write(sse.event(data, str(at)))
        if not watch.done():
            await wire.close(good_bye(listener))


@asynccontextmanager
async def _carrying(
    wire: SseResponse, receive: Any, listeners: Subscriptions, listener: Subscription, until_s: float
) -> AsyncIterator[asyncio.Task[None]]:
    """The life of a listener's stream; yields the task that ends when its client has gone.

    Once it is to end, what waits has `MUTE_S` to be taken: a client that does not read must not outlive its token.
    """
    wire.lasting = True
    loop, limit = asyncio.get_running_loop(), asyncio.timeout(None)
    timer = loop.call_later(until_s, listener.end)
    watch = asyncio.create_task(disconnected(receive))
    watch.add_done_callback(lambda _: listener.end())
    try:
        async with limit:
            listener.on_end = lambda: limit.reschedule(loop.time() + MUTE_S)
            if listener.ended:
                listener.on_end()
            try:
                yield watch
            finally:
                listener.on_end = None  # the limit is over
    except TimeoutError:
        logger.info("a stream is not read", reason="stream_not_read")
    finally:
        timer.cancel()
        watch.cancel()
        wire.abandon()
        listeners.remove(listener)
