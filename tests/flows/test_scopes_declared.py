"""Scopes that only a function or a handler names: declared with variables, held by their values, and asked for once."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from mcp_server import Context, McpServer, NeedsScopes, Principal, Scope, any_of
from mcp_server.stdio import transport
from tests.kit import wire
from tests.kit.backends import settle
from tests.kit.inside import Inside, Reply, caller, inside

DISCOUNT = "orders:discount:{order_id}"
LEGACY, BATCHING = "2025-11-25", "2025-03-26"
TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
TEXT = "the server's log has request"
named: list[Any] = []
"""What functions and handlers name next."""


def made(*scopes: Scope) -> McpServer:
    server = McpServer("orders", scopes=scopes)

    def told(arguments: Mapping[str, Any], who: Principal) -> Any:
        return named[0]

    @server.tool(scopes=told)
    async def discount(order_id: str) -> str:
        return f"discounted {order_id}"

    @server.tool(scopes={"mcp:read"}, task="allowed")
    async def demands(order_id: str) -> str:
        raise NeedsScopes(named[0])

    @server.tool(scopes={"mcp:read"}, task="allowed")
    async def looks(order_id: str, ctx: Context) -> str:
        if not ctx.holds(named[0], order_id=order_id):
            raise NeedsScopes(named[0])
        return f"recalled {order_id}"

    @server.tool(scopes={"mcp:read"})
    async def speaks(ctx: Context) -> str:
        await ctx.progress(1)
        raise NeedsScopes(named[0])

    @server.resource("orders://{order_id}", scopes={"mcp:read"}, name="order")
    async def order(order_id: str) -> str:
        raise NeedsScopes(named[0])

    @server.prompt("prompt", scopes={"mcp:read"})
    async def prompt(tone: str) -> str:
        raise NeedsScopes(named[0])

    @server.completion("prompt", "tone")
    async def tones(value: str) -> list[str]:
        raise NeedsScopes(named[0])

    return server


DECLARED = (
    *(Scope(name) for name in ("mcp:read", "orders:recall")),
    Scope(DISCOUNT, "Make an order cheaper", roles=("writer",)),
    Scope("tenant"),
    Scope("tenant:{tenant}:orders"),
    Scope("clerk", implies=("orders:discount:*",)),
)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def start(*scopes: Scope, on: bool = True, **more: str) -> Any:
        server = made(*(scopes or DECLARED))
        return inside(server, tmp_path, monkeypatch, parameterized_scopes=str(on), **more)

    return start


async def post(running: Inside, name: str, order_id: str | None = "42", era: str = wire.MODERN, **meta: Any) -> Reply:
    params = {"name": name, "arguments": {} if order_id is None else {"order_id": order_id}}
    if era != wire.MODERN:
        return await running.post(wire.legacy("tools/call", params), mcp_protocol_version=era)
    message = wire.modern("tools/call", params)
    message["params"]["_meta"] |= meta
    return await running.post(message, **wire.headers("tools/call", name))


def names(*scopes: Any) -> None:
    named[:] = scopes


@pytest.mark.parametrize("era", [wire.MODERN, LEGACY])
@pytest.mark.parametrize("tool", ["discount", "looks"])
@pytest.mark.parametrize("said", [DISCOUNT, "orders:discount:42"])  # with a variable, or written out
async def test_what_is_declared_with_a_variable_is_asked_for_with_its_value(
    start: Any, said: str, tool: str, era: str
) -> None:
    names({said})
    async with start() as running:
        for held in ([], ["orders:discount"], ["orders:discount:4"], ["orders:discount:*"]):
            running.who = caller(["mcp:read", *held])
            refused = await post(running, tool, era=era)
            asked = refused.scopes() - ({"mcp:read"} if era == LEGACY else set())
            assert (refused.status, asked - set(held)) == (403, {"orders:discount:42"})
        for held in (["orders:discount:42"], ["clerk", "orders:discount:*"]):
            running.who = caller(["mcp:read", *held])
            assert "42" in (await post(running, tool, era=era)).body["result"]["content"][0]["text"]


@pytest.mark.parametrize("said", [DISCOUNT, "orders:discount:42"])
async def test_off_its_base_scope_is_asked_for(start: Any, said: str) -> None:
    names({said})
    async with start(on=False) as running:
        for tool in ("discount", "looks"):
            running.who = caller(["mcp:read", "orders:discount:42"])
            assert (await post(running, tool)).scopes() == {"orders:discount"}
            running.who = caller(["mcp:read", "orders:discount"])
            assert (await post(running, tool)).status == 200


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize(
    "said",
    [
        "orders:recal",
        "orders:discount:{other}:of:{order_id}",
        "tenant:{order_id}",
        "orders:discount:{other}",  # as an argument may be written
        "orders:discount:%2A",  # as the value * is written
        "orders:discount:a%3ab",
        "orders:discount:42:1",
        "orders:discount:",
        "orders:discount:a*",
        "orders:discount:admin",  # a role's scope, which no value may make
        "tenant:acme",
        "tenant:acme:files",
        "orders:discount:" + "x" * 300,
        "orders:discount:4 mcp:admin",
    ],
)
async def test_no_other_scope_can_be_named(start: Any, said: str, on: bool) -> None:
    names({said})
    roles = {"role_scopes": '{"boss": ["orders:discount:admin"]}'}
    async with start(on=on, **roles) as running:
        running.who = caller(["mcp:read", said])
        for tool in ("discount", "demands"):
            refused = await post(running, tool)
            assert refused.challenge == ""
            assert refused.status == 403 or refused.body["result"]["isError"]
            assert said not in str(refused.body)


async def test_a_value_that_no_scope_may_hold_is_a_wrong_argument(start: Any) -> None:
    names({DISCOUNT})
    async with start() as running:
        running.who = caller(["mcp:read"])
        for tool in ("discount", "looks"):
            refused = await post(running, tool, "a b")
            assert (refused.status, refused.challenge) == (200, "")
            assert "order_id: has a blank" in refused.body["result"]["content"][0]["text"]


async def test_a_variable_of_a_demand_has_a_value(start: Any) -> None:
    """Its base scope is known to no issuer then: no challenge may name it."""
    names({"tenant:{tenant}:orders"})
    async with start() as running:
        running.who = caller(["mcp:read"])
        refused = await post(running, "demands")
        assert (refused.status, refused.challenge) == (403, "")
        looked = await post(running, "looks")  # asked without a value it tells nothing, and the handler fails
        assert TEXT in looked.body["result"]["content"][0]["text"]
        named.append(None)
        running.who = None
        assert (await post(running, "demands")).status == 401


async def test_where_values_count_no_base_scope_is_asked_for_by_name(start: Any) -> None:
    """Who holds it all the same, by a role or by what implies it, is let in."""
    names({"orders:discount"})
    async with start() as running:
        for tool in ("discount", "demands", "looks"):
            running.who = caller(["mcp:read"])
            refused = await post(running, tool)
            assert (refused.status, refused.challenge) == (403, "")
        running.who = caller(["mcp:read", "orders:discount"])
        for tool in ("discount", "looks"):
            assert (await post(running, tool)).status == 200


@pytest.mark.parametrize("on", [True, False])
async def test_a_login_that_a_challenge_asks_for_is_one_that_the_issuer_knows(start: Any, on: bool) -> None:
    """What a first login is told to ask for, in both places, has no base scope where values count."""
    async with start(on=on) as running:
        refused = await post(running, "discount")
        base = {"tenant", "orders:discount"}
        assert refused.scopes() == {"mcp:read", "orders:recall", "clerk"} | (set() if on else base)
        assert running.plugin._describe().scopes == refused.scopes()


async def test_a_completion_without_the_value_gets_no_challenge_that_no_issuer_could_grant(start: Any) -> None:
    async with start() as running:
        server: McpServer = running.plugin._server

        @server.prompt("settled", scopes={DISCOUNT, "mcp:read"}, acr="2")
        async def settled(order_id: str, tone: str) -> str:
            return ""

        @server.completion("settled", "tone")
        async def tones(value: str) -> list[str]:
            return ["warm"]

        async def complete(**arguments: str) -> Reply:
            ref = {"ref": {"type": "ref/prompt", "name": "settled"}, "argument": {"name": "tone", "value": ""}}
            message = wire.modern("completion/complete", {**ref, "context": {"arguments": arguments}})
            reply: Reply = await running.post(message, **wire.headers("completion/complete", None))
            return reply

        running.who = caller(["mcp:read"])
        refused = await complete()
        assert (refused.status, refused.challenge, refused.body["error"]["code"]) == (403, "", -31001)
        assert [one["reason"] for one in running.audited()] == ["scopes_undecided"]
        assert (await complete(order_id="42")).scopes() == {"orders:discount:42", "mcp:read"}
        running.who = caller(["orders:discount:7"])
        assert "mcp:read" in (await complete()).scopes()
        running.who = caller(["mcp:read", "orders:discount:7"])
        weak = await complete()
        assert (weak.status, weak.scopes()) == (401, {"mcp:read", "orders:discount:7"})
        running.who = caller(["mcp:read", "orders:discount:7"], acr="2")
        assert (await complete()).body["result"]["completion"]["values"] == ["warm"]


@pytest.mark.parametrize("on", [True, False])
async def test_a_tool_lists_no_scope_that_no_issuer_could_grant(start: Any, on: bool) -> None:
    async with start(on=on, step_up="both") as running:
        running.plugin._server.tool("refund", scopes=any_of({DISCOUNT, "mcp:read"}))(refund)
        running.who = caller(["mcp:read"])
        listed = await running.post(wire.modern("tools/list"), **wire.headers("tools/list"))
        (found,) = (one for one in listed.body["result"]["tools"] if one["name"] == "refund")
        scopes = ["mcp:read"] if on else ["mcp:read", "orders:discount"]
        assert found["securitySchemes"] == [{"type": "oauth2", "scopes": scopes}]


async def refund(order_id: str) -> str:
    return order_id


def requests() -> dict[str, tuple[str, dict[str, Any], str | None]]:
    uri = "orders://42"
    ref = {"ref": {"type": "ref/prompt", "name": "prompt"}, "argument": {"name": "tone", "value": ""}}
    return {
        "tool": ("tools/call", {"name": "demands", "arguments": {"order_id": "42"}}, "demands"),
        "template": ("resources/read", {"uri": uri}, uri),
        "prompt": ("prompts/get", {"name": "prompt", "arguments": {"tone": "x"}}, "prompt"),
        "completion": ("completion/complete", ref, None),
    }


@pytest.mark.parametrize("kind", ["tool", "template", "prompt", "completion"])
@pytest.mark.parametrize("era", [wire.MODERN, LEGACY, BATCHING])
async def test_what_is_held_already_is_not_asked_for_again(start: Any, era: str, kind: str) -> None:
    """No challenge: with the token that it leads to the same call would be refused again, and for ever."""
    names(any_of({"mcp:admin"}, {"orders:recall"}))
    method, params, name = requests()[kind]
    lines: list[Any] = []
    sink = logger.add(lambda line: lines.append(line.record), level="ERROR")
    message = wire.modern(method, params) if era == wire.MODERN else wire.legacy(method, params)
    headers = wire.headers(method, name) if era == wire.MODERN else {"mcp_protocol_version": era}
    try:
        async with start(Scope("mcp:read"), Scope("mcp:admin"), Scope("orders:recall")) as running:
            running.who = caller(["mcp:read", "orders:recall"])
            sent: Any = [message] if era == BATCHING else message
            replies = [await running.post(sent, **headers), await running.pipe(sent, era)]
    finally:
        logger.remove(sink)
    for reply in replies:
        body = reply.body[0] if era == BATCHING else reply.body
        assert (reply.status in (0, 200), reply.challenge) == (True, "")
        if kind == "tool":
            assert (body["result"]["isError"], TEXT in body["result"]["content"][0]["text"]) == (True, True)
        else:
            assert body["error"] == {"code": -32603, "message": "Internal error"}
        assert "recall" not in str(body)
    assert [one["extra"]["scopes"] for one in lines] == [["orders:recall"]] * 2
    assert all("holds" in one["message"] and one["extra"]["request"] for one in lines)


@pytest.mark.parametrize("said", [DISCOUNT, "orders:discount:42"])  # as an API behind the server may name it
async def test_what_is_held_by_another_name_is_held(start: Any, said: str) -> None:
    """By what implies it, by its base scope, as the user of a desktop."""
    names({said})
    async with start(on=False) as running:
        running.who = caller(["mcp:read", "orders:discount"])
        refused = await post(running, "demands")
        assert (refused.status, TEXT in str(refused.body)) == (200, True)
    async with start() as running:
        running.who = caller(["mcp:read", "clerk", "orders:discount:*"])
        assert TEXT in str((await post(running, "demands")).body)
        running.who = transport.desktop_user(frozenset({"mcp:read", "orders:recall"}))
        message = wire.modern("tools/call", {"name": "looks", "arguments": {"order_id": "42"}})
        assert (await running.pipe(message, wire.MODERN)).body["result"]["content"][0]["text"] == "recalled 42"


async def test_who_is_unknown_holds_nothing(start: Any) -> None:
    names({"orders:recall"})

    async def looks(ctx: Context) -> str:
        if not ctx.holds(named[0]):
            raise NeedsScopes(named[0])
        return "recalled"

    async with start() as running:
        running.plugin._server.tool("open_to_all", public=True)(looks)
        assert (await post(running, "open_to_all", None)).status == 401
        running.who = caller(["orders:recall"])
        assert (await post(running, "open_to_all", None)).status == 200


async def test_in_a_task_and_late_it_is_an_error_that_says_little(start: Any) -> None:
    names({"orders:recall"})
    async with start() as running:
        running.who = caller(["mcp:read", "orders:recall"])
        late = await post(running, "speaks", None, progressToken="p")
        assert (late.status, TEXT in str(late.body)) == (200, True)
        known: dict[str, Any] = {f"{wire.PREFIX}clientCapabilities": TASKS}
        created = (await post(running, "demands", **known)).body["result"]["taskId"]
        await settle()
        asked = wire.modern("tasks/get", {"taskId": created})
        asked["params"]["_meta"] |= known
        found = (await running.post(asked, **wire.headers("tasks/get", created))).body["result"]
        assert (found["status"], found["error"]) == ("failed", {"code": -32603, "message": "Internal error"})
        noted = [one for one in running.audited() if one["method"] == "task"]
        assert [one["reason"] for one in noted] == ["task_failed"]


async def test_what_is_not_declared_is_told_once(start: Any, tmp_path: Path) -> None:
    names({"orders:recall"})
    told: list[Any] = []
    sink = logger.add(lambda line: told.append(line.record["extra"].get("scopes")), level="WARNING")
    server = McpServer("loose")

    @server.tool(scopes={"mcp:read"})
    async def demands() -> str:
        raise NeedsScopes({"mcp:read", "orders:recall"})

    try:
        with pytest.MonkeyPatch.context() as patch:
            async with inside(server, tmp_path, patch) as running:
                running.who = caller(["mcp:read"])
                for _ in range(3):
                    assert (await post(running, "demands", None)).scopes() == {"mcp:read", "orders:recall"}
    finally:
        logger.remove(sink)
    assert told.count(["orders:recall"]) == 1


async def test_tasks_of_one_group_look_and_raise(start: Any) -> None:
    names({DISCOUNT})
    async with start() as running:
        running.who = caller(["mcp:read", "orders:discount:7"])
        replies = await asyncio.gather(*(post(running, "looks", one) for one in ("7", "8")))
        assert [one.status for one in replies] == [200, 403]
