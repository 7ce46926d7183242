"""The protocol on a pipe: both eras beside each other, and nothing else on it."""

import asyncio
import io
import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server.engine.pipeline import Pipeline
from mcp_server.engine.runtime import EngineConfig, Runtime
from mcp_server.engine.supervisor import CallSupervisors
from mcp_server.limits.rate import RateLimiter
from mcp_server.sessions.subscriptions import SubscriptionLimits
from mcp_server.stdio import transport
from mcp_server.stdio.framing import LineTooLong, lines
from mcp_server.store.backend import StoreUnavailable
from tests.kit import wire
from tests.kit.calls import RememberingRecorder, limits
from tests.kit.interrupts import interruptible
from tests.kit.principals import principal
from tests.kit.servers.conformance import server as fixture
from tests.kit.servers.pipe import (
    call,
    fate,
    grow,
    opening,
    piped,
    server,
)
from tests.kit.stack import Stack

ROOT = Path(__file__).parents[2]


@pytest.mark.requirement("8.26", "26.3", "26.4", "26.10")
async def test_a_modern_client_needs_no_opening() -> None:
    async with piped() as client:
        assert (await client.ask(wire.modern("server/discover")))["result"]["supportedVersions"] == [wire.MODERN]
        bad = await client.ask(wire.modern("server/discover", version="v9"))
        assert bad["error"]["code"] == -32022
        assert (await client.ask(wire.modern("none")))["error"]["code"] == -32601
        client.say(b"")
        client.say(b"rubbish")
        assert (await client.hear())["error"]["code"] == -32700
        client.say([wire.legacy("ping")])
        assert (await client.hear())["error"]["code"] == -32600
        client.say({"jsonrpc": "2.0", "id": "nobody", "result": {}})
        client.say({"jsonrpc": "2.0", "method": "notifications/unknown"})
        listed = await client.ask(wire.modern("tools/list"))
        assert {one["name"] for one in listed["result"]["tools"]} == {
            "wait",
            "ask",
            "admin",
            "grow",
            "annotated",
            "chatter",
        }
        admitted = await client.ask(call("admin"))
        assert admitted["result"]["content"][0]["text"] == "admin"
        repeated = wire.modern("tools/call", {"name": "annotated", "arguments": {"region": "eu"}})
        assert (await client.ask(repeated))["result"]["content"][0]["text"] == "eu"


@pytest.mark.requirement("14.1", "14.2", "26.6")
async def test_a_cancelled_request_is_not_answered() -> None:
    fate.clear()
    async with piped() as client:
        client.say(call("wait", "w"))
        client.say(call("wait", "w"))
        assert (await client.hear())["error"]["code"] == -32600
        for params in ({"requestId": "other"}, {"requestId": None}, {}, {"requestId": "w"}):
            client.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        assert (await client.ask(wire.modern("tools/list", request_id="after")))["id"] == "after"
        assert fate == ["cancelled"]


@pytest.mark.requirement("21.9", "26.8")
async def test_a_listener_is_told_and_ended_by_cancelling() -> None:
    async with piped(subscriptions=SubscriptionLimits(per_principal=1)) as client:
        wanted = {"toolsListChanged": True, "resourceSubscriptions": ["a://b"]}
        client.say(wire.modern("subscriptions/listen", {"notifications": wanted}, "l"))
        assert (await client.hear())["params"]["notifications"] == wanted
        over = await client.ask(wire.modern("subscriptions/listen", {"notifications": {}}, "m"))
        assert over["error"] == {
            "code": -31002,
            "message": "too many streams; try again in 5 s",
            "data": {"retryAfter": 5},
        }
        server.resource_updated("a://b")
        assert (await client.hear())["params"]["uri"] == "a://b"
        client.say(call("grow"))
        said = [await client.hear(), await client.hear()]
        assert {one.get("method", "answer") for one in said} == {"notifications/tools/list_changed", "answer"}
        client.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "l"}})
        assert (await client.ask(wire.modern("tools/list", request_id="after")))["id"] == "after"


