"""What the audit has: a line for each decision, whoever asked for whatever, and none that a stranger could wash away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from mcp_server import Context, McpServer
from mcp_server.observe.audit import beside
from mcp_server.protocol.types.tasks import EXTENSION
from tests.kit import wire
from tests.kit.stack import Stack, free_port, running_mcp, running_stack, until

server = McpServer("audited")
gates: dict[str, asyncio.Event] = {}
Line = dict[str, Any]


class Yes(msgspec.Struct):
    yes: bool


@server.tool(task="allowed")
async def work(name: str) -> str:
    """Wait for the gate."""
    await gates[name].wait()
    if name == "bad":
        raise RuntimeError("fails")
    return "worked"


@server.tool()
async def together(ctx: Context) -> str:
    """Ask from a group of tasks, whose error is no ordinary one."""
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.elicit("Sure?", Yes))
    return "never"


@server.tool()
async def ask(value: Any, ctx: Context) -> str:
    """Ask about anything."""
    return (await ctx.elicit("Sure?", Yes)).action


@server.tool(public=True)
async def hello() -> str:
    """Greet anybody."""
    return "hello"


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with running_stack(Path(tmp_path_factory.mktemp("audit")), server) as running:
        yield running


@pytest.fixture(scope="module")
async def token(stack: Stack) -> str:
    return await stack.token("alice")


class Since:
    """The lines that come after this was made."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._seen = stack, len(stack.audited())

    def lines(self) -> list[Line]:
        return self._stack.audited()[self._seen :]

    def said(self, *names: str) -> list[tuple[Any, ...]]:
        return [tuple(line.get(name, "") for name in names) for line in self.lines()]


async def modern(stack: Stack, token: str | None, method: str, params: dict[str, Any], can: Any = None) -> Any:
    message = wire.modern(method, params)
    message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = {"elicitation": {}} if can is None else can
    return await stack.post(message, token, **wire.headers(method, params.get("taskId") or params.get("name")))


async def test_a_guarded_route_leaves_a_line_whether_it_was_granted_or_not(stack: Stack) -> None:
    """D8: `/metrics` left none."""
    url = stack.resource.removesuffix("/mcp") + "/metrics"
    since = Since(stack)
    for credential in (None, "Bearer spoiled", f"Bearer {await stack.token('alice')}"):
        await stack.http.get(url, headers={} if credential is None else {"authorization": credential})
    carol = {"authorization": f"Bearer {await stack.token('carol', 'mcp:admin')}"}
    assert (await stack.http.get(url, headers=carol)).status_code == 200
    assert since.said("decision", "reason", "method", "route") == [
        ("deny", "no_credentials", "GET", "/metrics"),
        ("deny", "not_a_token", "GET", "/metrics"),
        ("deny", "insufficient_scope", "GET", "/metrics"),
        ("allow", "", "GET", "/metrics"),
    ]
    denied, granted = since.lines()[2:]
    assert denied["needed"] == granted["needed"] == ["mcp:admin"]
    assert denied["subject"] != granted["subject"]
    assert "mcp:admin" in granted["held"]
    assert all(line["request_id"] for line in since.lines())


async def test_a_task_leaves_lines_with_its_tool_until_it_has_run(stack: Stack, token: str) -> None:
    can: dict[str, Any] = {"extensions": {EXTENSION: {}}}
    since = Since(stack)
    for name in ("good", "bad", "gone"):
        gates[name] = asyncio.Event()
        call = {"name": "work", "arguments": {"name": name}}
        created = (await modern(stack, token, "tools/call", call, can)).json()["result"]
        task = {"taskId": created["taskId"]}
        await modern(stack, token, "tasks/update", {**task, "inputResponses": {}}, can)
        if name == "gone":
            await modern(stack, token, "tasks/cancel", task, can)
        gates[name].set()

        async def over(task: dict[str, str] = task) -> bool:
            shown = (await modern(stack, token, "tasks/get", task, can)).json()["result"]
            return bool(shown["status"] != "working")

        await until(over)
    found = since.said("method", "tool", "reason", "decision")
    assert found.count(("tools/call", "work", "", "allow")) == 3
    assert found.count(("tasks/update", "work", "", "allow")) == 3
    assert found.count(("tasks/cancel", "work", "", "allow")) == 1
    ended = [(reason, decision) for method, tool, reason, decision in found if (method, tool) == ("task", "work")]
    assert ended == [("task_completed", "allow"), ("task_failed", "allow"), ("task_cancelled", "allow")]
    assert {line["subject"] for line in since.lines()} == {since.lines()[0]["subject"]}
    unknown = Since(stack)
    await modern(stack, token, "tasks/get", {"taskId": "unknown"}, can)
    assert unknown.said("method", "tool", "reason") == [("tasks/get", "", "-32602")]


