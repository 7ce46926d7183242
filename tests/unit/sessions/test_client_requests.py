"""Questions to legacy clients and cancellations: whichever worker hears of them, they reach who waits."""

import asyncio

import msgspec
import pytest
from msgspec import UNSET, Raw

from mcp_server.authoring.errors import ClientRequestFailed
from mcp_server.protocol.jsonrpc import Response
from mcp_server.sessions.client_requests import MAX_ID, ClientRequests
from mcp_server.sessions.in_flight import InFlightCalls
from mcp_server.store.events import CallCancelled, EventBus, SessionEnded
from tests.kit.backends import Workers, settle


async def two() -> tuple[EventBus, EventBus]:
    workers = Workers()
    buses = EventBus(workers.join()), EventBus(workers.join())
    for bus in buses:
        await bus.backend.start(bus.receive)
    return buses


class Asked:
    """A question that one worker has put, and whose answer may come to another."""

    def __init__(self, bus: EventBus, timeout_s: float = 60) -> None:
        self.requests, self.sent = ClientRequests(bus, timeout_s), list[bytes]()
        self.job = asyncio.create_task(self.requests.ask("s", self._send, "roots/list"))

    async def _send(self, message: bytes) -> None:
        self.sent.append(message)

    async def id(self) -> str:
        await settle()
        return str(msgspec.json.decode(self.sent[0])["id"])


async def test_an_answer_finds_its_question_on_another_worker() -> None:
    here, there = await two()
    asked, other = Asked(here), ClientRequests(there, 60)
    question = await asked.id()
    for odd in (Response(5, Raw(b"1"), UNSET), Response("x" * (MAX_ID + 1), Raw(b"1"), UNSET)):
        await other.answer("s", odd)
    await other.answer("another session", Response(question, Raw(b'"foreign"'), UNSET))
    await other.answer("s", Response(question, Raw(b'"mine"'), UNSET))
    await other.answer("s", Response(question, Raw(b'"again"'), UNSET))
    assert await asked.job == Raw(b'"mine"')


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Raw(b'{"code":-1,"message":"no"}'), r"could not answer: no \(-1\)"),
        (Raw(b'"odd"'), "could not answer"),
        (UNSET, "could not answer"),
    ],
)
async def test_a_client_that_cannot_answer_fails_the_question(error: Raw, text: str) -> None:
    here, _ = await two()
    asked = Asked(here)
    await asked.requests.answer("s", Response(await asked.id(), UNSET, error))
    with pytest.raises(ClientRequestFailed, match=text):
        await asked.job


async def test_nobody_waits_longer_than_for_so_long_or_for_a_session_that_is_over() -> None:
    here, _ = await two()
    with pytest.raises(ClientRequestFailed, match="in time"):
        await Asked(here, 0.001).job
    asked = Asked(here)
    await asked.id()
    here.deliver(SessionEnded("another"))
    assert not asked.job.done()
    here.deliver(SessionEnded("s"))
    with pytest.raises(ClientRequestFailed, match="ended"):
        await asked.job


async def test_a_call_is_cancelled_by_its_session_and_id_while_it_runs() -> None:
    here, there = await two()
    calls, stopped = InFlightCalls(here), list[str]()
    calls.begun("s", 5, lambda: stopped.append("5"))
    calls.begun("s", "5", lambda: stopped.append("text"))
    for event in (CallCancelled("other", 5), CallCancelled("s", 6), CallCancelled("s", 5)):
        await there.publish(event)
    assert stopped == ["5"]
    calls.ended("s", "5")
    calls.ended("s", "5")
    await there.publish(CallCancelled("s", "5"))
    assert stopped == ["5"]
