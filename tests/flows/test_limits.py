"""What one caller can use: bodies, threads, what is kept for it; strangers by their address."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from mcp_server import Context, McpServer
from mcp_server.sessions.session import MAX_URI_BYTES
from mcp_server.sessions.subscriptions import MAX_URI_BYTES as MAX_LISTENED
from tests.kit import wire
from tests.kit.stack import Running, running_stack
from tests.kit.stack import until as stack_until

MANY = 300_000
server = McpServer("limits")
blocked = threading.Event()
begun: list[str] = []
waiting: dict[str, asyncio.Event] = {}


@server.tool(public=True)
async def hello() -> str:
    """Greet."""
    return "hello"


@server.tool(public=True)
async def wait(name: str) -> str:
    """Wait for the gate."""
    gate = waiting[name] = asyncio.Event()
    await gate.wait()
    return name


@server.tool()
def block(name: str) -> str:
    """Block a thread."""
    begun.append(name)
    assert blocked.wait(30)
    return name


@server.tool()
def quick() -> str:
    """Block for nothing."""
    return "quick"


@server.tool()
async def talk(text: str, times: int, ctx: Context) -> str:
    """Say it so often."""
    for _ in range(times):
        await ctx.log("info", text)
    return "done"


@server.resource("x://{id}")
async def thing(id: str) -> str:  # noqa: A002
    """A thing."""
    return id


def message(tool: str, request_id: int = 1, **arguments: Any) -> tuple[dict[str, Any], dict[str, str]]:
    called = wire.modern("tools/call", {"name": tool, "arguments": arguments}, request_id)
    return called, wire.headers("tools/call", tool)


class Slow(msgspec.Struct):
    """A connection whose body comes when a test says so."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> tuple[int, str]:
        """The status, and all the rest up to the end of the connection: a reset where the server has not read all."""
        data = b""
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                while part := await self.reader.read(65536):
                    data += part
        return int(data.split()[1]), data.decode()


