"""What ends with a token that is revoked: its streams, and its tasks wherever they are."""

import asyncio

import pytest

from mcp_server.identity import TokenMarks, marks_of
from mcp_server.protocol.types.notifications import SubscriptionFilter
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.subscriptions import Subscription, SubscriptionLimits, Subscriptions
from mcp_server.sessions.tasks import TaskInteraction, Tasks
from mcp_server.sessions.tasks.registry import REVOKED
from mcp_server.store.events import EventBus
from mcp_server.store.jobs.queue import Move
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.revocations import EVER, Revocation, RevocationList
from tests.kit.backends import settle
from tests.kit.principals import principal
from tests.kit.tasks import ALICE, ANSWER, Handlers, Pair, Work, begun

OF_ALICE = Revocation(issuer="https://issuer", kind="sub", name="alice", before=10, until=EVER)
ERROR = {"code": -32603, "message": REVOKED}


def marks(subject: str, issued_at: float = 0.0) -> TokenMarks:
    found = marks_of(principal(subject=subject))
    return TokenMarks(**{name: getattr(found, name) for name in found.__struct_fields__} | {"issued_at": issued_at})


def test_a_stream_ends_with_the_token_that_opened_it_where_that_is_revoked() -> None:
    known = RevocationList()
    streams = Subscriptions(EventBus(InMemoryBackend()), SubscriptionLimits(), over=known.over)

    def opened(subject: str | None) -> Subscription:
        listener = Subscription("p", SubscriptionFilter())
        listener.principal = None if subject is None else principal(subject=subject)
        assert streams.add(listener)
        return listener

    alice, bob, nobody = opened("alice"), opened("bob"), opened(None)
    assert known.add(OF_ALICE)
    assert streams.revoked(OF_ALICE) == 1
    assert (alice.ended, bob.ended, nobody.ended) == (True, False, False)
    assert [opened(name).ended for name in ("alice", "bob", None)] == [True, False, False]


async def test_a_revoked_token_ends_what_it_began_and_nobody_elses() -> None:
    works = {name: Work() for name in ("alice", "bob", "nobody")}
    tasks = Tasks(EventBus(InMemoryBackend()), 60)
    ids = {}
    for name, work in works.items():
        whose = None if name == "nobody" else marks(name)
        ids[name] = (await tasks.start(begun(work, name, marks=whose))).task_id
    assert tasks.revoked(OF_ALICE) == 1
    await settle()
    found = {name: await tasks.find(ids[name], name) for name in works}
    assert {name: one and one.status for name, one in found.items()} == {
        "alice": "failed", "bob": "working", "nobody": "working",
    }  # fmt: skip
    assert found["alice"] is not None
    assert found["alice"].error == ERROR
    assert (works["alice"].cancelled, works["bob"].cancelled) == (True, False)
    await tasks.stop()


async def test_a_token_that_is_revoked_while_its_task_begins_ends_it() -> None:
    known, backend, work, gate = RevocationList(), InMemoryBackend(), Work(), asyncio.Event()
    write = backend.jobs.write

    async def slow(move: Move) -> bool:
        await gate.wait()
        return await write(move)

    backend.jobs.write = slow  # type: ignore[method-assign]
    tasks = Handlers().of(EventBus(backend), 60, over=known.over)
    starting = asyncio.create_task(tasks.start(begun(work, marks=marks("alice"))))
    await settle()
    assert known.add(OF_ALICE)
    tasks.revoked(OF_ALICE)
    await settle()
    gate.set()
    await settle()
    found = await tasks.find((await starting).task_id, ALICE)
    assert (found and found.status, found and found.error, work.attempts) == ("failed", ERROR, [])
    await tasks.stop()


async def test_a_handler_that_does_not_let_itself_be_ended_has_failed_all_the_same() -> None:
    async def stubborn(_: TaskInteraction) -> CallToolResult:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return CallToolResult(content=[])
        raise AssertionError

    backend = InMemoryBackend()
    write = backend.jobs.write

    async def late(move: Move) -> bool:
        if b'"failed"' in move.record:  # a store elsewhere: what the handler returns is there before it answers
            await settle()
        return await write(move)

    backend.jobs.write = late  # type: ignore[method-assign]
    tasks = Tasks(EventBus(backend), 60)
    task_id = (await tasks.start(begun(stubborn, marks=marks("alice")))).task_id
    tasks.revoked(OF_ALICE)
    await settle(200)
    found = await tasks.find(task_id, ALICE)
    assert (found and found.status, found and found.error) == ("failed", ERROR)
    await tasks.stop()


@pytest.mark.parametrize("how", ["lost", "handed back", "taken meanwhile"])
async def test_a_task_whose_token_was_revoked_while_no_worker_ran_it_does_not_run(how: str) -> None:
    known = RevocationList()
    pair, work = await Pair(over=known.over).begin(), Work()
    task_id = await pair.start(work, marks=marks("alice"))
    if how == "handed back":
        await pair.there.leases.claim()
        await pair.here.hand_back()
    else:
        pair.here._running.clear()  # as of a process that is gone
    if how == "taken meanwhile":  # between the claim and the run
        resume = pair.handlers.resume
        pair.handlers.resume = lambda *args: (known.add(OF_ALICE), resume(*args))[1]  # type: ignore[method-assign]
    else:
        assert known.add(OF_ALICE)
    assert pair.there.revoked(OF_ALICE) == 0
    await pair.takes_over()
    await settle()
    found = await pair.shows(task_id)
    assert (found.status, found.error, work.attempts) == ("failed", ERROR, [1])
    assert pair.handlers.told == [(task_id, "task_failed")]
    assert not pair.there.running
    await pair.stop()


@pytest.mark.parametrize("over", ["who began", "who answers", "neither"])
async def test_a_task_that_waits_for_an_answer_fails_with_it_where_its_token_is_over(over: str) -> None:
    known = RevocationList()
    pair, work = await Pair(over=known.over).begin(), Work(asks=True)
    task_id = await pair.start(work, marks=marks("alice", 20 if over == "who answers" else 5))
    await settle()
    if over != "neither":
        assert known.add(OF_ALICE)
    record, answers = await pair.shows(task_id), marks("alice", 5 if over == "who answers" else 20)
    await pair.there.answer(record, ANSWER, lambda _, job: job, answers)
    await settle()
    found = await pair.shows(task_id)
    if over == "neither":
        assert (found.status, found.marks, work.attempts) == ("working", answers, [1, 2])
        assert known.add(OF_ALICE)
        assert pair.there.revoked(OF_ALICE) == 0  # it goes on by the later token
    else:
        assert (found.status, found.error, work.attempts) == ("failed", ERROR, [1])
        assert pair.handlers.told == [(task_id, "task_failed")]
    await pair.stop()
