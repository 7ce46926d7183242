"""Bytes in the store that are no records of ours: another version's, or somebody else's who writes there."""

import pickle
import time
from typing import Any

import msgspec
import pytest

from mcp_server.protocol.sse import EventId
from mcp_server.sessions.event_log import EventLog
from mcp_server.sessions.session import Sessions, read
from mcp_server.sessions.tasks.record import TaskRecord, TaskStore
from mcp_server.store.backend import owner_of
from mcp_server.store.events import EventBus
from mcp_server.store.jobs.queue import Move
from mcp_server.store.memory import InMemoryBackend
from tests.kit.backends import settle
from tests.kit.tasks import ALICE, Pair, Work

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


def before_told(worker: str) -> dict[str, Any]:
    """A task's record as it was written before there was `told`: a handler began as soon as it was stored."""
    now = time.time()
    return {
        "id": "t", "principal_key": ALICE, "tool": "tool", "needed": ["mcp:read"], "worker": worker,
        "created_at": now, "updated_at": now, "ttl_s": 3600.0, "status": "working", "questions": {}, "error": None,
        "version": "", "attempt": 1, "lost": 0, "marks": None, "counted": 1024, "job_size": 1,
        "rounds": {"answers": {}, "notes": {}, "put": {}, "tries": {}, "used": []},
    }  # fmt: skip


async def test_a_task_that_an_older_version_began_is_shown_and_taken_over() -> None:
    """In a rolling upgrade its worker stops: the new one has the task from here on."""
    pair, work = await Pair().begin(), Work()
    record = b"0001" + b"0" * 12 + msgspec.json.encode(before_told(pair.backends[0].worker))
    move = Move(
        id="t", record=record, replaces="", then="run", owner=owner_of(ALICE), limit=10**6, ttl_s=3600, job=b"0"
    )
    assert await pair.backends[0].jobs.write(move)
    pair.handlers.keep(work)
    assert (await pair.shows("t")).status == "working"
    await pair.takes_over()
    work.gate.set()
    await settle()
    assert ((await pair.shows("t")).status, work.attempts) == ("completed", [2])
    await pair.stop()


async def test_what_an_older_version_writes_back_of_a_newer_record_counts_as_told() -> None:
    """It knows no `told`, and leaves it out: by then it has begun the handler."""
    pair, work = await Pair().begin(), Work()
    stored = await pair.backends[0].get(f"task:{await pair.start(work)}")
    assert stored is not None
    seen = msgspec.json.decode(stored[16:])
    assert seen["told"] is True
    left = {name: value for name, value in seen.items() if name in before_told("")}
    assert set(before_told("")) == set(left)
    assert msgspec.convert(left, TaskRecord).told
    await pair.stop()
