"""Places in turn by network: whoever has many addresses waits in one line with themselves."""

import asyncio
from contextlib import AsyncExitStack, ExitStack

import pytest

from mcp_server.limits import callers
from mcp_server.limits.fair_queue import (
    FEW,
    MAX_AT_ONCE,
    MAX_OF_ADDRESS,
    MAX_OF_NETWORK,
    MAX_WAITING,
    MAX_WAITING_OF_NETWORK,
    FairQueue,
    QueueFull,
)


def of_one_site(number: int) -> str:
    return callers.key(None, f"2001:db8:0:{number:x}::1")


class Crowd:
    """Callers who hold their place until they are let go; `served` names them in the order they came to it."""

    def __init__(self) -> None:
        self.places = FairQueue()
        self.served: list[str] = []
        self._tasks: list[tuple[str, asyncio.Task[None], asyncio.Event]] = []

    async def come(self, *addresses: str) -> None:
        for address in addresses:
            leave = asyncio.Event()
            self._tasks.append((address, asyncio.create_task(self._hold(address, leave)), leave))
        await settled()

    async def _hold(self, address: str, leave: asyncio.Event) -> None:
        async with self.places.place(address, 60):
            self.served.append(address)
            await leave.wait()

    async def leave(self, address: str) -> None:
        """One of those who have a place at this address goes."""
        found = next(one for one in self._tasks if one[0] == address and not one[2].is_set())
        found[2].set()
        await found[1]
        await settled()

    async def cancel(self, address: str) -> None:
        found = next(one for one in reversed(self._tasks) if one[0] == address)
        found[1].cancel()
        await asyncio.gather(found[1], return_exceptions=True)

    async def end(self) -> None:
        for _, task, _ in self._tasks:
            task.cancel()
        await asyncio.gather(*(task for _, task, _ in self._tasks), return_exceptions=True)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_another_network_has_a_place_though_a_site_fills_the_line() -> None:
    crowd = Crowd()
    await crowd.come(*(of_one_site(number) for number in range(200)))
    assert len(crowd.served) == MAX_OF_NETWORK
    await crowd.come("\n192.0.2.7")
    assert crowd.served[-1] == "\n192.0.2.7"
    await crowd.end()
    assert crowd.places.waiting == 0


async def test_networks_take_turns() -> None:
    crowd = Crowd()
    second, third = "\n192.0.2.7", "\n198.51.100.7"
    await crowd.come(*(of_one_site(number) for number in range(MAX_OF_NETWORK)))
    await crowd.come(*(f"\n203.0.113.{number}" for number in range(MAX_AT_ONCE - MAX_OF_NETWORK)))
    assert len(crowd.served) == MAX_AT_ONCE
    await crowd.come(*[of_one_site(100)] * 3, second, second, third)
    for number in range(6):
        await crowd.leave(of_one_site(number))
    assert crowd.served[MAX_AT_ONCE:] == [of_one_site(100), second, third, of_one_site(100), second, of_one_site(100)]
    await crowd.end()


async def test_an_address_leaves_places_to_its_neighbours() -> None:
    crowd = Crowd()
    await crowd.come(*[of_one_site(0)] * 50)
    assert len(crowd.served) == MAX_OF_ADDRESS
    await crowd.come(of_one_site(1))
    assert crowd.served[-1] == of_one_site(1)
    await crowd.leave(of_one_site(1))
    assert len(crowd.served) == MAX_OF_ADDRESS + 1
    await crowd.leave(of_one_site(0))
    assert crowd.served[-1] == of_one_site(0)
    await crowd.end()


async def test_who_is_cancelled_in_line_is_out_of_it() -> None:
    crowd = Crowd()
    await crowd.come(*["\n192.0.2.7"] * (MAX_OF_ADDRESS + 2))
    assert crowd.places.waiting == 2
    await crowd.cancel("\n192.0.2.7")
    assert crowd.places.waiting == 1
    await crowd.leave("\n192.0.2.7")
    assert (len(crowd.served), crowd.places.waiting) == (MAX_OF_ADDRESS + 1, 0)
    await crowd.end()


@pytest.mark.parametrize("granted_first", [True, False])
async def test_a_place_that_comes_free_as_its_caller_goes_is_not_lost(*, granted_first: bool) -> None:
    places, address = FairQueue(), "\n192.0.2.7"

    async def hold() -> None:
        async with places.place(address, 60):
            pytest.fail("was cancelled")

    held = AsyncExitStack()
    for _ in range(MAX_OF_ADDRESS):
        await held.enter_async_context(places.place(address, 60))
    waiting = asyncio.create_task(hold())
    await settled()
    if granted_first:
        await held.aclose()
        waiting.cancel()
    else:
        waiting.cancel()
        await held.aclose()
    assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)
    async with AsyncExitStack() as again:
        for _ in range(MAX_OF_ADDRESS):
            await again.enter_async_context(places.place(address, 0))
        with pytest.raises(TimeoutError):
            await again.enter_async_context(places.place(address, 0))
    assert places.waiting == 0


def test_the_room_is_bounded_for_a_network_and_in_all_and_few_networks_do_not_fill_it() -> None:
    places = FairQueue()

    def fill(address: str) -> int:
        for count in range(MAX_WAITING + 1):
            try:
                held.enter_context(places.in_line(address))
            except QueueFull:
                return count
        pytest.fail("there is no end")

    with ExitStack() as held:
        assert fill(of_one_site(0)) == MAX_WAITING_OF_NETWORK
        assert fill(of_one_site(1)) == 0
        assert fill("\n192.0.2.7") == MAX_WAITING // 2 - MAX_WAITING_OF_NETWORK
        assert fill("\n192.0.2.8") == 0
        small = [fill(f"\n10.0.{number}.1") for number in range(MAX_WAITING // 2 // FEW + 1)]
        assert small == [FEW] * (MAX_WAITING // 2 // FEW) + [0]
        assert places.waiting == MAX_WAITING
    assert places.waiting == 0
