"""The pool of sync handlers: its size, a caller's share, slots that end with the thread, what ends a thread elsewhere."""

import asyncio
import contextvars
import functools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from mcp_server.limits.concurrency import ConcurrencyLimiter, Place
from mcp_server.limits.threads import STOPPING, Threads

ALICE, BOB = "https://issuer.example\nalice", "https://issuer.example\nbob"


class Gate:
    """Jobs that wait until they may end, and how many have begun."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun: list[str] = []

    def job(self, name: str) -> Callable[[], str]:
        def work() -> str:
            self.begun.append(name)
            assert self.open.wait(30)
            return name

        return work


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def place(limiter: ConcurrencyLimiter, who: str) -> Place:
    assert limiter.acquire(who)
    return Place(limiter, who)


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not so():
            await asyncio.to_thread(lambda: None)


async def test_one_caller_has_half_the_threads_and_others_need_not_wait_for_it(gate: Gate) -> None:
    threads, calls = Threads(4), ConcurrencyLimiter(100)
    hers = [asyncio.create_task(threads.run(gate.job("alice"), place(calls, ALICE))) for _ in range(10)]
    await until(lambda: len(gate.begun) == 2)
    assert await threads.run(lambda: "at once", place(calls, BOB)) == "at once"
    assert gate.begun == ["alice"] * 2
    gate.open.set()
    assert await asyncio.gather(*hers) == ["alice"] * 10
    threads.stop()


async def test_who_waits_is_served_in_turn(gate: Gate) -> None:
    threads, calls = Threads(1), ConcurrencyLimiter(100)
    first = asyncio.create_task(threads.run(gate.job("first"), place(calls, ALICE)))
    await until(lambda: gate.begun == ["first"])
    done: list[str] = []
    rest = [
        asyncio.create_task(threads.run(functools.partial(done.append, who), place(calls, who)))
        for who in (ALICE, ALICE, ALICE, BOB)
    ]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, *rest)
    assert done.index(BOB) == 1
    threads.stop()


async def test_a_slot_ends_with_its_thread_and_not_with_its_call(gate: Gate) -> None:
    threads, calls = Threads(2), ConcurrencyLimiter(1)
    slot = place(calls, ALICE)
    job = asyncio.create_task(threads.run(gate.job("alice"), slot))
    await until(lambda: gate.begun == ["alice"])
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    slot.release()
    assert not calls.has_room(ALICE)
    gate.open.set()
    await until(lambda: calls.has_room(ALICE))
    threads.stop()


async def test_a_job_that_is_cancelled_while_it_waits_never_begins_and_gives_its_slot_back(gate: Gate) -> None:
    threads, calls = Threads(2), ConcurrencyLimiter(3)
    jobs = [asyncio.create_task(threads.run(gate.job(str(number)), place(calls, ALICE))) for number in range(3)]
    await until(lambda: gate.begun == ["0"])
    for job in jobs[1:]:
        job.cancel()
    await asyncio.gather(*jobs[1:], return_exceptions=True)
    assert not threads._waiting
    gate.open.set()
    assert await jobs[0] == "0"
    assert gate.begun == ["0"]
    threads.stop()


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (ValueError("as it is"), "as it is"),
        (StopIteration(), "the handler raised StopIteration"),
        (SystemExit(3), "the handler raised SystemExit"),
        (KeyboardInterrupt(), "the handler raised KeyboardInterrupt"),
        (GeneratorExit(), "the handler raised GeneratorExit"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_would_end_a_thread_or_a_loop_fails_the_call(raised: BaseException, seen: str) -> None:
    threads = Threads(2)

    def work() -> None:
        raise raised

    with pytest.raises((ValueError, RuntimeError), match=seen):
        await threads.run(work)
    assert await threads.run(lambda: "goes on") == "goes on"
    assert threads._threads == 1
    threads.stop()


async def test_a_job_sees_the_context_of_its_call() -> None:
    threads, known = Threads(2), contextvars.ContextVar("known", default="")
    known.set("here")
    assert await threads.run(known.get) == "here"
    threads.stop()


async def test_a_pool_that_stops_begins_nothing_more_and_waits_for_nobody(gate: Gate) -> None:
    threads = Threads(1)
    runs, waits = (asyncio.create_task(threads.run(gate.job(name))) for name in ("runs", "waits"))
    await until(lambda: gate.begun == ["runs"])
    threads.stop()
    with pytest.raises(RuntimeError, match=STOPPING):
        await waits
    with pytest.raises(RuntimeError, match=STOPPING):
        await threads.run(lambda: None)
    gate.open.set()
    assert await runs == "runs"
    assert gate.begun == ["runs"]


BLOCKS = """
import asyncio, threading
from mcp_server.limits.threads import Threads
async def main():
    threads, begun = Threads(2), threading.Event()
    def block():
        begun.set()
        threading.Event().wait()
    job = asyncio.create_task(threads.run(block))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    threads.stop()
    job.cancel()