@asynccontextmanager
async def sending(stack: Running, length: int, first: bytes = b"", **headers: str) -> AsyncIterator[Slow]:
    port = int(stack.resource.split(":")[2].partition("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fields = {"host": f"localhost:{port}", "content-type": "application/json", "content-length": str(length), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    writer.write(f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + first)
    await writer.drain()
    try:
        yield Slow(reader, writer)
    finally:
        writer.close()


async def until(so: Callable[[], Any]) -> None:
    async def is_so() -> bool:
        return bool(so())

    await stack_until(is_so)


@pytest.mark.parametrize("first", [b"", b"{", b"x" * 20_000])
@pytest.mark.parametrize("who", ["stranger", "alice"])
async def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path, first: bytes, who: str) -> None:
    async with running_stack(tmp_path, server, body_timeout_s="0.3") as stack:
        token = {} if who == "stranger" else {"authorization": f"Bearer {await stack.token('alice')}"}
        async with sending(stack, 100_000, first, **token) as slow:
            status, text = await slow.answer()
        assert status == 408
        assert "the body took too long" in text
        assert "connection: close" in text.lower()
        (line,) = [one for one in stack.audited() if one.get("reason") == "body_too_slow"]
        assert line["decision"] == "deny"
        assert bool(line.get("subject")) is (who == "alice")
        await until(lambda: not stack.plugin.endpoint._services.bodies._limiter.holders)


async def test_a_body_that_trickles_is_not_waited_for_either(tmp_path: Path) -> None:
    async with running_stack(tmp_path, server, body_timeout_s="0.5") as stack, sending(stack, 100_000) as slow:

        async def trickle() -> None:
            while True:
                slow.writer.write(b"x")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        status, _ = await slow.answer()
        trickling.cancel()
        assert status == 408


async def test_the_bytes_of_one_callers_bodies_are_bounded_and_nobody_else_minds(tmp_path: Path) -> None:
    async with running_stack(
        tmp_path,
        server,
        max_body_bytes=str(MANY),
        max_bytes_in_flight_per_principal=str(MANY),
        max_bytes_in_flight=str(2 * MANY),
    ) as stack:
        alice, bob = await stack.token("alice"), await stack.token("bob")
        bodies = stack.plugin.endpoint._services.bodies._limiter
        large, headers = message("hello", 7)
        large["params"]["_meta"]["padding"] = "x" * 50_000
        async with sending(stack, MANY, b"x" * (MANY - 10_000), authorization=f"Bearer {alice}") as slow:
            await until(lambda: bodies.total == MANY - 10_000)
            refused = await stack.post(large, alice, **headers)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
            assert (await stack.post(message("hello")[0], alice, **headers)).status_code == 200
            assert (await stack.post(large, bob, **headers)).status_code == 200
            assert (await stack.post(large, **headers)).status_code == 200
            slow.writer.close()
        await until(lambda: not bodies.holders)
        assert (await stack.post(large, alice, **headers)).status_code == 200
        await until(lambda: not bodies.holders)  # the client has its answer before the server goes on
        (line,) = [one for one in stack.audited() if one.get("reason") == "too_many_bytes"]
        assert line.get("subject")


async def test_who_calls_too_fast_has_no_large_body_read_for_it(tmp_path: Path) -> None:
    async with running_stack(tmp_path, server, max_calls_per_second_per_principal="0.001") as stack:
        alice = await stack.token("alice")
        small, headers = message("hello", 7)
        assert (await stack.post(small, alice, **headers)).status_code == 200
        fields = {"authorization": f"Bearer {alice}", **headers}
        async with sending(stack, 40_000, b"x" * 20_000, **fields) as slow:
            await asyncio.sleep(0)
            slow.writer.write(b"x" * 20_000)
            data = await slow.reader.readuntil(b"\r\n")
        assert data.split()[1] == b"429"
        assert [one.get("reason") for one in stack.audited()][-1] == "too_fast"


async def test_one_stranger_does_not_take_what_all_strangers_have(tmp_path: Path) -> None:
    async with running_stack(tmp_path, server, max_calls_per_principal="8", trusted_proxies="127.0.0.0/8") as stack:
        waiting.clear()

        async def ask(address: str, tool: str, **arguments: Any) -> int:
            body, headers = message(tool, **arguments)
            answer = await stack.post(body, x_forwarded_for=address, **headers)
            return answer.status_code

        calls = [asyncio.create_task(ask("2001:db8::1", "wait", name=f"first {number}")) for number in range(2)]
        await until(lambda: len(waiting) == 2)
        assert await ask("2001:db8::2", "hello") == 429
        assert await ask("2001:db8:0:1::2", "hello") == 200
        assert await ask("192.0.2.7", "hello") == 200
        calls += [asyncio.create_task(ask(f"192.0.2.{number}", "wait", name=str(number))) for number in range(6)]
        await until(lambda: len(waiting) == 8)
        assert await ask("192.0.2.7", "hello") == 429
        body, headers = message("hello")
        assert (await stack.post(body, await stack.token("alice"), **headers)).status_code == 200
        for gate in waiting.values():
            gate.set()
        assert await asyncio.gather(*calls) == [200] * 8
        await until(lambda: not stack.plugin.endpoint._services.pipeline._limits.calls.holders)


async def test_who_hangs_up_on_a_thread_keeps_its_place_until_the_thread_ends(tmp_path: Path) -> None:
    async with running_stack(tmp_path, server, max_calls_per_principal="1", sync_threads="4") as stack:
        alice, bob = await stack.token("alice"), await stack.token("bob")
        del begun[:]
        blocked.clear()
        body, headers = message("block", name="hers")
        data = msgspec.json.encode(body)
        async with sending(stack, len(data), data, authorization=f"Bearer {alice}", **headers):
            await until(lambda: begun == ["hers"])
        await until(lambda: any(one.get("reason") == "cancelled" for one in stack.audited()))
        body, headers = message("quick")
        assert (await stack.post(body, alice, **headers)).status_code == 429
        assert "quick" in (await stack.post(body, bob, **headers)).text
        blocked.set()
        calls = stack.plugin.endpoint._services.pipeline._limits.calls
        await until(lambda: not calls.holders)
        assert "quick" in (await stack.post(body, alice, **headers)).text


async def session(stack: Running, token: str) -> dict[str, str]:
    answer = await stack.post(wire.legacy("initialize", wire.INITIALIZE), token)
    return {"mcp_session_id": answer.headers["mcp-session-id"], "mcp_protocol_version": "2025-11-25"}


async def test_what_streams_say_is_kept_within_a_principals_bound_and_said_in_any_case(tmp_path: Path) -> None:
    async with running_stack(tmp_path, server, max_kept_bytes_per_principal="10000") as stack:
        alice, bob = await stack.token("alice"), await stack.token("bob")
        hers, his = await session(stack, alice), await session(stack, bob)

        async def said(token: str, headers: dict[str, str], size: int) -> list[str]:
            body = wire.legacy("tools/call", {"name": "talk", "arguments": {"text": "x" * size, "times": 3}})
            async with stack.open(body, token, **headers) as (_, events):
                found = [event async for event in events if event.get("data", "")]
            assert len(found) == 4
            return [event.get("id", "") for event in found]

        ids = await said(alice, hers, 3_000)
        assert [bool(one) for one in ids] == [True, True, False, False]
        async with stack.open(None, alice, last_event_id=ids[0], **hers) as (response, events):
            assert response.status_code == 200
            rest = [event async for event in events if event.get("data", "")]
        assert rest[0]["id"] == ids[1]
        assert ids[1:2] == [event["id"] for event in rest if len(event["data"]) > 100]
        while any(ids):
            ids = await said(alice, hers, 10)
        assert all(await said(bob, his, 100))


async def test_what_a_session_subscribes_to_is_bounded_in_bytes(tmp_path: Path) -> None:
    async with running_stack(tmp_path, server) as stack:
        alice = await stack.token("alice")
        hers = await session(stack, alice)
        most = MAX_URI_BYTES // 4_000

        async def subscribe(number: int) -> dict[str, Any]:
            uri = f"x://{number:02}-".ljust(4_000, "a")
            answer = await stack.post(wire.legacy("resources/subscribe", {"uri": uri}), alice, **hers)
            return dict(answer.json())

        assert ["result" in await subscribe(number) for number in range(most + 1)] == [True] * most + [False]
        assert "result" in await subscribe(0)
        body = wire.modern(
            "subscriptions/listen",
            {"notifications": {"resourceSubscriptions": ["x://" + "a" * (MAX_LISTENED // 2)] * 2}},
        )
        refused = await stack.post(body, alice, **wire.headers("subscriptions/listen"))
        assert refused.json()["error"]["code"] == -32602


@server.tool(public=True)
async def report(size: int, ctx: Context) -> str:
    """A long one, said on a stream where a client has one open."""
    await ctx.progress(1)
    return "x" * size


@asynccontextmanager
async def unread(
    stack: Running, token: str, count: int, size: int, **params: Any
) -> AsyncIterator[list[socket.socket]]:
    """Connections that ask for a long answer, their last, and read nothing of it."""
    called, fields = message("report", size=size)
    called["params"] |= {"_meta": called["params"]["_meta"] | params}
    body, port = msgspec.json.encode(called), int(stack.resource.split(":")[2].partition("/")[0])
    fields = {
        "host": f"localhost:{port}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "authorization": f"Bearer {token}",
        "content-length": str(len(body)),
        "connection": "close",
        **fields,
    }
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            opened.append(one)
            one.settimeout(20)
            await asyncio.to_thread(one.connect, ("127.0.0.1", port))
            one.sendall(f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
        yield opened
    finally:
        for one in opened:
            one.close()


def read_all(one: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := one.recv(1 << 20):
            found += part
    return found


@pytest.mark.parametrize("streamed", [False, True])
async def test_answers_that_nobody_reads_are_bounded_and_let_go(tmp_path: Path, streamed: bool) -> None:
    size, bound = 8_000_000, 16 * 1024 * 1024
    params = {"progressToken": 1} if streamed else {}
    async with running_stack(tmp_path, server, body_timeout_s="2") as stack:
        alice, bob = await stack.token("alice"), await stack.token("bob")
        held = stack.plugin.endpoint._services.bodies._limiter
        async with unread(stack, alice, 4, size, **params) as connections:
            await until(lambda: len([one for one in stack.audited() if one.get("reason") == "too_many_bytes"]) == 2)
            assert held.total <= bound
            called, headers = message("report", size=size)
            whole = await stack.post(called, bob, **headers)
            assert len(whole.json()["result"]["content"][0]["text"]) == size
            await until(lambda: not held.holders)
            # Which two were first is the server's: its threads take connections as they come.
            found = [await asyncio.to_thread(read_all, one) for one in connections]
            cut = [one for one in found if b"x" * 200 in one]
            refused = [one for one in found if b"too many" in one]
            assert (len(cut), len(refused)) == (2, 2)
            assert all(len(one) < size for one in cut)
        called, headers = message("report", size=bound + 1)
        whole = await stack.post(called, alice, **headers)
        assert len(whole.json()["result"]["content"][0]["text"]) == bound + 1
        await until(lambda: not held.holders)


PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.mark.parametrize(
    ("body", "costs"),
    [(PING, 1), ([PING] * 10, 10), ({"jsonrpc": "2.0", "method": "notifications/initialized"}, 1), (b"{", 1)],
    ids=["ping", "batch", "notification", "junk"],
)
async def test_messages_that_begin_no_handler_have_a_rate_too(tmp_path: Path, body: Any, costs: int) -> None:
    async with running_stack(tmp_path, server, max_calls_per_second_per_principal="0.5") as stack:
        alice, bob = await stack.token("alice"), await stack.token("bob")
        stack.stop_clocks()
        answers: list[httpx.Response] = []
        while not answers or answers[-1].status_code != 429:
            assert len(answers) < 150 // costs
            answers.append(await stack.post(body, alice, mcp_protocol_version="2025-03-26"))
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert len(answers) > 50 // costs
        answers += [await stack.post(body, alice, mcp_protocol_version="2025-03-26") for _ in range(3)]
        refused = [one for one in answers if one.status_code == 429]
        lines = [one for one in stack.audited() if one.get("reason") == "too_fast"]
        assert len(lines) == len(refused)  # a batch is refused as a whole: it has one line, not one for each item
        assert (await stack.post(body, bob, mcp_protocol_version="2025-03-26")).status_code != 429
        called, headers = message("hello")
        assert (await stack.post(called, alice, **headers)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_requests_without_a_message_count_as_one(tmp_path: Path, method: str) -> None:
    async with running_stack(tmp_path, server, max_calls_per_second_per_principal="0.5") as stack:
        fields = {"authorization": f"Bearer {await stack.token('alice')}"}
        stack.stop_clocks()
        found: list[int] = []
        while 429 not in found and len(found) < 150:
            found.append((await stack.http.request(method, stack.resource, headers=fields)).status_code)
        assert found[-1] == 429


async def test_a_tool_that_is_not_there_counts_as_a_message(tmp_path: Path) -> None:
    async with running_stack(tmp_path, server, max_calls_per_second_per_principal="0.5") as stack:
        alice = await stack.token("alice")
        called, headers = message("nothing")
        stack.stop_clocks()
        found = [(await stack.post(called, alice, **headers)).status_code]
        while found[-1] == 200 and len(found) < 150:
            found.append((await stack.post(called, alice, **headers)).status_code)
        assert {*found} == {200, 429}
