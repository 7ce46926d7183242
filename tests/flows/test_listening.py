"""Who listens hears of what it asked for and may know, for as long as its token and its session last."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server import Context, McpServer
from mcp_server.observe import metrics
from mcp_server.store.backend import StoreUnavailable
from tests.kit import wire
from tests.kit.stack import Stack, running_stack
from tests.kit.tokens import Forge

LEGACY = "2025-11-25"
ID = wire.PREFIX + "subscriptionId"


def make() -> McpServer:
    server = McpServer("listening")

    @server.tool()
    async def touch(uri: str, ctx: Context) -> str:
        """Change a resource."""
        ctx.resource_updated(uri)
        return "touched"

    @server.tool()
    async def grow(name: str) -> str:
        """Add a tool, a prompt and a resource of this name."""

        async def added() -> str:
            """Be new."""
            return name

        server.tool(name)(added)
        server.prompt(name)(added)
        server.resource(f"new://{name}")(added)
        return name

    @server.tool()
    async def shrink(name: str) -> str:
        """Take them away again."""
        server.remove_tool(name)
        server.remove_prompt(name)
        server.remove_resource(f"new://{name}")
        return name

    @server.resource("news://{topic}")
    async def news(topic: str) -> str:
        """Hold news."""
        return topic

    @server.resource("secret://one", scopes={"mcp:admin"})
    async def secret() -> str:
        """Hold a secret."""
        return "secret"

    @server.prompt()
    async def hello() -> str:
        """Greet."""
        return "hello"

    return server


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = Path(tmp_path_factory.mktemp("listening"))
    async with running_stack(folder, make(), max_streams_per_principal="3", keep_alive_s="0.2") as running:
        yield running


@pytest.fixture(scope="module")
async def token(stack: Stack) -> str:
    return await stack.token("alice")


@pytest.fixture(autouse=True)
async def _places_are_free(stack: Stack) -> AsyncIterator[None]:
    yield
    await stack.streams_closed()


def listen(wanted: dict[str, Any], request_id: Any = "l") -> tuple[dict[str, Any], dict[str, str]]:
    message = wire.modern("subscriptions/listen", {"notifications": wanted}, request_id)
    return message, wire.headers("subscriptions/listen")


async def call(stack: Stack, token: str, tool: str, **arguments: Any) -> None:
    message = wire.modern("tools/call", {"name": tool, "arguments": arguments})
    answer = await stack.post(message, token, **wire.headers("tools/call", tool))
    assert "isError" not in answer.json()["result"], answer.text


async def data(events: AsyncIterator[dict[str, str]]) -> dict[str, Any]:
    """The next message; comments are passed over."""
    async with asyncio.timeout(60):
        while not (event := await anext(events)).get("data"):
            pass
    said: dict[str, Any] = json.loads(event["data"])
    return said


@pytest.mark.parametrize("request_id", [0, 7, "", "text"])
@pytest.mark.requirement("9.8", "21.1", "21.2", "21.3")
async def test_the_first_word_is_what_is_honoured_and_each_is_tagged(stack: Stack, token: str, request_id: Any) -> None:
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["news://a", "none://b"], "unknown": 1}
    message, headers = listen(wanted, request_id)
    async with stack.open(message, token, **headers) as (response, events):
        assert response.headers["content-type"] == "text/event-stream"
        first = await data(events)
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"]["notifications"] == {"toolsListChanged": True, "resourceSubscriptions": ["news://a"]}
        await call(stack, token, "touch", uri="news://b")
        await call(stack, token, "touch", uri="news://a")
        second = await data(events)
        assert (second["method"], second["params"]["uri"]) == ("notifications/resources/updated", "news://a")
        for one in (first, second):
            assert one["params"]["_meta"][ID] == request_id
            assert type(one["params"]["_meta"][ID]) is type(request_id)


@pytest.mark.requirement("8.19", "9.9", "10.5", "16.6", "21.4")
async def test_lists_that_change_are_told_to_those_who_asked_and_are_new(stack: Stack, token: str) -> None:
    async with AsyncExitStack() as opened:
        heard: dict[str, AsyncIterator[dict[str, str]]] = {}
        for kind in ("tools", "prompts", "resources"):
            message, headers = listen({f"{kind}ListChanged": True}, kind)
            _, heard[kind] = await opened.enter_async_context(stack.open(message, token, **headers))
            await data(heard[kind])
        for verb in ("grow", "shrink"):
            await call(stack, token, verb, name="fresh")
            for kind, events in heard.items():
                said = await data(events)
                assert said["method"] == f"notifications/{kind}/list_changed"
                listed = await stack.post(wire.modern(f"{kind}/list"), token, **wire.headers(f"{kind}/list"))
                assert ("fresh" in listed.text) is (verb == "grow")
    message = wire.modern("tools/call", {"name": "fresh", "arguments": {}})
    gone = await stack.post(message, token, **wire.headers("tools/call", "fresh"))
    assert gone.json()["error"]["code"] == -32602


async def test_a_stream_lasts_as_long_as_its_token_would_be_accepted(stack: Stack, token: str) -> None:
    """House fault 29: a stream that a token in the leeway opened ended at once, and its client came back for ever."""
    late = Forge(stack).token(exp=time.time() - 5)
    message, headers = listen({"resourceSubscriptions": ["news://a"]})
    async with stack.open(message, late, **headers) as (_, events):
        await data(events)
        await call(stack, late, "touch", uri="news://a")
        assert (await data(events))["params"]["uri"] == "news://a"
        assert (await anext(events))[""] == "keep-alive"
    ending = Forge(stack).token(exp=time.time() - 25)  # of a leeway of 30
    async with stack.open(message, ending, **headers) as (_, events):
        await data(events)
        assert (await data(events))["result"]["resultType"] == "complete"


@pytest.mark.requirement("21.4")
async def test_nothing_asked_for_is_acknowledged_and_silent(stack: Stack, token: str) -> None:
    message, headers = listen({})
    async with stack.open(message, token, **headers) as (_, events):
        assert (await data(events))["params"]["notifications"] == {}
        await call(stack, token, "touch", uri="news://a")
        assert (await anext(events))[""] == "keep-alive"


async def three(stack: Stack, token: str, opened: AsyncExitStack) -> list[AsyncIterator[dict[str, str]]]:
    """Open streams; one whose events nobody holds is closed by the client."""
    message, headers = listen({})
    streams = []
    for _ in range(3):
        streams.append((await opened.enter_async_context(stack.open(message, token, **headers)))[1])
        await data(streams[-1])
    return streams


@pytest.mark.requirement("21.7")
async def test_a_principal_has_so_many_streams(stack: Stack, token: str) -> None:
    message, headers = listen({})
    async with AsyncExitStack() as opened:
        streams = await three(stack, token, opened)
        over = await stack.post(message, token, **headers)
        assert (over.status_code, over.headers["retry-after"]) == (429, "5")
        assert over.json()["id"] == "l"
        other = await stack.token("bob")
        _, events = await opened.enter_async_context(stack.open(message, other, **headers))
        await data(events)
        assert len(streams) == 3
    await stack.streams_closed()
    async with stack.open(message, token, **headers) as (_, events):
        await data(events)


@pytest.mark.requirement("21.7")
async def test_reading_scopes_are_asked_for(stack: Stack, token: str) -> None:
    message, headers = listen({"resourceSubscriptions": ["secret://one", "news://a"]})
    refused = await stack.post(message, token, **headers)
    assert refused.status_code == 403
    assert 'scope="mcp:admin mcp:read"' in refused.headers["www-authenticate"]
    mine = await session(stack, token)
    subscribe = wire.legacy("resources/subscribe", {"uri": "secret://one"})
    assert (await stack.post(subscribe, token, **mine)).status_code == 403
    unknown = wire.legacy("resources/subscribe", {"uri": "none://one"})
    assert (await stack.post(unknown, token, **mine)).json()["error"]["code"] == -32002
    for odd in ({}, {"uri": 5}):
        for method in ("resources/subscribe", "resources/unsubscribe"):
            assert (await stack.post(wire.legacy(method, odd), token, **mine)).json()["error"]["code"] == -32602


@pytest.mark.parametrize(
    "params", [{}, {"notifications": []}, {"notifications": {"toolsListChanged": "yes"}}, {"notifications": {"resourceSubscriptions": ["a:b"] * 257}}]
)  # fmt: skip
async def test_a_malformed_filter_is_refused(stack: Stack, token: str, params: dict[str, Any]) -> None:
    message = wire.modern("subscriptions/listen", params)
    answer = await stack.post(message, token, **wire.headers("subscriptions/listen"))
    assert answer.json()["error"]["code"] == -32602


async def test_strangers_do_not_listen(tmp_path: Path) -> None:
    server = make()

    @server.tool(public=True)
    async def open_to_all() -> str:
        """Be public."""
        return "public"

    async with running_stack(tmp_path, server) as stack:
        message, headers = listen({"toolsListChanged": True})
        answer = await stack.post(message, None, **headers)
        assert answer.status_code == 401
        assert "error=" not in answer.headers["www-authenticate"]


@pytest.mark.requirement("21.5", "21.7")
async def test_a_stream_ends_with_its_token(tmp_path: Path) -> None:
    async with running_stack(tmp_path, make(), leeway_s="0") as stack:
        stack.issuer.mint._realm = msgspec.structs.replace(stack.issuer.realm, access_token_s=4)
        token = await stack.token("alice")
        mine = await session(stack, token)
        message, headers = listen({"toolsListChanged": True}, 5)
        async with stack.open(message, token, **headers) as (_, events), stack.open(None, token, **mine) as (_, old):
            await data(events)
            last = await data(events)
            assert (last["id"], last["result"]["resultType"], last["result"]["_meta"][ID]) == (5, "complete", 5)
            assert last["result"]["_meta"][wire.PREFIX + "serverInfo"]["name"]
            assert [event async for event in events] == []
            assert [event async for event in old if "data" in event] == []


async def test_a_server_that_stops_says_good_bye(tmp_path: Path) -> None:
    async with running_stack(tmp_path, make()) as stack:
        token = await stack.token("alice")
        message, headers = listen({"toolsListChanged": True}, 5)
        async with stack.open(message, token, **headers) as (_, events):
            await data(events)
            stack.plugin.runtime.listeners.end_all()
            assert (await data(events))["id"] == 5
        assert (await stack.post(message, token, **headers)).status_code == 503


async def test_a_legacy_stream_is_told_when_to_come_back_to_another_server(tmp_path: Path) -> None:
    async with running_stack(tmp_path, make()) as stack:
        token = await stack.token("alice")
        mine = await session(stack, token)
        async with stack.open(None, token, **mine) as (_, events):
            assert (await anext(events))[""] == "open"
            stack.plugin.runtime.listeners.drain(0)
            assert [event async for event in events] == [{"retry": "1000"}]
        async with stack.open(None, token, **mine) as (refused, _):
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")


async def session(stack: Stack, token: str) -> dict[str, str]:
    answer = await stack.post(wire.legacy("initialize", wire.INITIALIZE), token)
    return {"mcp_session_id": answer.headers["mcp-session-id"], "mcp_protocol_version": LEGACY}


@pytest.mark.requirement("5.15", "9.10")
async def test_a_legacy_session_hears_on_its_get_stream(stack: Stack, token: str) -> None:
    mine = await session(stack, token)
    async with stack.open(None, token, **mine) as (response, events):
        assert response.headers["content-type"] == "text/event-stream"
        assert (await anext(events))[""] == "open"
        for uri in ("news://a", "news://b", "news://a"):
            answer = await stack.post(wire.legacy("resources/subscribe", {"uri": uri}), token, **mine)
            assert answer.json()["result"] == {}
        await stack.post(wire.legacy("resources/unsubscribe", {"uri": "news://b"}), token, **mine)
        await call(stack, token, "touch", uri="news://b")
        await call(stack, token, "touch", uri="news://a")
        said = await data(events)
        assert said == {
            "jsonrpc": "2.0",
            "method": "notifications/resources/updated",
            "params": {"uri": "news://a"},
        }
        await call(stack, token, "grow", name="legacy")
        await call(stack, token, "shrink", name="legacy")
        assert (await data(events))["method"].endswith("list_changed")


@pytest.mark.requirement("5.7")
async def test_a_newer_get_stream_takes_the_place_of_the_older(stack: Stack, token: str) -> None:
    mine = await session(stack, token)
    async with stack.open(None, token, **mine) as (_, older):
        await anext(older)
        async with stack.open(None, token, **mine) as (_, newer):
            await anext(newer)
            assert [event async for event in older if "data" in event] == []
            end = {"authorization": f"Bearer {token}", "mcp-session-id": mine["mcp_session_id"]}
            assert (await stack.http.delete(stack.resource, headers=end)).status_code == 204
            assert [event async for event in newer if "data" in event] == []
    async with stack.open(None, token, **mine) as (response, _):
        assert response.status_code == 404


async def test_a_session_subscribes_to_so_many(stack: Stack, token: str) -> None:
    mine = await session(stack, token)
    codes = []
    for number in range(65):
        message = wire.legacy("resources/subscribe", {"uri": f"news://{number}"})
        codes.append((await stack.post(message, token, **mine)).json().get("error", {}).get("code"))
    assert codes == [None] * 64 + [-32602]


async def test_a_reader_that_sleeps_finds_each_change_once(stack: Stack, token: str) -> None:
    message, headers = listen({"resourceSubscriptions": ["news://a"]})
    async with stack.open(message, token, **headers) as (_, events):
        await data(events)
        (listener,) = stack.plugin.runtime.listeners
        for _ in range(1000):
            stack.plugin.runtime._changed("resources", "news://a")
        assert len(listener.waiting) == 1
        assert (await data(events))["params"]["uri"] == "news://a"


async def counted() -> float:
    """Calls and streams that a principal's limit has refused so far."""
    found = re.findall(
        r'^mcp_limited_total\{scope="principal"\} (\S+)$', (await metrics.exposed()).decode(), re.MULTILINE
    )
    return sum(map(float, found))


