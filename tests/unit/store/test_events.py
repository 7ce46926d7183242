"""The event bus and its outbox: order, bounds, and what is lost is made up for."""

import asyncio
from collections.abc import Sequence

import pytest

from mcp_server.store.backend import EVERYBODY, GAP, Message, StoreUnavailable
from mcp_server.store.events import (
    CallCancelled,
    Event,
    EventBus,
    EventsMissed,
    ListChanged,
    ResourceUpdated,
    StreamAppended,
    TaskChanged,
)
from mcp_server.store.outbox import Outbox
from tests.kit.backends import Workers, settle


class Line:
    """What messages go through: shut, they wait; broken, they are lost."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False
        self.sent: list[Message] = []
        self.at_once = self.most = 0

    async def publish(self, messages: Sequence[Message]) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self.open.wait()
        self.at_once -= 1
        if self.broken:
            raise StoreUnavailable("broken")
        self.sent.extend(messages)


def data(line: Line) -> list[bytes]:
    return [one for _, one in line.sent]


async def test_messages_leave_in_the_order_in_which_they_were_given_by_one_sender() -> None:
    line = Line()
    outbox = Outbox(line.publish)
    sends = []
    for number in range(600):
        if number % 3:
            outbox.send_soon(b"%d" % number)
        else:
            sends.append(asyncio.ensure_future(outbox.send("w1" if number % 2 else EVERYBODY, b"%d" % number)))
            await asyncio.sleep(0)
    await asyncio.gather(*sends)
    await outbox.idle()
    assert data(line) == [b"%d" % number for number in range(600)]
    assert [worker for worker, _ in line.sent[:7]] == ["", "", "", "w1", "", "", ""]
    assert line.most == 1


async def test_what_waits_is_bounded_said_once_and_made_up_for() -> None:
    line = Line()
    outbox = Outbox(line.publish, limit=3)
    line.open.clear()
    outbox.send_soon(b"first")
    await settle(3)  # on its way
    for message in (b"a", b"b", b"a", b"c", b"d", b"e", b"a"):
        outbox.send_soon(message)
    with pytest.raises(StoreUnavailable):
        await outbox.send(EVERYBODY, b"waited for")
    line.open.set()
    await outbox.idle()
    assert data(line) == [b"first", GAP, b"a", b"b", b"c"]  # two were lost: whoever hears of a gap reads anew
    outbox.send_soon(b"next")
    await outbox.idle()
    assert data(line)[5:] == [b"next"]


async def test_who_waits_learns_that_it_failed_and_the_rest_goes_on() -> None:
    line = Line()
    outbox = Outbox(line.publish)
    line.broken = True
    outbox.send_soon(b"lost")
    with pytest.raises(StoreUnavailable, match="broken"):
        await outbox.send(EVERYBODY, b"failed")
    line.open.clear()
    given_up = asyncio.ensure_future(outbox.send(EVERYBODY, b"given up"))
    await settle(3)
    given_up.cancel()
    line.open.set()
    await outbox.idle()
    line.broken = False
    await outbox.send("w1", b"heard")
    assert line.sent == [(EVERYBODY, GAP), ("w1", b"heard")]
    await outbox.send(EVERYBODY, b"more")
    assert data(line)[2:] == [b"more"]


async def test_only_lost_is_said_again_never_what_somebody_was_told_had_failed() -> None:
    line = Line()
    outbox = Outbox(line.publish)
    line.broken = True
    with pytest.raises(StoreUnavailable):
        await outbox.send(EVERYBODY, b"failed")
    line.broken = False
    await outbox.send(EVERYBODY, b"heard")
    assert data(line) == [b"heard"]


async def test_one_part_that_fails_keeps_no_other_from_hearing() -> None:
    workers = Workers()
    here, there = EventBus(workers.join()), EventBus(workers.join())
    heard: list[Event] = []

    def fails(_: Event) -> None:
        raise RuntimeError("a kind of a newer version")

    for bus in (here, there):
        bus.subscribe(ListChanged, fails)
        bus.subscribe(ListChanged, heard.append)
        bus.subscribe(ResourceUpdated, heard.append)
        await bus.backend.start(bus.receive)
    await here.publish(ListChanged("tools"))
    here.publish_soon(ResourceUpdated("a://b"))
    await here.outbox.idle()
    assert heard == [ListChanged("tools"), ListChanged("tools"), ResourceUpdated("a://b"), ResourceUpdated("a://b")]


async def test_what_cannot_be_read_is_passed_over_and_a_gap_is_told() -> None:
    bus = EventBus(Workers().join())
    heard: list[Event] = []
    bus.subscribe(EventsMissed, heard.append)
    deep = b'{"type":"Answered","session":"s","question":"q","result":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    for odd in (b"{", b"5", b'{"type":"OfANewerVersion"}', b'{"type":"ListChanged"}', b"\xff", deep):
        bus.receive(odd)
    assert heard == []
    bus.receive(GAP)
    assert heard == [EventsMissed()]


async def test_a_worker_that_cannot_be_told_is_no_ones_failure() -> None:
    workers = Workers()
    backend = workers.join()
    bus = EventBus(backend)
    heard: list[Event] = []
    bus.subscribe(ListChanged, heard.append)
    backend.away = True
    bus.publish_soon(ListChanged("tools"))
    await bus.outbox.idle()
    assert heard == [ListChanged("tools")]
    with pytest.raises(StoreUnavailable):
        await bus.publish(ListChanged("tools"))
    backend.away = False
    await backend.start(bus.receive)
    for _ in range(2):  # the connection is back: what was lost is made up for, once
        backend.hears_again()
        await bus.outbox.idle()
    assert backend.published == [(EVERYBODY, GAP)]


async def test_what_is_sent_of_a_task_is_its_name_whatever_its_size() -> None:
    backend = Workers().join()
    bus = EventBus(backend)
    bus.publish_soon(TaskChanged("t" * 32))
    bus.publish_soon(StreamAppended("s" * 20, 5))
    await bus.publish_to("w9", CallCancelled("s", 5))
    await bus.publish_to(backend.worker, CallCancelled("s", 5))
    assert all(len(sent) < 100 for _, sent in backend.published)
    assert [worker for worker, _ in backend.published] == [EVERYBODY, EVERYBODY, "w9"]