@pytest.mark.requirement("25.23")
async def test_all_that_is_said_in_a_session_leaves_a_line_and_never_the_sessions_id(stack: Stack, token: str) -> None:
    since = Since(stack)
    opened = await stack.post(wire.legacy("initialize", wire.INITIALIZE), token)
    session = {"mcp_session_id": opened.headers["mcp-session-id"]}
    said: list[Any] = [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}},
        {"jsonrpc": "2.0", "id": "q1", "result": {}},
    ]
    for message in said:
        assert (await stack.post(message, token, **session)).status_code == 202
    async with stack.open(None, token, **session) as (listening, _):
        assert listening.status_code == 200
        assert since.said("method")[-1] == ("GET",)
    fields = {"authorization": f"Bearer {token}", "mcp-session-id": session["mcp_session_id"]}
    assert (await stack.http.delete(stack.resource, headers=fields)).status_code == 204
    assert (await stack.http.delete(stack.resource, headers=fields)).status_code == 404
    assert since.said("decision", "method", "reason") == [
        ("allow", "initialize", ""),
        ("allow", "notifications/initialized", ""),
        ("allow", "notifications/cancelled", ""),
        ("allow", "response", ""),
        ("allow", "GET", ""),
        ("allow", "DELETE", ""),
        ("deny", "DELETE", "session not found"),
    ]
    assert all(line["subject"] for line in since.lines())
    assert session["mcp_session_id"] not in str(since.lines())


async def test_a_stream_that_is_listened_to_leaves_its_line_when_it_opens(stack: Stack, token: str) -> None:
    since = Since(stack)
    message = wire.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    async with stack.open(message, token, **wire.headers("subscriptions/listen")) as (listening, events):
        assert listening.status_code == 200
        await anext(events)
        assert since.said("method", "decision") == [("subscriptions/listen", "allow")]
    assert since.said("method", "decision") == [("subscriptions/listen", "allow")]


async def test_each_message_of_a_batch_leaves_a_line(stack: Stack, token: str) -> None:
    since = Since(stack)
    batch = [
        wire.legacy("ping"),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        wire.legacy("nothing", request_id=2),
        {"jsonrpc": "2.0", "id": 3},
    ]
    assert (await stack.post(batch, token, mcp_protocol_version="2025-03-26")).status_code == 200
    assert since.said("decision", "method", "reason") == [
        ("allow", "ping", ""),
        ("allow", "notifications/initialized", ""),
        ("deny", "nothing", "-32601"),
        ("deny", "", "-32600"),
    ]


@pytest.mark.requirement("25.23")
@pytest.mark.parametrize(
    ("method", "headers", "body", "status", "line"),
    [
        ("OPTIONS", {}, b"", 204, ("allow", "OPTIONS", "")),
        ("PUT", {}, b"", 405, ("deny", "PUT", "method not allowed")),
        ("POST", {"host": "evil.example"}, b"{}", 403, ("deny", "POST", "host not allowed")),
        ("POST", {"host": "a@localhost"}, b"{}", 400, ("deny", "POST", "host is missing or malformed")),
        ("POST", {"content-encoding": "gzip"}, b"{}", 415, ("deny", "POST", "content-encoding is not supported")),
        ("POST", {"content-type": "text/plain"}, b"{}", 415, ("deny", "POST", "content-type must be application/json")),
        ("POST", {}, b"{", 400, ("deny", "POST", "-32700")),
        ("POST", {}, b"\xff", 400, ("deny", "POST", "-32700")),
        ("POST", {}, b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}', 400, ("deny", "POST", "-32700")),
        ("POST", {}, b"[" * 100_000, 400, ("deny", "POST", "-32600")),
        ("POST", {"mcp-protocol-version": "1900-01-01"}, b"[]", 400, ("deny", "POST", "-32022")),
        ("POST", {"mcp-session-id": "none"}, b'{"jsonrpc":"2.0","id":1,"method":"ping"}', 404, None),
        ("GET", {}, b"", 405, ("deny", "GET", "no stream here")),
        ("GET", {"mcp-protocol-version": "1900-01-01"}, b"", 400, ("deny", "GET", "-32022")),
        ("DELETE", {}, b"", 400, ("deny", "DELETE", "Mcp-Session-Id is missing")),
    ],
)
async def test_whatever_is_refused_leaves_one_line(
    stack: Stack, token: str, method: str, headers: dict[str, str], body: bytes, status: int, line: Any
) -> None:
    since = Since(stack)
    fields = {"authorization": f"Bearer {token}", "content-type": "application/json", **headers}
    answer = await stack.http.request(method, stack.resource, content=body, headers=fields)
    assert answer.status_code == status
    assert since.said("decision", "method", "reason") == [line or ("deny", "POST", "session not found")]
    assert status != 415 or "gzip" not in headers.values() or answer.headers["accept-encoding"] == "identity"


