"""What handlers of all workers wait for, and the server that each worker has."""

import asyncio

import msgspec

from mcp_server import Context, McpServer


class Yes(msgspec.Struct):
    yes: bool


class Doors:
    """What handlers wait for, whichever worker runs them: orders of a call, the gate of a task."""

    def __init__(self) -> None:
        self.orders: dict[str, asyncio.Queue[str]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.runs: dict[str, list[int]] = {}

    def order(self, mark: str) -> asyncio.Queue[str]:
        return self.orders.setdefault(mark, asyncio.Queue())

    def gate(self, mark: str) -> asyncio.Event:
        return self.gates.setdefault(mark, asyncio.Event())


def server(doors: Doors) -> McpServer:
    """Each worker has one of its own."""
    made = McpServer("lives")

    @made.tool()
    async def talk(mark: str, ctx: Context) -> str:
        """Say what is ordered, and ask, until it is over."""
        while (order := await doors.order(mark).get()) != "end":
            if order == "ask":
                order = (await ctx.elicit("Sure?", Yes)).action
            await ctx.log("info", f"{mark} {order}")
        return mark

    async def work(mark: str, ctx: Context) -> str:
        """Wait for the gate, and ask first where the name says so."""
        doors.runs.setdefault(mark, []).append(ctx.task_attempt)
        if "asks" in mark:
            await ctx.elicit("Sure?", Yes)
        await doors.gate(mark).wait()
        return mark

    made.tool("again", task="required", on_lost="retry")(work)
    made.tool("once", task="required", on_lost="fail")(work)

    @made.resource("news://{topic}")
    async def news(topic: str) -> str:
        """Hold news."""
        return topic

    return made