@pytest.mark.requirement("14.3", "21.5")
async def test_a_server_that_ends_says_so_to_listeners() -> None:
    async with piped() as client:
        client.say(wire.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, 0))
        await client.hear()
        server.watchers[-1].__self__.listeners.end_all()  # type: ignore[attr-defined]
        assert (await client.hear())["method"] == "notifications/cancelled"
        assert (await client.hear())["result"]["_meta"][wire.PREFIX + "subscriptionId"] == 0


@pytest.mark.requirement("26.2", "26.5")
async def test_a_legacy_client_opens_the_process() -> None:
    async with piped() as client:
        client.revision = "2025-11-25"
        agreed = await client.ask(opening())
        assert agreed["result"]["protocolVersion"] == "2025-11-25"
        client.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert (await client.ask(wire.legacy("ping")))["result"] == {}
        client.say(wire.legacy("tools/call", {"name": "ask", "arguments": {}}, 5))
        asked = await client.hear()
        assert asked["method"] == "elicitation/create"
        client.say({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}})
        assert (await client.hear())["result"]["content"][0]["text"] == "decline"
        assert (await client.ask(wire.legacy("resources/subscribe", {"uri": "a://b"})))["result"] == {}
        server.resource_updated("a://b")
        assert (await client.hear())["params"] == {"uri": "a://b"}
        assert (await client.ask(wire.legacy("logging/setLevel", {"level": "error"})))["result"] == {}
        client.revision = wire.MODERN
        assert (await client.ask(call("admin")))["result"]["resultType"] == "complete"


async def test_the_oldest_revision_has_batches() -> None:
    async with piped() as client:
        client.revision = "2025-03-26"
        await client.ask(opening("2025-03-26"))
        client.say([wire.legacy("ping", request_id=1), {"jsonrpc": "2.0", "method": "x"}, 5, wire.legacy("none")])
        answers = await client.hear()
        assert [one.get("result", one.get("error", {}).get("code")) for one in answers] == [{}, -32600, -32601]
        client.say([{"jsonrpc": "2.0", "method": "x"}])
        assert (await client.ask(wire.legacy("ping")))["result"] == {}


async def test_a_token_has_its_scopes_and_its_end() -> None:
    narrow = msgspec.structs.replace(principal(), expires_at=float("inf"))
    async with piped(narrow) as client:
        refused = await client.ask(call("admin"))
        assert refused["error"] == {"code": -31001, "message": "insufficient scope: mcp:admin"}
    async with piped(principal()) as client:
        assert (await client.ask(call("ask")))["error"]["message"] == "the access token has expired"


async def test_listeners_of_both_eras_end_with_the_token() -> None:
    soon = msgspec.structs.replace(principal(), expires_at=time.time() + 1)
    async with piped(soon) as client:
        client.revision = "2025-11-25"
        await client.ask(opening())
        client.say(wire.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, "l"))
        assert (await client.hear())["method"] == "notifications/subscriptions/acknowledged"
        assert (await client.hear())["method"] == "notifications/cancelled"
        assert (await client.hear())["result"]["_meta"][wire.PREFIX + "subscriptionId"] == "l"
        assert time.time() >= soon.expires_at
        await grow()  # the session's listener has ended before: the next line is the answer
        assert (await client.ask(wire.legacy("ping")))["error"]["message"] == "the access token has expired"


async def test_a_call_ends_when_its_time_is_over_and_a_listener_does_not() -> None:
    async with piped(limits={"call_timeout_s": 0.1}) as client:
        client.say(wire.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, "l"))
        await client.hear()
        late = await client.ask(call("wait"))
        assert late["error"] == {"code": -32603, "message": "The call took too long"}
        client.say(call("grow"))
        said = [await client.hear(), await client.hear()]
        assert {one.get("method", "answer") for one in said} == {"notifications/tools/list_changed", "answer"}


async def test_a_crash_is_an_error_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with piped() as client:
        runtime = server.watchers[-1].__self__  # type: ignore[attr-defined]
        monkeypatch.setattr(runtime, "_lists", None)
        assert (await client.ask(wire.modern("tools/list")))["error"]["code"] == -32603
        assert (await client.ask(wire.modern("server/discover")))["result"]


async def test_so_many_requests_run_at_once() -> None:
    async with piped(max_running=2) as client:
        for number in range(3):
            client.say(call("wait", number))
        refused = await client.hear()
        assert (refused["id"], refused.get("error", {}).get("code")) == (2, -32600), refused


