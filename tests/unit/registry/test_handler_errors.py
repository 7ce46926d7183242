"""What a handler raises fails its call, and no more; what its tasks raise is told as if it had raised it itself."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from mcp_server import Context, McpServer, MissingCapability, ProtocolError, ResourceNotFound, ToolError
from mcp_server.authoring.errors import BadResult
from mcp_server.authoring.interaction import InputRequired, ResumableInteraction
from mcp_server.registry.tool import Tool
from mcp_server.store.backend import StoreUnavailable
from tests.kit.contexts import context, in_threads
from tests.unit.registry.test_tool import run, tool_of

CAN: dict[str, Any] = {"elicitation": {}}


class Sure(msgspec.Struct):
    sure: bool


class Odd(BaseException):
    """No Exception, and nobody's."""


def raising(error: BaseException, how: str) -> Callable[[], Any]:
    """A handler that raises, in one of the ways that handlers are written."""

    async def asynchronous() -> None:
        await asyncio.sleep(0)
        raise error

    def synchronous() -> None:
        raise error

    def wrapper() -> Awaitable[None]:
        return asynchronous()

    async def inside() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asynchronous())

    return {"async": asynchronous, "sync": synchronous, "wrapped": wrapper, "group": inside}[how]


@pytest.mark.parametrize("how", ["async", "sync", "wrapped"])
@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), StopIteration(5),
     Odd(), BaseExceptionGroup("odd", [Odd(), ValueError()])],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
async def test_what_is_no_exception_fails_the_handler(error: BaseException, how: str) -> None:
    with pytest.raises(RuntimeError, match="raise") as failed:
        await run(tool_of(raising(error, how), name="f"))
    cause = failed.value.__cause__
    assert type(cause) is type(error)  # the log has what it was


@pytest.mark.parametrize("how", ["async", "sync", "wrapped"])
@pytest.mark.parametrize(
    "error",
    [ToolError("no"), ProtocolError(5, "no"), ResourceNotFound("no"), MissingCapability({"roots": {}}), ValueError("no"),
     StopAsyncIteration("no"), StoreUnavailable("no"), MemoryError("no"), ExceptionGroup("no", [ValueError()])],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
async def test_an_exception_goes_on_as_it_is(error: Exception, how: str) -> None:
    with pytest.raises(type(error)) as raised:
        await run(tool_of(raising(error, how), name="f"))
    assert raised.value is error


@pytest.mark.parametrize(
    "error",
    [ToolError("no"), ProtocolError(5, "no"), ResourceNotFound("no"), MissingCapability({}), StoreUnavailable("no")],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_task_of_a_handler_tells_is_told(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        await run(tool_of(raising(error, "group"), name="f"))
    assert raised.value is error

    async def nested() -> None:
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [error]), ToolError("another")])

    with pytest.raises((type(error), ToolError)):
        await run(tool_of(nested))


async def ask(ctx: Context) -> str:
    return (await ctx.elicit("Sure?", Sure)).action


async def tasks(ctx: Context) -> str:
    async with asyncio.TaskGroup() as group:
        jobs = [group.create_task(ask(ctx)) for _ in range(3)]
    return ",".join(job.result() for job in jobs)


async def nested(ctx: Context) -> str:
    async with asyncio.TaskGroup() as group:
        group.create_task(tasks(ctx))
    return ""


async def gathered(ctx: Context) -> str:
    return ",".join(await asyncio.gather(*(ask(ctx) for _ in range(3))))


def from_a_thread(ctx: Context) -> str:
    async def all_three() -> str:
        return await tasks(ctx)

    return asyncio.run(all_three())


async def asked_by(tool: Tool) -> set[str]:
    in_threads()
    with pytest.raises(InputRequired) as required:
        await tool.call({}, lambda: context(capabilities=CAN, rounds=ResumableInteraction({}, {})))
    return set(required.value.questions)


@pytest.mark.parametrize("handler", [tasks, nested, gathered, from_a_thread])
async def test_the_questions_of_a_handlers_tasks_are_one_round(handler: Any) -> None:
    assert await asked_by(tool_of(handler)) == {"q1", "q2", "q3"}


async def test_a_prompt_and_a_resource_ask_from_their_tasks_too() -> None:
    server = McpServer("s")
    server.prompt()(tasks)
    server.resource("a://b")(tasks)
    for called in (server.prompts["tasks"].get, functools.partial(server.resources["a://b"].read, "a://b")):
        with pytest.raises(InputRequired):
            await called({}, lambda: context(capabilities=CAN))


@pytest.mark.parametrize("error", [ValueError("no"), Odd()], ids=["Exception", "BaseException"])
async def test_a_task_that_fails_counts_more_than_one_that_asks(error: BaseException) -> None:
    async def handler(ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(ctx))
            group.create_task(raising(error, "async")())

    async def both(ctx: Context) -> None:
        try:
            await ask(ctx)
        except InputRequired as required:
            raise BaseExceptionGroup("both", [required, error]) from None

    with pytest.raises(RuntimeError, match="no Exception"):
        await tool_of(both).call({}, lambda: context(capabilities=CAN))
    await asked_by(tool_of(handler))  # it asked first: the group ends before the other comes to fail


async def test_what_a_task_of_a_handler_tells_counts_more_than_what_another_asks() -> None:
    async def handler(ctx: Context) -> None:
        try:
            await ask(ctx)
        except InputRequired as required:
            raise BaseExceptionGroup("both", [required, ToolError("no")]) from None

    with pytest.raises(ToolError, match="no"):
        await tool_of(handler).call({}, lambda: context(capabilities=CAN))


# Cancellation


async def test_a_call_that_is_cancelled_ends() -> None:
    begun = asyncio.Event()

    async def waits() -> None:
        begun.set()
        await asyncio.Event().wait()

    job = asyncio.create_task(run(tool_of(waits)))
    await begun.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job


async def test_a_handlers_own_timeouts_and_cancelled_tasks_are_its_own() -> None:
    async def times_out() -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        return "went on"

    async def awaits_a_cancelled_task() -> None:
        job = asyncio.create_task(asyncio.Event().wait())
        job.cancel()
        await job

    assert (await run(tool_of(times_out))).content
    with pytest.raises(RuntimeError, match="the handler raised CancelledError"):
        await run(tool_of(awaits_a_cancelled_task))


async def test_a_call_that_no_task_runs_any_more_is_closed_without_a_word() -> None:
    closed: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append("closed")

    async def begun() -> Any:
        running: Any = tool_of(waits).call({}, context)
        running.send(None)
        return running

    await asyncio.to_thread((await asyncio.create_task(begun())).close)  # as the interpreter does at its end
    asyncio.get_running_loop().call_soon((await asyncio.create_task(begun())).close)  # or between two tasks
    await asyncio.sleep(0)
    assert closed == ["closed", "closed"]


# Results that are none


def generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    "made", [lambda: iter(generator()), lambda: [generator()], contextlib.contextmanager(generator)]
)
async def test_a_generator_that_a_handler_returns_fails_the_call(made: Callable[[], Any]) -> None:
    with pytest.raises(BadResult, match="enerator"):
        await run(tool_of(made, name="f"))
