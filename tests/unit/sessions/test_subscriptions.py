"""Who hears of what: scopes, costs, slow readers, and what is made up for after a gap."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mcp_server.authoring.errors import ClientRequestFailed
from mcp_server.protocol.types.content import TextContent
from mcp_server.protocol.types.notifications import SubscriptionFilter
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.client_requests import ClientRequests
from mcp_server.sessions.session import Session, Sessions
from mcp_server.sessions.subscriptions import Notice, Subscription, SubscriptionLimits, Subscriptions
from mcp_server.sessions.tasks import TaskInteraction, Tasks
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.events import (
    EventBus,
    ListChanged,
    ResourceUpdated,
    SessionEnded,
    StreamOpened,
    SubscriptionsChanged,
    TaskChanged,
)
from mcp_server.store.memory import InMemoryBackend
from tests.kit.backends import Linked, Workers, run_settled, settle
from tests.kit.tasks import begun

LEGACY = "2025-11-25"
ALL = SubscriptionFilter(tools_list_changed=True, prompts_list_changed=True, resources_list_changed=True)
Found = TypeVar("Found")


def wanting(*uris: str) -> SubscriptionFilter:
    return msgspec.structs.replace(ALL, resource_subscriptions=list(uris))


def openly(uris: list[str]) -> list[str]:
    """What a token of few scopes may read."""
    return [uri for uri in uris if uri.startswith("open:")]


class Worker:
    """What one worker has of sessions and streams."""

    def __init__(self, backend: InMemoryBackend) -> None:
        self.bus = EventBus(backend)
        self.sessions, self.tasks = Sessions(self.bus), Tasks(self.bus, 3600)
        self.streams = Subscriptions(self.bus, SubscriptionLimits(), again_s=0)

    async def stream(self, session: Session, token: str, *, few_scopes: bool = False) -> Subscription:
        """The general stream of a legacy session."""
        filtered = openly if few_scopes else list
        listener = Subscription(
            session.principal_key,
            wanting(*filtered(session.subscriptions)),
            session=session.id,
            token=token,
            readable=filtered,
        )
        assert self.streams.add(listener)
        await self.streams.opened(listener)
        return listener

    async def subscribe(self, session: Session, *uris: str) -> None:
        await self.sessions.change(session, lambda one: msgspec.structs.replace(one, subscriptions=list(uris)))


async def two() -> tuple[Worker, Worker, Linked]:
    """Two workers of one store; the connection of the second may be cut."""
    workers = Workers()
    backends = workers.join(), workers.join()
    here, there = (Worker(one) for one in backends)
    for worker in (here, there):
        await worker.bus.backend.start(worker.bus.receive)
    return here, there, backends[1]


def heard(listener: Subscription) -> list[str]:
    """What waits for a reader, and is taken."""
    keys = list(listener.waiting)
    listener.waiting.clear()
    return keys


async def test_a_stream_hears_of_what_its_own_token_may_read_whoever_subscribes() -> None:
    worker = Worker(InMemoryBackend())
    session = await worker.sessions.open("p", LEGACY, {})
    narrow = await worker.stream(session, "t", few_scopes=True)
    await worker.subscribe(session, "open://a", "secret://x", "open://b")  # by a token that may read all of them
    for uri in ("secret://x", "open://a", "open://b", "open://c"):
        worker.bus.deliver(ResourceUpdated(uri))
    assert heard(narrow) == ["resource open://a", "resource open://b"]
    await worker.subscribe(session, "secret://x", "open://b")
    for uri in ("secret://x", "open://a", "open://b"):
        worker.bus.deliver(ResourceUpdated(uri))
    assert heard(narrow) == ["resource open://b"]


async def test_what_was_subscribed_while_a_stream_opened_is_heard() -> None:
    worker = Worker(InMemoryBackend())
    session = await worker.sessions.open("p", LEGACY, {})
    await worker.subscribe(session, "open://a", "secret://x")  # after the look-up of the session, before the stream
    listener = await worker.stream(session, "t", few_scopes=True)
    for uri in ("open://a", "secret://x"):
        worker.bus.deliver(ResourceUpdated(uri))
    assert heard(listener) == ["resource open://a"]
    assert await worker.sessions.close(session.id, "p")
    late = await worker.stream(session, "u")
    assert late.ended


async def test_a_stream_that_fetches_the_rest_of_an_answer_hears_nothing_else() -> None:
    worker = Worker(InMemoryBackend())
    session = await worker.sessions.open("p", LEGACY, {})
    rest = Subscription("p", SubscriptionFilter(), session=session.id)
    assert worker.streams.add(rest)
    await worker.subscribe(session, "open://a")
    worker.bus.deliver(ResourceUpdated("open://a"))
    worker.bus.deliver(ListChanged("tools"))
    await worker.stream(session, "t")
    assert heard(rest) == []
    assert not rest.ended
    worker.bus.deliver(SessionEnded(session.id))
    assert rest.ended


async def test_a_change_costs_as_much_as_there_are_who_hear_of_it() -> None:
    streams = Subscriptions(bus := EventBus(InMemoryBackend()), SubscriptionLimits(1_000, 1_000))
    offers = 0

    class Counted(Subscription):
        def offer(self, key: str, notice: Notice) -> None:
            nonlocal offers
            offers += 1
            super().offer(key, notice)

    listeners = [Counted("p", wanting(*(f"a://{n}/{uri}" for uri in range(50)))) for n in range(200)]
    for one in listeners:
        assert streams.add(one)
    for event in (ResourceUpdated("a://nobody"), ResourceUpdated("a://7/7"), TaskChanged("t"), SessionEnded("s")):
        bus.deliver(event)
    bus.deliver(StreamOpened("s", "t"))
    bus.deliver(SubscriptionsChanged("s", ["a://0/0"]))
    assert offers == 1
    assert heard(listeners[7]) == ["resource a://7/7"]
    bus.deliver(ListChanged("of a newer version"))
    assert offers == 1
    bus.deliver(ListChanged("tools"))
    assert offers == 201
    for one in listeners:
        streams.remove(one)
    assert not streams._index
    assert not streams._limiter.holders


async def test_frames_are_made_when_they_are_read_and_each_thing_is_said_once() -> None:
    worker = Worker(InMemoryBackend())
    go = asyncio.Event()

    async def work(_: TaskInteraction) -> CallToolResult:
        await go.wait()
        return CallToolResult([TextContent("done")])

    created = await worker.tasks.start(begun(work, "p"))
    foreign = await worker.tasks.start(begun(work, "q"))
    wanted = msgspec.structs.replace(wanting("a://b"), task_ids=[created.task_id, foreign.task_id, "gone"])
    listener = Subscription("p", wanted, subscription=5)
    assert worker.streams.add(listener)
    for event in (
        ResourceUpdated("a://b"),
        TaskChanged(created.task_id),
        TaskChanged(foreign.task_id),
        TaskChanged("gone"),
    ):
        worker.bus.deliver(event)
        worker.bus.deliver(event)
    go.set()
    await settle()
    first, second = [msgspec.json.decode(frame) for frame in await listener.next()]
    assert first["params"] == {"uri": "a://b", "_meta": {"io.modelcontextprotocol/subscriptionId": 5}}
    assert (second["method"], second["params"]["status"]) == ("notifications/tasks", "completed")
    assert second["params"]["result"]["content"][0]["text"] == "done"
    listener.end()
    assert await listener.next() == []


async def test_a_task_that_cannot_be_read_is_told_of_later_and_ends_no_stream() -> None:
    here, there, connection = await two()
    created = await here.tasks.start(begun(_returns, "p"))
    listener = Subscription("p", SubscriptionFilter(task_ids=[created.task_id]), subscription=5)
    assert there.streams.add(listener)
    there.bus.deliver(TaskChanged(created.task_id))
    connection.away = True
    assert await listener.next() == []
    connection.away = False
    connection.hears_again()
    (frame,) = await listener.next()
    assert msgspec.json.decode(frame)["params"]["taskId"] == created.task_id
    there.bus.deliver(TaskChanged(created.task_id))
    connection.away = True
    listener.end()
    assert await listener.next() == []
    assert not listener.waiting


async def _returns(_: TaskInteraction) -> CallToolResult:
    return CallToolResult([])


async def test_after_a_gap_subscriptions_ended_sessions_and_replaced_streams_are_read_anew() -> None:
    here, there, connection = await two()
    changed, ended, replaced = [await here.sessions.open("p", LEGACY, {}) for _ in range(3)]
    streams = [await there.stream(one, "old", few_scopes=True) for one in (changed, ended, replaced)]
    connection.deaf = True
    await here.subscribe(changed, "open://a", "secret://x")
    assert await here.sessions.close(ended.id, "p")
    newer = await here.stream(replaced, "new")
    await settle()
    assert not any(one.ended for one in streams)  # it was not told
    connection.hears_again()
    await settle()
    assert [one.ended for one in streams] == [False, True, True]
    assert not newer.ended
    assert heard(streams[0]) == ["tools", "prompts", "resources"]  # what changed is not known: the client looks
    await here.bus.publish(ResourceUpdated("open://a"))
    await here.bus.publish(ResourceUpdated("secret://x"))
    assert heard(streams[0]) == ["resource open://a"]


async def test_after_a_gap_the_store_is_asked_until_it_answers() -> None:
    here, there, connection = await two()
    session = await here.sessions.open("p", LEGACY, {})
    stream = await there.stream(session, "t")
    connection.deaf = True
    assert await here.sessions.close(session.id, "p")
    connection.away = True
    connection.hears_again()
    connection.hears_again()
    await settle()
    assert not stream.ended
    connection.away = False
    await settle()
    assert stream.ended


async def test_after_a_gap_nobody_waits_for_answers_of_a_session_that_has_ended() -> None:
    here, there, connection = await two()
    session, other = [await here.sessions.open("p", LEGACY, {}) for _ in range(2)]
    requests = ClientRequests(there.bus, 300)

    async def send(_: bytes) -> None: ...

    gone = asyncio.create_task(requests.ask(session.id, send, "roots/list"))
    lives = asyncio.create_task(requests.ask(other.id, send, "roots/list"))
    await settle()
    connection.deaf = True
    assert await here.sessions.close(session.id, "p")
    connection.hears_again()
    with pytest.raises(ClientRequestFailed, match="ended"):
        await asyncio.wait_for(gone, 60)
    assert not lives.done()
    lives.cancel()


async def test_an_event_that_comes_while_a_session_is_read_is_the_newer_word() -> None:
    here, there, connection = await two()
    session = await here.sessions.open("p", LEGACY, {})
    stream = await there.stream(session, "t")
    get = connection.get

    async def slow(key: str, renew_s: float | None = None) -> bytes | None:
        found = await get(key, renew_s)
        if key.startswith("session:") and not stream.wanted.resource_subscriptions:
            await here.subscribe(session, "open://new")
        return found

    connection.get = slow  # type: ignore[method-assign]
    connection.hears_again()
    await settle()
    assert stream.wanted.resource_subscriptions == ["open://new"]


async def test_a_stream_that_cannot_be_told_of_is_not_open() -> None:
    here, _, _ = await two()
    session = await here.sessions.open("p", LEGACY, {})
    backend = here.bus.backend
    assert isinstance(backend, Linked)
    backend.away = True
    with pytest.raises(StoreUnavailable):
        await here.stream(session, "t")
    backend.away = False
    get = backend.get

    async def fails(key: str, renew_s: float | None = None) -> bytes | None:
        if key.startswith("session:"):
            raise StoreUnavailable("away")
        return await get(key, renew_s)

    backend.get = fails  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await here.stream(session, "t")
    assert not here.streams._being_read


class Streams(RuleBasedStateMachine):
    """Sessions that subscribe and streams that open, on two workers of which one goes deaf: what is heard is right.

    After each gap is over, every open stream of a session that lives is the newest one of it and wants what the session
    subscribed to and its token may read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        here, there, self.connection = self.run(two())
        self.workers = [here, there]
        self.open: dict[str, tuple[Session, list[str]]] = {}
        self.streams: list[tuple[Worker, Subscription, bool]] = []
        self.newest: dict[str, Subscription] = {}

    def run(self, work: Coroutine[Any, Any, Found]) -> Found:
        return run_settled(self.loop, work)

    def session_of(self, data: st.DataObject) -> str | None:
        return data.draw(st.sampled_from(sorted(self.open))) if self.open else None

    @rule(worker=st.integers(0, 1))
    def begin(self, worker: int) -> None:
        session = self.run(self.workers[worker].sessions.open("p", LEGACY, {}))
        self.open[session.id] = session, []

    @rule(data=st.data(), worker=st.integers(0, 1))
    def end(self, data: st.DataObject, worker: int) -> None:
        if (one := self.session_of(data)) is not None:
            assert self.run(self.workers[worker].sessions.close(one, "p"))
            del self.open[one]

    @rule(
        data=st.data(), worker=st.integers(0, 1), uris=st.sets(st.sampled_from(["open://a", "open://b", "secret://x"]))
    )
    def subscribe(self, data: st.DataObject, worker: int, uris: set[str]) -> None:
        if (one := self.session_of(data)) is not None:
            self.run(self.workers[worker].subscribe(self.open[one][0], *sorted(uris)))
            self.open[one] = self.open[one][0], sorted(uris)

    @rule(data=st.data(), worker=st.integers(0, 1), few=st.booleans())
    def stream(self, data: st.DataObject, worker: int, few: bool) -> None:
        if (one := self.session_of(data)) is not None:
            token = str(len(self.streams))
            listener = self.run(self.workers[worker].stream(self.open[one][0], token, few_scopes=few))
            self.streams.append((self.workers[worker], listener, few))
            self.newest[one] = listener

    @rule(so=st.booleans())
    def deaf(self, so: bool) -> None:
        self.connection.deaf = so
        if not so:
            self.run(self.again())

    async def again(self) -> None:
        self.connection.hears_again()  # in the loop, as a connection tells it
        await settle()

    @invariant()
    def streams_are_what_their_sessions_are(self) -> None:
        for worker, listener, few in self.streams:
            if self.connection.deaf and worker is self.workers[1]:
                continue
            session = listener.session or ""
            assert listener.ended is not (session in self.open and self.newest[session] is listener)
            if not listener.ended:
                uris = self.open[session][1]
                assert sorted(listener.wanted.resource_subscriptions) == (openly(uris) if few else uris)

    def teardown(self) -> None:
        for worker, listener, _ in self.streams:
            worker.streams.remove(listener)
        assert not any(worker.streams._index or worker.streams._being_read for worker in self.workers)
        self.loop.close()


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
