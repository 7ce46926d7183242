"""The event log of streams: who comes back gets what is kept, and never waits for what is gone."""

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mcp_server.protocol.sse import EventId
from mcp_server.protocol.types.notifications import SubscriptionFilter
from mcp_server.sessions.event_log import KEPT, KEPT_S, STREAM_S, EventLog, StreamAccess
from mcp_server.sessions.subscriptions import Subscription
from mcp_server.store.events import EventBus
from mcp_server.store.memory import InMemoryBackend
from tests.kit.backends import Clock, Workers, settle

FOR = StreamAccess(("mcp:read",), (("tools/call", "note"),))


def at(number: int, stream: str = "w-1") -> EventId:
    return EventId(stream, number)


class Log:
    """A log with one open stream, and those who follow it."""

    def __init__(self, kept: int = 5) -> None:
        self.clock = Clock()
        self.log = EventLog(EventBus(InMemoryBackend(clock=self.clock)), kept=kept, recheck_s=0.02)

    async def say(self, *numbers: int, last: bool = False) -> None:
        for number in numbers:
            assert await self.log.append("alice", "s", at(number), b"%d" % number, last=last and number == numbers[-1])

    def follow(self, number: int) -> "tuple[asyncio.Task[None], list[int], Subscription]":
        listener, got = Subscription("p", SubscriptionFilter(), session="s"), []

        async def read() -> None:
            async for event, data in self.log.follow("s", at(number), listener):
                assert data == b"%d" % event.number
                got.append(event.number)

        return asyncio.create_task(read()), got, listener


async def begun(kept: int = 5) -> Log:
    log = Log(kept)
    assert await log.log.begin("alice", "s", "w-1", FOR)
    return log


async def test_a_streams_oldest_messages_go() -> None:
    replays = EventLog(EventBus(InMemoryBackend()))
    assert await replays.begin("alice", "s", "w-1", FOR)
    held = FOR.__eq__
    assert await replays.knows("s", at(0), held)
    for number in range(1, KEPT + 3):
        assert await replays.append("alice", "s", at(number), b"{}", last=False)
    assert not await replays.knows("s", at(2), held)
    assert await replays.knows("s", at(3), held)
    assert not await replays.knows("s", at(3), lambda _: False)
    assert not await replays.knows("s", at(3, "w-2"), held)
    assert not await replays.knows("other", at(3), held)


async def test_the_priming_event_goes_before_the_first_message_does() -> None:
    log = await begun()
    await log.say(1, 2, 3, 4)
    assert await log.log.knows("s", at(0), FOR.__eq__)
    await log.say(5)
    assert not await log.log.knows("s", at(0), FOR.__eq__)
    assert await log.log.knows("s", at(1), FOR.__eq__)


async def test_a_silent_call_is_waited_for_and_one_that_spoke_long_ago_is_not() -> None:
    log = await begun()
    log.clock.now = KEPT_S + 1  # nothing was said so far
    assert await log.log.knows("s", at(0), FOR.__eq__)
    await log.say(1)
    log.clock.now += KEPT_S - 1
    assert await log.log.knows("s", at(0), FOR.__eq__)
    log.clock.now += 2
    await log.say(2, last=True)
    assert not await log.log.knows("s", at(0), FOR.__eq__)
    job, got, _ = log.follow(0)
    await asyncio.wait_for(job, 60)
    assert got == []


async def test_who_follows_hears_what_was_and_what_will_be_said() -> None:
    log = await begun()
    await log.say(1, 2)
    job, got, _ = log.follow(0)
    await settle()
    assert got == [1, 2]
    await log.say(3)
    await settle()
    await log.say(4, last=True)
    await asyncio.wait_for(job, 60)
    assert got == [1, 2, 3, 4]
    job, got, _ = log.follow(4)  # nothing comes after the last one
    await asyncio.wait_for(job, 60)
    assert got == []