async def command(environment: dict[str, str], *lines: Any) -> tuple[int, bytes, bytes]:
    """`mcp-server stdio` with these lines on its standard input: status, output, errors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mcp_server", "stdio", "tests.kit.servers.conformance:server"),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    out = b""
    for line in lines:
        process.stdin.write(json.dumps(line).encode() + b"\n")
        out += await process.stdout.readline()
    process.stdin.close()
    rest, errors = await process.communicate()
    return process.returncode or 0, out + rest, errors


@pytest.mark.live
@pytest.mark.requirement("25.1", "26.1", "26.7", "26.9")
async def test_the_command_speaks_nothing_but_protocol(stack: Stack) -> None:
    asked = wire.modern("tools/call", {"name": "test_simple_text"})
    status, out, _ = await command({}, asked)
    assert (status, out.count(b"\n")) == (0, 1)
    assert "testing" in json.loads(out)["result"]["content"][0]["text"]
    where = {"MCP_ISSUER": stack.issuer.realm.issuer, "MCP_RESOURCE": stack.resource}
    token = await stack.token("alice")
    status, out, _ = await command(where | {"MCP_ACCESS_TOKEN": token}, asked)
    assert json.loads(out)["result"]
    for environment, said in (
        (where | {"MCP_ACCESS_TOKEN": token + "x"}, b"not accepted"),
        ({"MCP_ACCESS_TOKEN": token}, b"needs MCP_ISSUER"),
        ({"MCP_ISSUERR": "x"}, b"did you mean"),
    ):
        status, out, errors = await command(environment)
        assert (status, out) == (1, b"")
        assert said in errors
    assert fixture.tools


@pytest.mark.requirement("13.2", "26.6", "26.8")
async def test_nothing_is_said_of_a_call_that_is_over() -> None:
    fate.clear()
    async with piped() as client:
        spoken = call("chatter", "a")
        spoken["params"] |= {"arguments": {}}
        spoken["params"]["_meta"]["progressToken"] = "t"
        assert (await client.ask(spoken))["result"]["content"][0]["text"] == "answered"
        await server.state["late"]
        held = call("chatter", "b")
        held["params"] |= {"arguments": {"hold": True}}
        held["params"]["_meta"]["progressToken"] = "t"
        client.say(held)
        assert (await client.hear())["params"]["progressToken"] == "t"
        client.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "b"}})
        assert (await client.ask(wire.modern("tools/list", request_id="after")))["id"] == "after"
        assert fate == ["late", "late"]


@pytest.mark.requirement("26.7")
async def test_a_handler_that_blocks_does_not_keep_a_process_without_a_client(tmp_path: Path) -> None:
    (tmp_path / "blocking.py").write_text(
        "import threading\nfrom mcp_server import McpServer\nserver = McpServer('b')\n"
        "@server.tool()\ndef block() -> str:\n    threading.Event().wait()\n    return ''\n"
    )
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mcp_server", "stdio", "blocking:server"),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert child.stdin
    assert child.stdout
    child.stdin.write(
        json.dumps(call("block")).encode()
        + b"\n"
        + json.dumps(wire.modern("tools/list", request_id=2)).encode()
        + b"\n"
    )
    async with asyncio.timeout(60):
        assert json.loads(await child.stdout.readline())["id"] == 2
        child.stdin.close()
        assert await child.wait() == 0


@pytest.mark.live
async def test_an_interrupt_ends_it_without_a_crash() -> None:
    """Its reader waits in stdin, whose lock Python wants at its end: Ctrl-C in a terminal ended in an abort."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mcp_server", "stdio", "tests.kit.servers.conformance:server"),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=interruptible,
    )
    assert child.stdin and child.stdout and child.stderr
    child.stdin.write(json.dumps(wire.modern("tools/list")).encode() + b"\n")
    async with asyncio.timeout(60):
        assert json.loads(await child.stdout.readline())["id"] == 1
        child.send_signal(signal.SIGINT)
        assert await child.wait() == 128 + signal.SIGINT
        assert b"Fatal" not in await child.stderr.read()


