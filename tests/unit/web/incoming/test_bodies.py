"""Bodies as they come: whole, in parts, too long, never, and cut off at any point."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_server.engine.supervisor import CallSupervisor, CallSupervisors
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.web.incoming.bodies import FREE, GONE, TOO_LARGE, TOO_MUCH, TOO_SLOW, Bodies, Body, BodyRefused
from mcp_server.web.incoming.request_guard import HttpPolicy

WHO = "https://issuer.example\nalice"
MAX = 4 * FREE
GONE_NOW: dict[str, Any] = {"type": "http.disconnect"}


def parts(*sizes: int, whole: bool = True) -> list[dict[str, Any]]:
    last = len(sizes) - 1
    return [
        {"type": "http.request", "body": b"x" * size, "more_body": at < last or not whole}
        for at, size in enumerate(sizes)
    ]


class Client:
    """What granian hands over, one message after the other; then nothing. It may cut off the reader."""

    def __init__(self, messages: list[dict[str, Any]], cut_at: int | None = None) -> None:
        self.messages, self.looks, self.cut_at = messages, 0, cut_at

    async def receive(self) -> dict[str, Any]:
        self.looks += 1
        if self.cut_at == self.looks:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await asyncio.sleep(0)
        if self.messages:
            return self.messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("not reached")


def reader(limiter: ConcurrencyLimiter, timeout_s: float = 30) -> Bodies:
    policy = HttpPolicy(hosts=frozenset(), origins=frozenset(), max_body=MAX, body_timeout_s=timeout_s)
    return Bodies(policy, limiter)


def watch() -> CallSupervisor:
    return CallSupervisor(CallSupervisors())


class Sender:
    def __init__(self, receive: Any, caller: str = WHO, refused: BodyRefused | None = None) -> None:
        self.receive, self.caller, self._refused = receive, caller, refused

    def refused_unread(self) -> BodyRefused | None:
        return self._refused


@pytest.mark.parametrize(
    ("messages", "declared", "size", "counted"),
    [
        (parts(0), 0, 0, 0),
        (parts(10), 10, 10, 0),
        (parts(10, whole=False), 10, 10, 0),
        (parts(FREE), None, FREE, 0),
        (parts(FREE + 1), FREE + 1, FREE + 1, FREE + 1),
        (parts(5, 6), None, 11, 11),
        (parts(5, 6, whole=False), 11, 11, 11),
        (parts(MAX), MAX, MAX, MAX),
    ],
)
async def test_a_body_is_read_and_what_is_in_memory_is_counted(
    messages: list[dict[str, Any]], declared: int | None, size: int, counted: int
) -> None:
    limiter = ConcurrencyLimiter(MAX)
    body = await reader(limiter).read(Sender(Client(messages).receive), watch(), declared)
    assert isinstance(body, Body)
    assert (len(body.data), body.counted) == (size, counted)
    assert limiter.total == counted
    reader(limiter).release(WHO, body)
    assert not limiter.holders


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        (parts(MAX, 1), TOO_LARGE),
        (parts(MAX, MAX, MAX, MAX, whole=False), TOO_LARGE),
        ([*parts(MAX, whole=False), GONE_NOW], GONE),
        ([GONE_NOW], GONE),
        (parts(5, whole=False), TOO_SLOW),
        ([], TOO_SLOW),
    ],
)
async def test_what_is_not_taken_is_not_kept(messages: list[dict[str, Any]], why: BodyRefused) -> None:
    limiter = ConcurrencyLimiter(2 * MAX)
    timeout_s = 0.01 if why == TOO_SLOW else 30
    found = await reader(limiter, timeout_s).read(Sender(Client(messages).receive), watch(), None)
    assert found == why
    assert not limiter.holders


async def test_a_caller_with_too_much_in_memory_is_read_to_the_end_and_told() -> None:
    limiter = ConcurrencyLimiter(MAX)
    held = await reader(limiter).read(Sender(Client(parts(MAX - 10)).receive), watch(), None)
    assert isinstance(held, Body)
    client = Client(parts(8, 8, 100))
    assert await reader(limiter).read(Sender(client.receive), watch(), None) == TOO_MUCH
    assert client.messages == []
    assert limiter.total == held.counted
    other = await reader(limiter).read(Sender(Client(parts(MAX)).receive, WHO + "x"), watch(), None)
    assert isinstance(other, Body)


async def test_the_rest_of_a_call_that_is_refused_already_is_thrown_away() -> None:
    limiter = ConcurrencyLimiter(MAX)
    why = BodyRefused("too_fast", TOO_MUCH.answer)
    assert await reader(limiter).read(Sender(Client(parts(5, 5)).receive, refused=why), watch(), 10) == why
    assert isinstance(await reader(limiter).read(Sender(Client(parts(10)).receive, refused=why), watch(), 10), Body)
    assert (
        await reader(limiter, 0.01).read(Sender(Client(parts(5, whole=False)).receive, refused=why), watch(), 10) == why
    )
    assert not limiter.holders


async def test_a_client_that_breaks_off_with_an_error_leaves_nothing() -> None:
    limiter = ConcurrencyLimiter(MAX)

    async def receive() -> dict[str, Any]:
        if limiter.holders:
            raise OSError("reset")
        return parts(5, whole=False)[0]

    with pytest.raises(OSError, match="reset"):
        await reader(limiter).read(Sender(receive), watch(), None)
    assert not limiter.holders


@given(
    sizes=st.lists(st.integers(0, MAX), min_size=1, max_size=6),
    whole=st.booleans(),
    cut_at=st.none() | st.integers(1, 7),
    room=st.integers(0, 3 * MAX),
)
@settings(max_examples=200, deadline=None)
def test_nothing_stays_counted_wherever_a_reading_is_cut(
    sizes: list[int], whole: bool, cut_at: int | None, room: int
) -> None:
    limiter = ConcurrencyLimiter(room)

    async def once() -> None:
        client = Client(parts(*sizes, whole=whole), cut_at)
        if not whole:
            client.messages.append(GONE_NOW)
        body = await reader(limiter).read(Sender(client.receive), watch(), None)
        if isinstance(body, Body):
            assert len(body.data) == sum(sizes)
            assert limiter.total == body.counted <= room
            reader(limiter).release(WHO, body)

    async def all_of_it() -> None:
        (done,) = await asyncio.gather(once(), return_exceptions=True)
        assert done is None or isinstance(done, asyncio.CancelledError)

    asyncio.run(all_of_it())
    assert not limiter.holders