async def test_a_call_that_ends_as_nobody_foresaw_leaves_its_line_and_is_counted(
    stack: Stack, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D7, house fault 18: neither audited nor counted."""

    async def fails(*_: object) -> None:
        raise LookupError

    since = Since(stack)
    monkeypatch.setattr(stack.plugin.runtime.invoker, "run", fails)
    await modern(stack, token, "tools/call", {"name": "together", "arguments": {}})
    assert since.said("method", "tool", "reason") == [("tools/call", "together", "failed")]
    carol = {"authorization": f"Bearer {await stack.token('carol', 'mcp:admin')}"}
    counters = (await stack.http.get(stack.resource.removesuffix("/mcp") + "/metrics", headers=carol)).text
    assert 'mcp_calls_total{method="tools/call",outcome="failed",tool="together"} 1.0' in counters


async def test_no_depth_of_arguments_beside_a_state_is_unforeseen(stack: Stack, token: str, log_file: Any) -> None:
    """D7: at one depth of some 960 the decoder of the arguments went through and that of their digest did not."""
    template = wire.modern("tools/call", {"name": "ask", "arguments": {"value": "?"}, "requestState": "abc"})
    template["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = {"elicitation": {}}
    without = {**template, "params": {k: v for k, v in template["params"].items() if k != "requestState"}}
    before = Path(log_file.name).read_text().count("Traceback")  # noqa: ASYNC240 - a small file
    for depth in range(900, 1010, 2):
        nested = b"[" * depth + b"]" * depth
        for message in (template, without):
            body = msgspec.json.encode(message).replace(b'"?"', nested)
            answer = await stack.post(body, token, **wire.headers("tools/call", "ask"))
            said = answer.json()
            assert answer.status_code in (200, 400)
            assert "failed" not in answer.text
            assert "resultType" in said.get("result", {}) or said["error"]["code"] in (-32600, -32602), said
    assert Path(log_file.name).read_text().count("Traceback") == before  # noqa: ASYNC240 - a small file


ODD: dict[str, dict[str, Any]] = {
    "completion/complete": {"ref": "?", "argument": {"name": "a", "value": "b"}},
    "resources/read": {"uri": "?"},
    "prompts/get": {"name": "x", "arguments": "?"},
    "tasks/update": {"taskId": "x", "inputResponses": {"a": "?"}},
    "subscriptions/listen": {"notifications": "?"},
    "tools/list": {"cursor": "?"},
    "tools/call": {"name": "ask", "arguments": {"value": 1}, "inputResponses": {"q1": "?"}},
    "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"x": "?"}, "clientInfo": {}},
    "logging/setLevel": {"level": "?"},
    "notifications/cancelled": {"requestId": "?"},
}


@pytest.mark.parametrize("method", ODD)
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_no_depth_of_any_parameter_is_unforeseen(stack: Stack, token: str, method: str, era: str) -> None:
    opened = await stack.post(wire.legacy("initialize", wire.INITIALIZE), token)
    session = {"mcp_session_id": opened.headers["mcp-session-id"]}
    message = wire.modern(method, ODD[method]) if era == "modern" else wire.legacy(method, ODD[method])
    headers = wire.headers(method, "x") if era == "modern" else session
    depths, since = [*range(880, 1010, 5), 100_000], Since(stack)
    for depth in depths:
        body = msgspec.json.encode(message).replace(b'"?"', b"[" * depth + b"]" * depth)
        assert (await stack.post(body, token, **headers)).status_code < 500
    assert len(since.lines()) == len(depths)


async def test_strangers_have_a_file_of_their_own_served_or_not(stack: Stack, token: str) -> None:
    before = len(stack.audit.read_bytes())
    assert (await modern(stack, None, "tools/call", {"name": "hello", "arguments": {}})).status_code == 200
    assert (await modern(stack, None, "tools/call", {"name": "work", "arguments": {}})).status_code == 401
    assert (await modern(stack, "spoiled", "tools/call", {"name": "hello", "arguments": {}})).status_code >= 400
    stack.audited()
    assert len(stack.audit.read_bytes()) == before
    lines = [msgspec.json.decode(line) for line in beside(stack.audit).read_bytes().splitlines()]
    assert [line["decision"] for line in lines[-3:]] == ["allow", "deny", "deny"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize(("on_fail", "status", "ready"), [("drop", 200, 200), ("refuse", 503, 503)])
async def test_while_lines_cannot_be_written_it_is_known_and_calls_go_on_or_do_not(
    tmp_path: Path, on_fail: str, status: int, ready: int
) -> None:
    """C6: a full disk lost them without a word."""
    async with running_stack(tmp_path, server, audit_file="/dev/full", audit_on_fail=on_fail) as stack:
        token = await stack.token("alice")
        assert (await stack.post(wire.legacy("ping"), token)).status_code == 200
        stack.plugin._audit.flush()
        answer = await stack.post(wire.legacy("ping"), token)
        assert answer.status_code == status
        assert status == 200 or answer.headers["retry-after"]
        said = await stack.http.get(stack.resource.removesuffix("/mcp") + "/readyz")
        assert said.status_code == ready
        assert (said.json()["audit"], said.json()["status"]) == ("failing", "degraded" if ready == 200 else "down")
        assert (await stack.http.get(stack.resource.removesuffix("/mcp") + "/healthz")).status_code == 200


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
async def test_an_audit_that_fails_makes_no_server_ready_that_cannot_judge(tmp_path: Path) -> None:
    resource = f"http://localhost:{free_port()}/mcp"
    nowhere = f"http://localhost:{free_port()}/realms/x"
    async with running_mcp(tmp_path, nowhere, resource, server, ready=False, audit_file="/dev/full") as running:
        await running.post(wire.legacy("ping"))
        running.plugin._audit.flush()
        said = await running.http.get(resource.removesuffix("/mcp") + "/readyz")
        assert (said.status_code, said.json()["status"], said.json()["audit"]) == (503, "down", "failing")


async def raw(stack: Stack, request: str) -> tuple[int, str]:
    """The status and the answer to bytes sent as they are, on a connection of their own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(stack.resource).port)
    writer.write(request.replace("\n", "\r\n").encode())
    async with asyncio.timeout(60):
        answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1]), answer


