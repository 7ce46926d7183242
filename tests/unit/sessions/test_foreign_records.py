"""Bytes in the store that are no records of ours: another version's, or somebody else's who writes there."""

import pickle

import pytest

from mcp_server.protocol.sse import EventId
from mcp_server.sessions.event_log import EventLog
from mcp_server.sessions.session import Sessions, read
from mcp_server.sessions.tasks.record import TaskStore
from mcp_server.store.backend import owner_of
from mcp_server.store.events import EventBus
from mcp_server.store.memory import InMemoryBackend

FOREIGN = {
    "nothing": b"",
    "a pickle": pickle.dumps({"id": 1}),
    "noise": bytes(range(256)),
    "null": b"null",
    "a number": b"7",
    "other members": b'{"version":99}',
    "a list of lists": b'[[["x"]]]',
    "half": b'{"id":"x","principal_key":"p","revi',
    "no UTF-8": b'{"id":"\xff","principal_key":"p","revision":"2025-11-25"}',
    "deep": b'{"id":' + b"[" * 100_000,
    "long": b"[" * 2_000_000,
}


@pytest.fixture(params=list(FOREIGN.values()), ids=list(FOREIGN))
def foreign(request: pytest.FixtureRequest) -> bytes:
    return bytes(request.param)


async def test_a_session_that_cannot_be_read_is_none(foreign: bytes) -> None:
    backend = InMemoryBackend()
    sessions = Sessions(EventBus(backend))
    session = await sessions.open("p", "2025-11-25", {})
    await backend.set(f"session:{session.id}", foreign, 60)
    assert await sessions.find(session.id, "p") is None
    assert await read(backend, session.id) is None
    assert not await sessions.close(session.id, "p")


async def test_who_has_a_list_of_sessions_that_cannot_be_read_opens_one_all_the_same(foreign: bytes) -> None:
    """They were refused with a fault of ours until the list had run out of time: a day."""
    backend = InMemoryBackend()
    sessions = Sessions(EventBus(backend))
    await backend.set(f"sessions:{owner_of('p')}", foreign, 60)
    session = await sessions.open("p", "2025-11-25", {})
    assert await sessions.find(session.id, "p") == session
    assert await sessions.close(session.id, "p")


async def test_a_task_that_cannot_be_read_is_unknown(foreign: bytes) -> None:
    backend = InMemoryBackend()
    for stored in (foreign, b"0001" + b"x" * 12 + foreign, b"\xff" * 16 + foreign):
        await backend.set("task:t", stored, 60)
        assert await TaskStore(backend, 1_000_000).read("t") is None


async def test_a_stream_that_cannot_be_read_is_not_known(foreign: bytes) -> None:
    backend = InMemoryBackend()
    log = EventLog(EventBus(backend))
    await backend.set("event:s:w-1", foreign, 60)
    await backend.set(f"event:s:{EventId('w-1', 1)}", b"0x", 60)
    assert not await log.knows("s", EventId("w-1", 1), lambda _: True)