async def test_a_client_on_a_pipe_has_its_limits() -> None:
    slow = {"rate": RateLimiter(1, lambda: 0.0), "messages": RateLimiter(2, lambda: 0.0)}
    async with piped(limits=slow) as client:
        codes = [(await client.ask(call("admin"))).get("error", {}).get("code") for _ in range(8)]
        assert (codes[0], codes[-1]) == (None, -31002)
        listed = [await client.ask(wire.modern("tools/list")) for _ in range(13)]
        assert listed[-1]["error"] == {
            "code": -31002,
            "message": "too many calls in a second; try again in 1 s",
            "data": {"retryAfter": 1},
        }
        client.say(b"rubbish")
        assert (await client.hear())["error"]["code"] == -31002


@pytest.mark.parametrize("ends", [b"\n", b""])
def test_a_line_that_is_too_long_is_passed_over(ends: bytes) -> None:
    async def read() -> list[Any]:
        found = lines(io.BytesIO(b"a\n" + b"x" * 35 + ends + (b"b\n" if ends else b"")), 10)
        got: list[Any] = []
        while (line := await found.get()) is not None:
            got.append(line)
        return got

    first, long, *rest = asyncio.run(read())
    assert first == b"a\n"
    assert isinstance(long, LineTooLong)
    assert rest == ([b"b\n"] if ends else [])


async def test_who_sends_a_line_that_is_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_server.stdio.framing.lines", partial(lines, max_line=1_000))
    async with piped() as client:
        client.say(b"x" * 3_000)
        assert (await client.hear())["error"]["message"] == "Invalid request: the line is too long"
        assert (await client.ask(wire.modern("tools/list")))["result"]


async def test_a_batch_answers_what_it_can_and_holds_its_ids() -> None:
    async with piped() as client:
        client.revision = "2025-03-26"
        await client.ask(opening("2025-03-26"))
        client.say(wire.legacy("tools/call", {"name": "wait", "arguments": {}}, "w"))
        client.say([wire.legacy("ping", request_id="w"), wire.legacy("ping", request_id="p")])
        answers = await client.hear()
        assert [(one["id"], one.get("error", {}).get("code")) for one in answers] == [("w", -32600), ("p", None)]


async def test_what_fails_beside_the_pipeline_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with piped() as client:
        client.revision = "2025-11-25"
        await client.ask(opening())
        runtime = server.watchers[-1].__self__  # type: ignore[attr-defined]

        async def fails(*_: object) -> None:
            raise StoreUnavailable("away")

        monkeypatch.setattr(runtime.sessions, "find", fails)
        assert (await client.ask(wire.legacy("ping")))["error"]["code"] == -32603


async def test_a_client_that_reads_no_more_ends_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    class Closed(io.BytesIO):
        def write(self, _: Any, /) -> int:
            raise BrokenPipeError

    runtime, told = Runtime(server, EngineConfig(state_keys=(b"k" * 32,))), RememberingRecorder()
    source = io.BytesIO(json.dumps(wire.modern("tools/list")).encode() + b"\nrubbish\n")  # a bad line is answered, too
    pipeline = Pipeline(runtime, limits(), told, CallSupervisors())
    await transport.run(pipeline, transport.desktop_user(frozenset({"mcp:read"})), source, Closed())
    assert [label for _, _, label in told.calls] == ["ok"]
    assert "could not be answered" not in capsys.readouterr().err


@pytest.mark.parametrize("error", [ConnectionResetError(), OSError(5, "EIO"), ValueError("closed")])
async def test_an_input_that_fails_is_the_end(error: Exception) -> None:
    class Failing(io.BytesIO):
        def readline(self, *_: Any) -> bytes:
            raise error

    async with asyncio.timeout(60):
        assert await lines(Failing()).get() is None


async def test_an_opening_for_which_there_is_no_room_leaves_nothing_behind() -> None:
    async with piped(max_running=1) as client:
        client.revision = "2025-11-25"
        assert (await client.ask(opening()))["result"]
        runtime = server.watchers[-1].__self__  # type: ignore[attr-defined]
        assert not len(runtime.listeners)
        assert (await client.ask(wire.legacy("ping")))["result"] == {}
