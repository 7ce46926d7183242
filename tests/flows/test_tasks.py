"""Calls that go on as tasks: whose they are, what they ask, how they end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server import Context, McpServer, ProtocolError, ToolError, elicitation
from mcp_server.protocol.types.tasks import EXTENSION
from mcp_server.sessions.tasks.registry import STOPPED
from mcp_server.sessions.tasks.run import MAX_ASKED
from tests.kit import wire
from tests.kit.stack import Stack, running_stack, until

CAN: dict[str, Any] = {"elicitation": {}, "extensions": {EXTENSION: {}}}
server = McpServer("tasks")
gates: dict[str, asyncio.Event] = {}


class Yes(msgspec.Struct):
    yes: bool


@server.tool(task="allowed")
async def work(name: str) -> str:
    """Wait for the gate."""
    await gates[name].wait()
    return f"worked {name}"


@server.tool(task="allowed")
async def ask_twice(ctx: Context) -> str:
    """Ask, then ask the same again."""
    first = await ctx.elicit("Sure?", Yes, key="sure")
    second = await ctx.ask(sure=elicitation("Really?", Yes), other=elicitation("And?", Yes))
    return f"{first.action} {second['sure'].action} {second['other'].action}"


@server.tool(task="required")
async def fail(how: str) -> str:
    """Fail in a way."""
    if how == "tool":
        raise ToolError("no")
    if how == "protocol":
        raise ProtocolError(-31500, "crashed", {"why": 1})
    raise RuntimeError("a secret of ours")


@server.tool(task="allowed", public=True)
async def open_to_all() -> str:
    """Be public."""
    return "public"


@server.tool(task="allowed", scopes={"mcp:write"})
async def write(how: str) -> str:
    """Write, in a way that may fail."""
    if how == "slow":
        raise TimeoutError("of its own")
    return "half a surrogate: \ud800"


@server.tool(task="allowed")
async def big() -> str:
    """Return much."""
    return "x" * 10_000


@server.tool(task="allowed")
async def ask_much(ctx: Context) -> str:
    """Ask at length."""
    return (await ctx.elicit("Sure? " * 2_000, Yes)).action


@server.tool(task="allowed", ask_first=True)
async def first(ctx: Context) -> str:
    """Ask before it begins."""
    answer = await ctx.elicit("Sure?", Yes)
    await ctx.progress(1)
    await ctx.pause()
    return answer.action


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with running_stack(Path(tmp_path_factory.mktemp("tasks")), server) as running:
        yield running


@pytest.fixture(scope="module")
async def token(stack: Stack) -> str:
    return await stack.token("alice")


async def ask(stack: Stack, token: str, method: str, params: dict[str, Any], can: Any = None) -> dict[str, Any]:
    message = wire.modern(method, params)
    message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = CAN if can is None else can
    name = params.get("taskId") or params.get("name")
    answer = await stack.post(message, token, **wire.headers(method, name))
    said: dict[str, Any] = answer.json()
    return dict(said.get("result") or said["error"] | {"status": answer.status_code})


async def call(stack: Stack, token: str, tool: str, **arguments: Any) -> dict[str, Any]:
    return await ask(stack, token, "tools/call", {"name": tool, "arguments": arguments})


async def reaches(stack: Stack, token: str, task_id: str, *statuses: str) -> dict[str, Any]:
    """The task once it stands so; looked at with pauses, for a fast machine's looks would be over its caller's rate."""
    task: dict[str, Any] = {}

    async def so() -> bool:
        nonlocal task
        task = await ask(stack, token, "tasks/get", {"taskId": task_id})
        return task["status"] in statuses

    await until(so)
    return task


async def asks(stack: Stack, token: str, task_id: str, so: Callable[[set[str]], bool]) -> set[str]:
    """The keys of what a task asks, once they are such."""
    keys: set[str] = set()

    async def there() -> bool:
        nonlocal keys
        keys = set((await reaches(stack, token, task_id, "input_required"))["inputRequests"])
        return so(keys)

    await until(there)
    return keys


async def ended_as(stack: Stack, token: str, task_id: str) -> dict[str, Any]:
    """The task once it is over."""
    return await reaches(stack, token, task_id, "completed", "failed")


@pytest.mark.requirement("22.3", "22.4", "22.5", "22.8")
async def test_a_task_is_there_before_its_id_is_known_and_ends_with_the_result(stack: Stack, token: str) -> None:
    gates["a"] = asyncio.Event()
    created = await call(stack, token, "work", name="a")
    assert created["resultType"] == "task"
    assert created["status"] == "working"
    task_id = created["taskId"]
    assert (await ask(stack, token, "tasks/get", {"taskId": task_id}))["status"] == "working"
    gates["a"].set()
    done = await reaches(stack, token, task_id, "completed")
    assert done["result"]["content"][0]["text"] == "worked a"
    assert done["result"]["resultType"] == "complete"
    assert await ask(stack, token, "tasks/cancel", {"taskId": task_id}) != {}
    assert (await reaches(stack, token, task_id, "completed"))["lastUpdatedAt"] == done["lastUpdatedAt"]


@pytest.mark.requirement("22.9", "22.10", "25.31")
async def test_a_task_is_its_owners_alone(stack: Stack, token: str) -> None:
    gates["b"] = asyncio.Event()
    task_id = (await call(stack, token, "work", name="b"))["taskId"]
    other = await stack.token("bob")
    more: dict[str, Any]
    for method, more in (("tasks/get", {}), ("tasks/update", {"inputResponses": {}}), ("tasks/cancel", {})):
        foreign = await ask(stack, other, method, {"taskId": task_id, **more})
        unknown = await ask(stack, other, method, {"taskId": "unknown", **more})
        assert foreign == unknown
        assert foreign["code"] == -32602
        without = await ask(stack, token, method, {"taskId": task_id, **more}, can={})
        assert (without["code"], without["status"]) == (-32021, 400)
    for odd in ({"taskId": "x" * 500}, {"taskId": task_id, "inputResponses": 5}):
        assert (await ask(stack, token, "tasks/update", odd))["code"] == -32602
    gates["b"].set()
    await reaches(stack, token, task_id, "completed")


@pytest.mark.requirement("14.5", "22.7")
async def test_cancelling_ends_the_work(stack: Stack, token: str) -> None:
    gates["c"] = asyncio.Event()
    task_id = (await call(stack, token, "work", name="c"))["taskId"]
    assert (await ask(stack, token, "tasks/cancel", {"taskId": task_id}))["resultType"] == "complete"
    assert (await ask(stack, token, "tasks/get", {"taskId": task_id}))["status"] == "cancelled"
    gates["c"].set()
    assert (await ask(stack, token, "tasks/get", {"taskId": task_id}))["status"] == "cancelled"
    assert task_id not in stack.plugin.runtime.tasks.running


YES = {"action": "accept", "content": {"yes": True}}


@pytest.mark.requirement("22.7")
async def test_questions_are_asked_in_the_task_and_keys_are_new_each_time(stack: Stack, token: str) -> None:
    task_id = (await call(stack, token, "ask_twice"))["taskId"]
    asked = await reaches(stack, token, task_id, "input_required")
    assert asked["inputRequests"].keys() == {"sure"}

    async def answer(**responses: Any) -> None:
        done = await ask(stack, token, "tasks/update", {"taskId": task_id, "inputResponses": responses})
        assert done["resultType"] == "complete"

    await answer(unknown=YES)
    assert (await ask(stack, token, "tasks/get", {"taskId": task_id}))["inputRequests"].keys() == {"sure"}
    await answer(sure={"action": "perhaps"})
    await asks(stack, token, task_id, lambda keys: keys == {"sure-2"})
    await answer(**{"sure-2": YES})
    await asks(stack, token, task_id, lambda keys: keys == {"sure-3", "other"})
    await answer(other=YES)
    assert (await ask(stack, token, "tasks/get", {"taskId": task_id}))["inputRequests"].keys() == {"sure-3"}
    await answer(**{"sure-3": {"action": "decline"}})
    done = await reaches(stack, token, task_id, "completed")
    assert done["result"]["content"][0]["text"] == "accept decline accept"


async def test_who_never_answers_well_fails_the_tool(stack: Stack, token: str) -> None:
    task_id = (await call(stack, token, "ask_twice"))["taskId"]
    seen: set[str] = set()
    for _ in range(MAX_ASKED):
        new = await asks(stack, token, task_id, seen.isdisjoint)  # the last answer may be on its way
        seen |= new
        responses = dict.fromkeys(new, 5)
        await ask(stack, token, "tasks/update", {"taskId": task_id, "inputResponses": responses})
    done = await reaches(stack, token, task_id, "completed")
    assert done["result"]["isError"] is True


@pytest.mark.parametrize(
    ("how", "status", "error"),
    [
        ("tool", "completed", None),
        ("protocol", "failed", {"code": -31500, "message": "crashed", "data": {"why": 1}}),
        ("crash", "failed", {"code": -32603, "message": "Internal error"}),
    ],
)
@pytest.mark.requirement("22.6")
async def test_how_tasks_fail(stack: Stack, token: str, how: str, status: str, error: Any) -> None:
    task_id = (await call(stack, token, "fail", how=how))["taskId"]
    done = await reaches(stack, token, task_id, "completed", "failed")
    assert done["status"] == status
    assert done.get("error") == error
    assert (done.get("result") or {}).get("isError") is (True if how == "tool" else None)
    assert "secret" not in json.dumps(done)


@pytest.mark.requirement("1.17", "22.1", "22.2")
async def test_who_does_not_know_tasks_gets_whole_results_or_is_told(stack: Stack, token: str) -> None:
    gates["d"] = asyncio.Event()
    gates["d"].set()
    params = {"name": "work", "arguments": {"name": "d"}}
    assert (await ask(stack, token, "tools/call", params, can={}))["content"][0]["text"] == "worked d"
    can: dict[str, Any]
    for can in ({}, {"extensions": []}, {"extensions": {"other/ext": {}}}):
        refused = await ask(stack, token, "tools/call", {"name": "fail", "arguments": {"how": "tool"}}, can=can)
        assert (refused["code"], refused["status"]) == (-32021, 400)
        assert refused["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    legacy = wire.legacy("tools/call", {"name": "fail", "arguments": {"how": "tool"}, "task": {"ttl": 5}})
    answer = await stack.post(legacy, token, mcp_protocol_version="2025-11-25")
    assert answer.json()["result"]["isError"] is True
    assert (await ask(stack, token, "tasks/list", {}))["code"] == -32601


@pytest.mark.requirement("22.13")
async def test_what_is_asked_first_is_asked_in_the_call(stack: Stack, token: str) -> None:
    asked = await call(stack, token, "first")
    assert asked["resultType"] == "input_required"
    more = {"inputResponses": {"q1": YES}, "requestState": asked["requestState"]}
    created = await ask(stack, token, "tools/call", {"name": "first", "arguments": {}, **more})
    assert created["resultType"] == "task"
    done = await reaches(stack, token, created["taskId"], "completed")
    assert done["result"]["content"][0]["text"] == "accept"
    wrong = {"inputResponses": {"q1": YES}, "requestState": "forged"}
    refused = await ask(stack, token, "tools/call", {"name": "first", "arguments": {}, **wrong})
    assert refused["code"] == -32602


async def test_bad_arguments_complete_the_task_as_an_error(stack: Stack, token: str) -> None:
    task_id = (await call(stack, token, "work", name=5))["taskId"]
    assert (await reaches(stack, token, task_id, "completed"))["result"]["isError"] is True


@pytest.mark.requirement("22.12")
async def test_listeners_hear_of_their_tasks(stack: Stack, token: str) -> None:
    gates["e"] = asyncio.Event()
    task_id = (await call(stack, token, "work", name="e"))["taskId"]
    message = wire.modern("subscriptions/listen", {"notifications": {"taskIds": [task_id, "foreign"]}}, "l")
    headers = wire.headers("subscriptions/listen")
    refused = await stack.post(message, token, **headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32021)
    message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = CAN
    async with stack.open(message, token, **headers) as (_, events):
        first_frame = json.loads((await anext(events))["data"])
        assert first_frame["params"]["notifications"] == {"taskIds": [task_id]}
        gates["e"].set()
        said = json.loads((await anext(events))["data"])
    assert said["method"] == "notifications/tasks"
    assert said["params"]["status"] == "completed"
    assert said["params"]["_meta"][wire.PREFIX + "subscriptionId"] == "l"


async def test_a_stranger_gets_whole_results(stack: Stack) -> None:
    message = wire.modern("tools/call", {"name": "open_to_all", "arguments": {}})
    message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = CAN
    answer = await stack.post(message, None, **wire.headers("tools/call", "open_to_all"))
    assert answer.json()["result"]["content"][0]["text"] == "public"


@pytest.mark.parametrize("how", ["slow", "surrogate"])
async def test_a_task_needs_the_scopes_of_its_tool_and_ends_whatever_happens(stack: Stack, how: str) -> None:
    writer, reader = await stack.token("bob", "mcp:read mcp:write"), await stack.token("bob", "mcp:read")
    task_id = (await call(stack, writer, "write", how=how))["taskId"]
    failed = await reaches(stack, writer, task_id, "failed")
    assert failed["error"]["message"] == "Internal error"
    assert (await ask(stack, reader, "tasks/get", {"taskId": task_id}))["code"] == -32602
    message = wire.modern("subscriptions/listen", {"notifications": {"taskIds": [task_id]}}, "l")
    message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = CAN
    async with stack.open(message, reader, **wire.headers("subscriptions/listen")) as (_, events):
        assert json.loads((await anext(events))["data"])["params"]["notifications"] == {}
    message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = {"extensions": None}
    odd = await stack.post(message, reader, **wire.headers("subscriptions/listen"))
    assert odd.json()["error"]["code"] == -32021


async def test_running_tasks_count_as_their_callers_calls(tmp_path: Path) -> None:
    async with running_stack(tmp_path, server, max_calls_per_principal="2") as stack:
        alice, bob = await stack.token("alice"), await stack.token("bob")
        gates["f"] = asyncio.Event()
        ids = [(await call(stack, alice, "work", name="f"))["taskId"] for _ in range(2)]
        assert (await call(stack, alice, "work", name="f"))["status"] == 429
        other = (await call(stack, bob, "work", name="f"))["taskId"]
        await ask(stack, alice, "tasks/cancel", {"taskId": ids[0]})
        await reaches(stack, alice, ids[0], "cancelled")
        ids[0] = (await call(stack, alice, "work", name="f"))["taskId"]
        gates["f"].set()
        for token, task_id in ((alice, ids[0]), (alice, ids[1]), (bob, other)):
            await reaches(stack, token, task_id, "completed")


async def test_a_tool_that_is_gone_or_asks_less_guards_its_tasks_as_before(tmp_path: Path) -> None:
    changing = McpServer("changing")

    async def report() -> str:
        """Tell the salaries."""
        return "the salaries"

    async def other() -> str:
        """Keep the capability."""
        return ""

    changing.tool(task="allowed")(other)
    changing.tool(scopes={"mcp:write"}, task="allowed")(report)
    async with running_stack(tmp_path, changing) as stack:
        writer, reader = await stack.token("bob", "mcp:read mcp:write"), await stack.token("bob", "mcp:read")
        task_id = (await call(stack, writer, "report"))["taskId"]
        await reaches(stack, writer, task_id, "completed")

        async def seen_by(token: str) -> bool:
            message = wire.modern("subscriptions/listen", {"notifications": {"taskIds": [task_id]}}, "l")
            message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = CAN
            async with stack.open(message, token, **wire.headers("subscriptions/listen")) as (_, events):
                listens = json.loads((await anext(events))["data"])["params"]["notifications"] != {}
            looked = await ask(stack, token, "tasks/get", {"taskId": task_id})
            assert listens is ("result" in looked)
            return listens

        assert [await seen_by(token) for token in (writer, reader)] == [True, False]
        changing.remove_tool("report")  # as a flag, or a worker of another version, would
        assert [await seen_by(token) for token in (writer, reader)] == [False, False]
        changing.tool(scopes={"mcp:read"}, task="allowed")(report)  # another tool of its name asks for less
        assert [await seen_by(token) for token in (writer, reader)] == [True, False]


@pytest.mark.requirement("22.11")
async def test_a_task_may_take_so_long_and_ends_with_its_server(tmp_path: Path) -> None:
    gates["g"] = asyncio.Event()
    async with running_stack(tmp_path, server) as stack:
        token = await stack.token("alice")
        tasks = stack.plugin.runtime.tasks
        tasks._ttl_s = 0.05
        task_id = (await call(stack, token, "work", name="g"))["taskId"]
        assert (await reaches(stack, token, task_id, "failed"))["error"]["message"] == "The task took too long"
        tasks._ttl_s = 60
        task_id = (await call(stack, token, "work", name="g"))["taskId"]
        await tasks.stop()
        assert (await reaches(stack, token, task_id, "failed"))["error"]["message"] == STOPPED
