"""A TaskGroup that fails ends nobody's cancellation but its own; the same on each Python, by our backport or its own."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest

import mcp_server  # noqa: F401 - whoever has handlers has the backport


def at_once(cancel: Callable[[], object]) -> None:
    cancel()


def before_the_group_knows(cancel: Callable[[], object]) -> None:
    asyncio.get_running_loop().call_soon(cancel)


def as_it_knows(cancel: Callable[[], object]) -> None:
    asyncio.get_running_loop().call_soon(before_the_group_knows, cancel)


async def failing(ends: Callable[[], None]) -> None:
    await asyncio.sleep(0)
    ends()
    raise ValueError


@pytest.mark.parametrize("when", [at_once, before_the_group_knows, as_it_knows])
@pytest.mark.parametrize("in_body", [False, True])
async def test_who_is_cancelled_as_the_group_fails_is_cancelled(
    when: Callable[[Callable[[], object]], None], in_body: bool
) -> None:
    """The failure has priority, and the next wait raises: else a handler whose time is over goes on as it likes."""
    reached: list[str] = []

    async def handler() -> None:
        me = asyncio.current_task()
        assert me is not None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(failing(lambda: when(me.cancel)))
                if in_body:
                    await asyncio.Event().wait()
        except ExceptionGroup:
            reached.append("failed")
        except asyncio.CancelledError:  # it was the first to come
            reached.append("cancelled")
            raise
        reached.append(str(me.cancelling()))
        await asyncio.Event().wait()

    task = asyncio.create_task(handler())
    async with asyncio.timeout(20):
        await asyncio.wait([task])
    assert task.cancelled()
    assert reached in (["failed", "1"], ["cancelled"])


@pytest.mark.parametrize("in_body", [False, True])
async def test_who_is_not_cancelled_goes_on(in_body: bool) -> None:
    async def handler() -> int:
        me = asyncio.current_task()
        assert me is not None
        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(failing(lambda: None))
                if in_body:
                    await asyncio.Event().wait()
            raise AssertionError
        await asyncio.sleep(0)
        return me.cancelling()

    assert await asyncio.create_task(handler()) == 0


async def test_a_time_that_is_over_as_the_group_fails_is_over() -> None:
    """`asyncio.timeout` knows by the count that the cancellation is its own."""

    async def handler() -> None:
        async with asyncio.timeout(None) as limit:
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(failing(lambda: limit.reschedule(0)))
                    await asyncio.Event().wait()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await handler()


@pytest.mark.parametrize("when", [at_once, before_the_group_knows, as_it_knows])
async def test_who_takes_back_what_no_wait_has_met_is_not_ended_by_it(
    when: Callable[[Callable[[], object]], None],
) -> None:
    """A handler that has returned was ended by nobody: what its task does next is its answer."""

    async def handler() -> str:
        with contextlib.suppress(ExceptionGroup, asyncio.CancelledError):
            async with asyncio.TaskGroup() as group:
                group.create_task(failing(lambda: when(me.cancel)))
        return "the answer"

    async def serve() -> str:
        answer = await handler()
        me.uncancel()
        for _ in range(5):
            await asyncio.sleep(0)
        return answer

    me = asyncio.create_task(serve())
    async with asyncio.timeout(20):
        assert await me == "the answer"


async def test_a_group_that_fails_while_a_cancelled_one_cleans_up_does_not_end_that() -> None:
    cleaned: list[str] = []

    async def handler() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(failing(lambda: None))
            cleaned.append("up")

    task = asyncio.create_task(handler())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), cleaned) == (True, ["up"])


@pytest.mark.parametrize("tries", [1, 2, 3])
async def test_a_group_that_is_entered_at_once_hides_it_no_longer_than_the_first(tries: int) -> None:
    """A handler that tries its fan-out again without a pause: the second group has the request already as it begins."""

    async def fails() -> None:
        raise ValueError

    async def handler() -> None:
        for number in range(tries):
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(failing(lambda: at_once(me.cancel)) if number == 0 else fails())
        await asyncio.Event().wait()

    me = asyncio.create_task(handler())
    async with asyncio.timeout(20):
        await asyncio.wait([me])
    assert me.cancelled()
