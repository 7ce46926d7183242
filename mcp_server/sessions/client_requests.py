"""Questions to legacy clients: sent as requests on a call's stream, answered by a POST to whichever worker."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.authoring.errors import ClientRequestFailed
from mcp_server.protocol import jsonrpc
from mcp_server.protocol.jsonrpc import Response
from mcp_server.sessions.session import look_again, read
from mcp_server.store.events import EventBus, EventsMissed, QuestionAnswered, SessionEnded

MAX_ID: Final = 128


class _Open(msgspec.Struct, frozen=True):
    session: str
    answer: asyncio.Future[Raw]


class _Error(msgspec.Struct, frozen=True):
    code: int
    message: str


_decode_error = msgspec.json.Decoder(_Error).decode


class ClientRequests:
    """Those that wait here for an answer. An id names the worker that asked, so that an answer finds its way."""

    def __init__(self, bus: EventBus, timeout_s: float) -> None:
        self._bus, self._timeout_s = bus, timeout_s
        self._open: dict[str, _Open] = {}
        bus.subscribe(QuestionAnswered, self._answered)
        self._looking: asyncio.Task[None] | None = None
        bus.subscribe(SessionEnded, lambda event: self._ended(event.session))
        bus.subscribe(EventsMissed, lambda _: self._look_again())

    async def ask(
        self, session: str, send: Callable[[bytes], Awaitable[None]], method: str, params: object = UNSET
    ) -> Raw:
        """The client's result; raises `ClientRequestFailed`."""
        question = f"{self._bus.backend.worker}.{secrets.token_hex(8)}"
        answer: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()
        self._open[question] = _Open(session, answer)
        try:
            await send(jsonrpc.request(question, method, params))
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError as error:
            raise ClientRequestFailed("The client did not answer in time.") from error
        finally:
            del self._open[question]
            if self._looking is not None and not self._open:
                self._looking.cancel()

    async def answer(self, session: str, response: Response) -> None:
        """A response that a client posted in its session; one that nobody waits for is dropped."""
        question = response.id
        if not isinstance(question, str) or len(question) > MAX_ID:
            return
        worker = question.partition(".")[0]
        if worker == self._bus.backend.worker or self._bus.backend.distributed:
            await self._bus.publish_to(worker, QuestionAnswered(session, question, response.result, response.error))

    def _answered(self, event: QuestionAnswered) -> None:
        waiting = self._open.get(event.question)
        if waiting is None or waiting.session != event.session or waiting.answer.done():
            return
        if event.result is not UNSET:
            waiting.answer.set_result(event.result)
        else:
            waiting.answer.set_exception(ClientRequestFailed(_reason(event.error)))

    def _ended(self, session: str) -> None:
        for waiting in self._open.values():
            if waiting.session == session and not waiting.answer.done():
                waiting.answer.set_exception(ClientRequestFailed("The client has ended its session."))

    def _look_again(self) -> None:
        """That a session has ended may have been missed: its client will not answer any more."""
        sessions = {waiting.session for waiting in self._open.values()}
        if sessions:
            self._looking = asyncio.get_running_loop().create_task(look_again(list(sessions), self._look))

    async def _look(self, session: str) -> None:
        if await read(self._bus.backend, session) is None:
            self._ended(session)


def _reason(error: Raw | UnsetType) -> str:
    try:
        said = _decode_error(b"{}" if error is UNSET else error)
    except msgspec.DecodeError:
        return "The client could not answer."
    return f"The client could not answer: {said.message[:200]} ({said.code})"
