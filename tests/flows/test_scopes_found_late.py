"""What a call needs beyond a plain set: on the wire, in tasks, lists, subscriptions and kept streams, in both eras."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from mcp_server import Context, McpServer, NeedsScopes, Scope, any_of
from mcp_server.identity import ScopeRules
from mcp_server.stdio import transport
from tests.kit import wire
from tests.kit.backends import settle
from tests.kit.calls import Channel, answer, call, serving
from tests.kit.inside import Inside, Reply, caller, inside

ON = {"parameterized_scopes": "true"}
REFUND = "orders:refund:{order_id}"
ran: list[Any] = []


def made() -> McpServer:
    server = McpServer(
        "orders",
        scopes=[
            *(Scope(name) for name in ("mcp:read", "mcp:write", "orders:read")),
            Scope("orders:refund", implies=("orders:refund:*",)),
            Scope("clerk", implies=("orders:refund",)),
        ],
    )

    @server.tool(scopes={REFUND}, task="allowed")
    async def refund(order_id: str) -> str:
        ran.append(order_id)
        return f"refunded {order_id}"

    @server.tool(scopes={"mcp:read"})
    async def speaks(ctx: Context) -> str:
        await ctx.progress(1)
        raise NeedsScopes(any_of({"mcp:write", "orders:read"}, {"orders:read"}))

    @server.tool(scopes={"mcp:read"})
    async def note() -> str:
        ran.append("note")
        return "noted"

    @server.tool(scopes={"mcp:read"})
    async def gathers() -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(demand())
        return "never"

    @server.tool("by_schema", scopes={REFUND}, input_schema=SCHEMA)
    async def by_schema(arguments: dict[str, Any]) -> str:
        if arguments["order_id"] == "7":
            raise NeedsScopes({"orders:read", REFUND})
        ran.append(arguments)
        return "done"

    @server.tool(scopes=lambda arguments, who: arguments["unknown"])
    async def undecided() -> str:
        ran.append("undecided")
        return "done"

    @server.tool(public=True)
    async def open_to_all() -> str:
        raise NeedsScopes({"mcp:write"})

    @server.resource("orders://{order_id}/log", scopes={"orders:read", REFUND}, name="log")
    async def log(order_id: str, ctx: Context) -> str:
        await ctx.progress(1)
        raise NeedsScopes({"mcp:write"})

    return server


SCHEMA = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}


async def demand() -> None:
    raise NeedsScopes({"mcp:write"})


def tool(name: str, arguments: dict[str, Any] | None = None, **meta: Any) -> tuple[Any, dict[str, str]]:
    message = wire.modern("tools/call", {"name": name, "arguments": arguments or {}})
    message["params"]["_meta"] |= meta
    return message, wire.headers("tools/call", name)


async def post(running: Inside, *of: Any, **meta: Any) -> Reply:
    message, headers = tool(*of, **meta)
    return await running.post(message, **headers)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    ran.clear()
    return lambda **more: inside(made(), tmp_path, monkeypatch, **(ON | more))


def text_of(reply: Reply) -> str:
    assert (reply.status, reply.challenge, reply.body["result"]["isError"]) == (200, "", True)
    return str(reply.body["result"]["content"][0]["text"])


async def test_the_scope_of_one_order_opens_that_order(start: Any) -> None:
    async with start() as running:
        running.who = caller(["orders:refund:42"])
        assert (await post(running, "refund", {"order_id": "42"})).status == 200
        for other in ("43", "4", "421", "42:1", "*"):
            refused = await post(running, "refund", {"order_id": other})
            (asked,) = refused.scopes()
            assert (refused.status, asked.count(":")) == (403, 2)
        assert ran == ["42"]
        running.who = caller(["orders:refund:*"])  # the order that is called so, and no other
        assert (await post(running, "refund", {"order_id": "42"})).scopes() == {"orders:refund:42"}


async def test_off_the_base_scope_is_checked_and_asked_for(start: Any) -> None:
    async with start(parameterized_scopes="false") as running:
        running.who = caller(["orders:refund:42"])
        assert (await post(running, "refund", {"order_id": "42"})).scopes() == {"orders:refund"}
        running.who = caller(["orders:refund"])
        assert (await post(running, "refund", {"order_id": "4 2"})).status == 200
        assert ran == ["4 2"]


@pytest.mark.parametrize("on", ["true", "false"])
async def test_the_start_says_which_scopes_are_not_asked_for_as_declared(start: Any, on: str) -> None:
    told: list[Any] = []
    sink = logger.add(lambda line: told.append(line.record["extra"].get("scopes")), level="INFO")
    try:
        async with start(parameterized_scopes=on):
            pass
    finally:
        logger.remove(sink)
    assert told.count([REFUND]) == (0 if on == "true" else 2)  # of this kit's two runtimes each


async def test_a_legacy_client_is_named_again_what_its_token_has_of_orders(start: Any) -> None:
    async with start() as running:
        granted = [f"orders:refund:{number}" for number in range(100)]
        running.who = caller(["mcp:read", "profile", *granted])
        message = wire.legacy("tools/call", {"name": "refund", "arguments": {"order_id": "new"}})
        refused = await running.post(message, mcp_protocol_version="2025-11-25")
        asked = refused.scopes()
        assert {"orders:refund:new", "mcp:read"} < asked
        assert "profile" not in asked
        assert len(asked) == 2 + 32  # a header has no room for all
        modern = await post(running, "refund", {"order_id": "new"})
        assert modern.scopes() == {"orders:refund:new"}


async def test_an_implication_opens_all_of_them(start: Any) -> None:
    async with start() as running:
        running.who = caller(["clerk", "orders:refund", "orders:refund:*"])  # as `held` makes of the scope clerk
        assert (await post(running, "refund", {"order_id": "42"})).status == 200
        (line,) = running.audited()
        assert line["needed"] == ["orders:refund:42"]


async def test_once_the_answer_has_begun_an_error_names_the_scopes(start: Any) -> None:
    async with start() as running:
        running.who = caller(["mcp:read", "orders:refund:42"])
        assert text_of(await post(running, "speaks", progressToken="p")) == "insufficient scope: orders:read"
        early = await post(running, "speaks")  # without a token there is no progress, and so nothing has been said
        assert (early.status, early.scopes()) == (403, {"orders:read"})
        lines = running.audited()
        assert {(one["decision"], one["reason"]) for one in lines} == {("deny", "insufficient_scope")}
        running.who = caller(["orders:read", "orders:refund:42"])
        read = wire.modern("resources/read", {"uri": "orders://42/log"})
        read["params"]["_meta"]["progressToken"] = "p"
        answer = await running.post(read, **wire.headers("resources/read", "orders://42/log"))
        assert answer.body["error"] == {"code": -31001, "message": "insufficient scope: mcp:write"}


async def test_tasks_of_a_group_are_heard(start: Any) -> None:
    async with start() as running:
        running.who = caller(["mcp:read"])
        assert (await post(running, "gathers")).scopes() == {"mcp:write"}


async def test_an_unknown_caller_is_told_to_log_in_and_no_value(start: Any) -> None:
    async with start() as running:
        for name, arguments in (("refund", {"order_id": "a b"}), ("undecided", {}), ("open_to_all", {})):
            refused = await post(running, name, arguments)
            assert (refused.status, "error=" in refused.challenge) == (401, False)
            assert refused.scopes() == {"clerk", "mcp:read", "mcp:write", "orders:read"}
        assert [one["reason"] for one in running.audited()] == ["no_credentials"] * 3
        assert ran == []


async def test_a_function_that_fails_lets_nobody_in(start: Any) -> None:
    async with start() as running:
        running.who = caller(["mcp:read", "mcp:write", "clerk", "orders:refund"])
        refused = await post(running, "undecided")
        assert (refused.status, refused.challenge, ran) == (403, "", [])  # no login would cure it
        assert refused.body["error"] == {"code": -31001, "message": "What this call needs could not be told"}
        (line,) = running.audited()
        assert (line["decision"], line["reason"]) == ("deny", "scopes_undecided")
        piped = await running.pipe(tool("undecided")[0], wire.MODERN)
        assert piped.body["error"]["code"] == -31001


async def test_with_a_schema_of_the_authors_the_properties_are_the_variables(start: Any) -> None:
    async with start() as running:
        running.who = caller(["orders:refund:42", "orders:refund:7"])
        assert (await post(running, "by_schema", {"order_id": "42"})).status == 200
        assert ran == [{"order_id": "42"}]
        assert (await post(running, "by_schema", {"order_id": "43"})).scopes() == {"orders:refund:43"}
        assert (await post(running, "by_schema", {"order_id": "7"})).scopes() == {"orders:read", "orders:refund:7"}
        assert "order_id" in text_of(await post(running, "by_schema"))
        malformed = wire.modern("tools/call", {"name": "by_schema", "arguments": []})
        answer = await running.post(malformed, **wire.headers("tools/call", "by_schema"))
        assert answer.body["error"]["code"] == -32602


async def test_of_a_batch_nothing_runs_twice(start: Any) -> None:
    """The first item that finds out late is refused for all; a later one in its own answer: the others have run."""
    noted, demands = (
        wire.legacy("tools/call", {"name": name}, number) for number, name in enumerate(("note", "gathers"))
    )
    async with start() as running:
        running.who = caller(["mcp:read"])
        first = await running.post([demands, noted], mcp_protocol_version="2025-03-26")
        assert (first.status, first.scopes(), ran) == (403, {"mcp:read", "mcp:write"}, [])
        second = await running.post([noted, demands], mcp_protocol_version="2025-03-26")
        assert (second.status, second.challenge, ran) == (200, "", ["note"])
        assert [one["result"].get("isError", False) for one in second.body] == [False, True]
        assert second.body[1]["result"]["content"][0]["text"] == "insufficient scope: mcp:write"


async def test_a_task_is_looked_at_by_who_holds_what_it_began_with(start: Any) -> None:
    known: dict[str, Any] = {f"{wire.PREFIX}clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
    async with start() as running:
        running.who = caller(["orders:refund:42"])
        created = (await post(running, "refund", {"order_id": "42"}, **known)).body["result"]["taskId"]
        await settle()

        async def look() -> str:
            asked = wire.modern("tasks/get", {"taskId": created})
            asked["params"]["_meta"] |= known
            answer = (await running.post(asked, **wire.headers("tasks/get", created))).body
            return str(answer["result"]["status"] if "result" in answer else answer["error"]["message"])

        assert await look() == "completed"
        for held in (["orders:refund:43"], ["clerk", "orders:refund"], []):
            running.who = caller(held)
            assert "unknown task" in await look()


async def test_who_comes_back_must_hold_what_was_relied_on() -> None:
    """A stream that is kept, and a task: what opened them is a scope that a token has, which may not be their own."""
    rules = ScopeRules(implies={"boss": frozenset({"orders:refund:*"})})
    async with serving(made(), parameterized_scopes=True, scope_rules=rules) as (pipeline, _):
        for held, relied in (
            (["clerk", "orders:refund"], {"orders:refund"}),
            (["boss"], {"boss"}),
            (["orders:refund:42"], {"orders:refund:42"}),
        ):
            channel = Channel("one", "a conversation")
            asked = {"name": "refund", "arguments": {"order_id": "42"}}
            outcome = await pipeline.serve(call("tools/call", asked, who=caller(held), channel=channel))
            assert "refunded 42" in str(answer(outcome))
            assert set(channel.needed or ()) == relied


async def test_lists_show_what_is_in_reach(start: Any) -> None:
    async with start(list="granted") as running:

        async def listed(method: str = "tools/list") -> list[str]:
            answer = await running.post(wire.modern(method), **wire.headers(method))
            (found,) = (one for one in answer.body["result"].values() if isinstance(one, list))
            return [one["name"] for one in found]

        for held, shown in (
            (["orders:refund:42"], {"refund", "by_schema", "undecided", "open_to_all"}),
            (["orders:refund"], {"refund", "by_schema", "undecided", "open_to_all"}),  # which implies all of them
            (["mcp:read"], {"speaks", "note", "gathers", "undecided", "open_to_all"}),
        ):
            running.who = caller(held)
            assert set(await listed()) == shown
        assert await listed("resources/templates/list") == []
        running.who = caller(["orders:read", "orders:refund:42"])
        assert await listed("resources/templates/list") == ["log"]
        running.who = None
        assert await listed() == ["open_to_all"]


async def test_who_subscribes_needs_what_reading_needs(start: Any) -> None:
    uris = [f"orders://{number}/log" for number in (42, 43)]
    async with start() as running:
        running.who = caller(["orders:read", "orders:refund:42"])
        listen = wire.modern("subscriptions/listen", {"notifications": {"resourceSubscriptions": uris}})
        refused = await running.post(listen, **wire.headers("subscriptions/listen"))
        assert refused.scopes() == {"orders:read", "orders:refund:42", "orders:refund:43"}
        readable = running.plugin.runtime.policy.readable
        assert readable(uris, running.who) == uris[:1]
        assert readable(["orders://a%20b/log"], running.who) == []
        bad = wire.modern("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["orders://a%20b/log"]}})
        answer = await running.post(bad, **wire.headers("subscriptions/listen"))
        assert answer.body["error"]["code"] == -32602
        legacy = wire.legacy("resources/subscribe", {"uri": uris[1]})
        refused = await running.post(legacy, mcp_protocol_version="2025-11-25")
        assert refused.scopes() == {"orders:read", "orders:refund:42", "orders:refund:43"}


async def test_on_a_desktop_without_a_token_all_is_allowed(start: Any) -> None:
    async with start() as running:
        running.who = transport.desktop_user(running.plugin._server.declared_scopes())
        answer = await running.pipe(tool("refund", {"order_id": "42"})[0], wire.MODERN)
        assert answer.body["result"]["content"][0]["text"] == "refunded 42"
