"""Supervised background tasks: reported, and begun again."""

import asyncio

import pytest

from mcp_server.observe.supervised import supervise


async def test_whatever_ends_a_job_it_begins_again_until_it_is_cancelled() -> None:
    begun: list[int] = []
    lives = asyncio.Event()

    async def job() -> None:
        begun.append(len(begun))
        if len(begun) == 1:
            raise ValueError("a bad answer")
        if len(begun) == 2:
            return
        if len(begun) == 3:
            raise ExceptionGroup("several", [KeyError("x"), RuntimeError("y")])
        lives.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(supervise("job", job, pauses=(0.0,)))
    async with asyncio.timeout(60):
        await lives.wait()
    assert len(begun) == 4
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("healthy_s", "slept"), [(float("inf"), [1, 2, 3, 3]), (0.0, [1, 1, 1, 1])])
async def test_the_pauses_grow_unless_it_ran_well(healthy_s: float, slept: list[float]) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            raise asyncio.CancelledError

    async def job() -> None:
        raise ValueError

    with pytest.raises(asyncio.CancelledError):
        await supervise("job", job, pauses=(1, 2, 3), healthy_s=healthy_s, sleep=sleep)
    assert pauses == slept