asyncio.run(main())
print("ended")
"""


def test_a_thread_that_blocks_for_ever_does_not_keep_the_process() -> None:
    said = subprocess.run([sys.executable, "-c", BLOCKS], capture_output=True, check=True, timeout=60)
    assert said.stdout == b"ended\n"


def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel says at a pids limit, for every thread from now on."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)


async def test_without_room_for_any_thread_a_call_fails_and_takes_nothing_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, calls = Threads(2), ConcurrencyLimiter(1)
    with monkeypatch.context() as moment:
        no_room(moment)
        for _ in range(3):
            hers = place(calls, ALICE)
            with pytest.raises(RuntimeError, match="start new thread"):
                await threads.run(lambda: "never", hers)
            hers.release()
    hers = place(calls, ALICE)
    async with asyncio.timeout(60):
        assert await asyncio.gather(*(threads.run(lambda: "ran", hers) for _ in range(3))) == ["ran"] * 3
    hers.release()
    assert calls.acquire(ALICE)
    threads.stop()


async def test_without_room_for_another_thread_calls_wait_for_those_there_are(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, calls = Threads(8), ConcurrencyLimiter(10)
    first = asyncio.create_task(threads.run(gate.job("first"), place(calls, ALICE)))
    await until(lambda: gate.begun == ["first"])
    with monkeypatch.context() as moment:
        no_room(moment)
        rest = [asyncio.create_task(threads.run(gate.job(who), place(calls, who))) for who in (ALICE, ALICE, BOB)]
        await asyncio.sleep(0)
        assert gate.begun == ["first"]
        gate.open.set()
        async with asyncio.timeout(60):
            assert await asyncio.gather(first, *rest) == ["first", ALICE, ALICE, BOB]
    threads.stop()


async def test_one_caller_alone_has_all_threads(gate: Gate) -> None:
    threads = Threads(5)
    jobs = [asyncio.create_task(threads.run(gate.job("work"))) for _ in range(6)]
    await until(lambda: len(gate.begun) == 5)
    gate.open.set()
    assert await asyncio.gather(*jobs) == ["work"] * 6
    threads.stop()


async def test_a_pool_that_is_started_again_does_not_count_what_its_last_life_left(gate: Gate) -> None:
    threads, calls = Threads(2), ConcurrencyLimiter(10)
    left = asyncio.create_task(threads.run(gate.job("left"), place(calls, ALICE)))
    await until(lambda: gate.begun == ["left"])
    late = asyncio.create_task(threads.run(lambda: "never", place(calls, ALICE)))
    await asyncio.sleep(0)
    threads.stop()
    threads.start()
    with pytest.raises(RuntimeError, match=STOPPING):
        await late
    assert await threads.run(lambda: "again", place(calls, ALICE)) == "again"
    gate.open.set()
    assert await left == "left"
    both = [asyncio.create_task(threads.run(lambda: "two", place(calls, ALICE))) for _ in range(2)]
    assert await asyncio.gather(*both) == ["two"] * 2
    threads.stop()