METADATA = "/.well-known/oauth-protected-resource/mcp"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /healthz HTTP/1.1\nhost: 10.1.2.3:8000", 200),
        ("GET /healthz HTTP/1.0", 200),
        ("GET /healthz HTTP/1.1", 400),
        ("GET /healthz HTTP/1.1\nhost: localhost\nhost: localhost", 400),
        ("GET /metrics HTTP/1.1\nhost: localhost:1@evil.example", 400),
        ("GET /metrics HTTP/1.1\nhost: 10.1.2.3:8000", 401),
        (f"GET {METADATA} HTTP/1.1\nhost: localhost", 200),
        (f"GET {METADATA} HTTP/1.1\nhost: localhost\norigin: https://app.example", 200),
        (f"GET {METADATA} HTTP/1.1\nhost: evil.example", 403),
        (f"GET {METADATA} HTTP/1.0", 400),
        (f"GET {METADATA}/ HTTP/1.1\nhost: evil.example", 403),
        ("GET /mcp HTTP/1.1\nhost: localhost\nhost: evil.example", 400),
        ("GET /mcp HTTP/1.1\nhost: evil.example\nhost: localhost", 400),
        ("GET /mcp HTTP/1.1\nhost: localhost\norigin: http://evil.example\norigin: http://localhost", 400),
        ("GET http://evil.example/mcp HTTP/1.1", 403),
        ("GET http://localhost:1@evil.example/mcp HTTP/1.1", 400),
        ("GET http://localhost/mcp HTTP/1.1", 405),
    ],
)
@pytest.mark.requirement("2.2")
async def test_a_host_is_judged_on_every_route_as_bytes_bring_it(stack: Stack, head: str, status: int) -> None:
    """D9: of two the last counted; what is refused leaves its line wherever it was asked for."""
    since = Since(stack)
    found, _ = await raw(stack, f"{head}\nconnection: close\n\n")
    assert found == status
    if status in (400, 403):
        assert [line["decision"] for line in since.lines()] == ["deny"]
