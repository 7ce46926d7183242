"""The deadline of a call ends what runs too long, and nothing else: it is `asyncio.timeout` but for its price."""

import asyncio

import pytest

from mcp_server.rest.client.deadline import Deadline


async def test_what_is_over_in_time_is_not_disturbed() -> None:
    with Deadline(60):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.001])
async def test_what_takes_too_long_is_ended(seconds: float) -> None:
    with pytest.raises(TimeoutError):
        with Deadline(seconds):
            await asyncio.Event().wait()
    assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]
    await asyncio.sleep(0)  # and the task goes on


async def test_an_inner_deadline_is_not_the_outer_one() -> None:
    with Deadline(60):
        with pytest.raises(TimeoutError):
            with Deadline(0):
                await asyncio.Event().wait()
        await asyncio.sleep(0)


async def test_a_fault_within_it_stays_what_it_is() -> None:
    with pytest.raises(ValueError, match="its own"):
        with Deadline(60):
            raise ValueError("its own")


@pytest.mark.parametrize("seconds", [60.0, 0.0])
async def test_who_is_cancelled_by_others_is_cancelled(seconds: float) -> None:
    """Also where the time is over in the same turn of the loop: a client that has gone gets no answer."""
    begun = asyncio.Event()

    async def called() -> None:
        with Deadline(seconds):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(called())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_outside_of_a_task_there_is_nothing_to_end() -> None:
    async def nothing() -> None:
        """For its loop."""

    with asyncio.Runner() as runner:
        runner.run(nothing())
        refused: list[str] = []

        def entered() -> None:
            try:
                Deadline(1).__enter__()
            except RuntimeError as error:
                refused.append(str(error))

        runner.get_loop().call_soon(entered)
        runner.run(asyncio.sleep(0))
    assert refused == ["a deadline is that of a task"]