async def test_who_was_too_slow_is_not_left_waiting_for_what_is_gone() -> None:
    log = await begun(kept=3)
    job, got, _ = log.follow(0)
    await settle()
    await log.say(1, 2, 3, 4, 5)  # before it has its turn
    await asyncio.wait_for(job, 60)
    assert got == []
    assert not log.log._followers


async def test_who_stops_following_ends() -> None:
    log = await begun()
    job, _, listener = log.follow(0)
    await settle()
    listener.end()
    await asyncio.wait_for(job, 60)


async def test_a_stream_that_is_forgotten_is_waited_for_no_more() -> None:
    log = await begun()
    job, _, _ = log.follow(0)
    await settle()
    log.clock.now = STREAM_S + 1
    await asyncio.wait_for(job, 60)


async def test_a_message_that_was_announced_during_a_gap_is_found_after_it() -> None:
    workers = Workers()
    here, there = workers.join(), workers.join()
    says, hears = EventLog(EventBus(here)), EventLog(bus := EventBus(there), recheck_s=60)
    await there.start(bus.receive)
    assert await says.begin("alice", "s", "w-1", FOR)
    listener = Subscription("p", SubscriptionFilter(), session="s")
    got = []

    async def read() -> None:
        async for event, _ in hears.follow("s", at(0), listener):
            got.append(event.number)

    job = asyncio.create_task(read())
    await settle()
    there.deaf = True
    assert await says.append("alice", "s", at(1), b"1", last=True)
    await settle()
    assert got == []
    there.hears_again()
    await asyncio.wait_for(job, 60)
    assert got == [1]


async def test_what_is_too_much_is_not_kept_and_says_so() -> None:
    log = EventLog(EventBus(InMemoryBackend()), limit=2_000)
    assert await log.begin("alice", "s", "w-1", FOR)
    assert await log.append("alice", "s", at(1), b"x" * 500, last=False)
    assert not await log.append("alice", "s", at(2), b"x" * 1_500, last=True)
    await log.end("alice", "s", at(2))
    listener = Subscription("p", SubscriptionFilter(), session="s")
    assert [event.number async for event, _ in log.follow("s", at(0), listener)] == [1, 2]
    assert not await log.begin("alice", "s", "w-2", StreamAccess(("x" * 2_000,)))
    assert await log.begin("bob", "t", "w-3", FOR)


class Streams(RuleBasedStateMachine):
    """A stream that is written and read back from any place: what comes is contiguous, and nobody waits in vain."""

    @initialize(kept=st.integers(2, 6))
    def open(self, kept: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.state = self.loop.run_until_complete(begun(kept))
        self.said, self.over = 0, False

    @precondition(lambda self: not self.over)
    @rule(count=st.integers(1, 4), last=st.booleans())
    def say(self, count: int, last: bool) -> None:
        self.loop.run_until_complete(self.state.say(*range(self.said + 1, self.said + count + 1), last=last))
        self.said += count
        self.over = last

    @rule(seconds=st.sampled_from([1, KEPT_S / 2, KEPT_S + 1]))
    def wait(self, seconds: float) -> None:
        self.state.clock.now += seconds

    @rule(number=st.integers(0, 20))
    def come_back(self, number: int) -> None:
        async def read() -> None:
            known = await self.state.log.knows("s", at(number), FOR.__eq__)
            job, got, listener = self.state.follow(number)
            await settle(2 * self.said + 10)
            assert got == list(range(number + 1, number + 1 + len(got)))
            assert not known or got == list(range(number + 1, self.said + 1))
            if not job.done():
                assert known
                assert not self.over
                listener.end()
            await asyncio.wait_for(job, 60)

        self.loop.run_until_complete(read())

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.close()


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)


async def test_a_head_of_another_version_is_not_known() -> None:
    backend = InMemoryBackend()
    replays = EventLog(EventBus(backend))
    assert await replays.begin("alice", "s", "w-1", FOR)
    await backend.set("event:s:w-1", b'["mcp:read"]', 60)
    assert not await replays.knows("s", at(0), FOR.__eq__)