async def test_get_and_too_many_legacy_streams(stack: Stack, token: str) -> None:
    mine = await session(stack, token)
    async with AsyncExitStack() as opened:
        streams = await three(stack, token, opened)
        async with stack.open(None, token, **mine) as (response, _):
            assert response.status_code == 429
        assert len(streams) == 3
        stream = f"{stack.plugin.runtime.bus.backend.worker}-x.0"
        async with stack.open(None, token, last_event_id=stream, **mine) as (response, _):
            assert response.status_code == 429
        before = await counted()
        fields = {name.replace("_", "-"): value for name, value in mine.items()}
        answer = await stack.http.get(stack.resource, headers={"authorization": f"Bearer {token}", **fields})
        error = answer.json()["error"]
        assert (error["message"], error["data"]) == ("too many streams; try again in 5 s", {"retryAfter": 5})
        assert (answer.headers["retry-after"], await counted()) == ("5", before + 1)
    refused = [line for line in stack.audited() if line["method"] == "GET" and line["decision"] == "deny"]
    assert [line["reason"] for line in refused[-3:]] == ["too_many_streams"] * 3


async def test_a_stream_whose_opening_cannot_be_told_gives_its_slot_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_stack(tmp_path, make(), max_streams_per_principal="1") as stack:
        token = await stack.token("alice")
        mine = await session(stack, token)
        fields = {name.replace("_", "-"): value for name, value in mine.items()}
        with monkeypatch.context() as moment:

            async def away(*_: object) -> None:
                raise StoreUnavailable("connection closed")

            moment.setattr(stack.plugin.runtime.bus.backend, "distributed", True)
            moment.setattr(stack.plugin.runtime.bus.outbox, "send", away)
            for _ in range(2):
                answer = await stack.http.get(
                    stack.resource, headers={"authorization": f"Bearer {token}", **fields}, timeout=20
                )
                assert answer.status_code == 503
        async with stack.open(None, token, **mine) as (response, events):
            assert response.status_code == 200
            assert (await anext(events))[""] == "open"
