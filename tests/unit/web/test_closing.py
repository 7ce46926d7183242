"""While a server drains each of its answers ends its connection, whichever way it is sent."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mcp_server import Context, McpServer, ToolAnnotations, settings
from mcp_server.app import FastPathApp
from mcp_server.engine import supervisor
from mcp_server.web.outgoing.sending import LARGE
from tests.kit import wire
from tests.kit.deaf import CALL, Deaf, soon
from tests.kit.inside import Inside, caller, inside, post

server = McpServer("closing")
CLOSE = (b"connection", b"close")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def say(size: int, ctx: Context) -> str:
    """Speak where the client has a token for that, then answer."""
    await ctx.progress(1)
    return "x" * size


@server.tool()
async def leave() -> str:
    """The server is told to stop while this runs."""
    leaving[0].plugin.drain.draining = True
    return "left"


leaving: list[Inside] = []
BROWSER = {"origin": "http://localhost:8000"}
STREAM = {"accept": "text/event-stream"}
WAYS: dict[str, tuple[dict[str, Any], dict[str, str], bool]] = {
    "a result": ({"size": 1}, {}, True),
    "a refusal": ({"size": 1}, {}, False),
    "to a browser": ({"size": 1}, BROWSER, True),
    "a large one": ({"size": LARGE}, {}, True),
    "a large one to a browser": ({"size": LARGE}, BROWSER, True),
    "as a stream": ({"size": 1}, STREAM, True),
    "a call that speaks": ({"size": 1, "_meta": {"progressToken": 1}}, {}, True),
    "a call that speaks to a browser": ({"size": 1, "_meta": {"progressToken": 1}}, BROWSER, True),
}


def asked(name: str, **arguments: Any) -> tuple[dict[str, Any], dict[str, str]]:
    more = arguments.pop("_meta", {})
    body = wire.modern("tools/call", {"name": name, "arguments": arguments})
    body["params"]["_meta"] |= more
    return body, wire.headers("tools/call", name)


def heads(sent: list[dict[str, Any]]) -> list[list[tuple[bytes, bytes]]]:
    """The headers of the answer, and of the one answer there is."""
    return [list(one["headers"]) for one in sent if one["type"] == "http.response.start"]


@pytest.mark.parametrize("drains", [True, False])
@pytest.mark.parametrize("way", WAYS)
async def test_every_answer_of_the_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, *, drains: bool
) -> None:
    arguments, headers, known = WAYS[way]
    sent: list[dict[str, Any]] = []
    async with inside(server, tmp_path, monkeypatch) as served:
        served.plugin.drain.draining = drains
        served.who = caller({"mcp:read"}) if known else None
        body, named = asked("say", **arguments)
        await post(served.plugin, body, sent, **named, **headers)
    (head,) = heads(sent)
    assert head.count(CLOSE) == drains
    assert [value for name, value in head if name == b"access-control-allow-origin"] == [
        origin.encode() for origin in headers.values() if headers is BROWSER
    ]
    assert sent[-1]["type"] == "http.response.body"
    assert not sent[-1].get("more_body")


async def test_a_call_that_was_running_when_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    async with inside(server, tmp_path, monkeypatch) as served:
        leaving[:] = [served]
        served.who = caller({"mcp:read"})
        body, named = asked("leave")
        await post(served.plugin, body, sent, **named)
    (head,) = heads(sent)
    assert head.count(CLOSE) == 1


async def test_an_answer_for_a_handler_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf, sent = Deaf(), list[dict[str, Any]]()
    monkeypatch.setattr(supervisor, "GRACE_S", 0.001)
    async with soon(monkeypatch), inside(deaf.server, tmp_path, monkeypatch, call_timeout_s="0.01") as served:
        served.who, served.plugin.drain.draining = caller({"mcp:read"}), True
        body = wire.modern("tools/call", CALL)
        request = asyncio.create_task(post(served.plugin, body, sent, **wire.headers("tools/call", "deaf")))
        await deaf.begun.wait()
        for _ in range(3):  # it is answered for between the first two
            await deaf.cancelled.acquire()
        (head,) = heads(sent)
        assert head.count(CLOSE) == 1
        deaf.freed.set()
        await request
    assert len(heads(sent)) == 1


@pytest.mark.parametrize("drains", [True, False])
async def test_a_plain_route(tmp_path: Path, *, drains: bool) -> None:
    stated = {"MCP_ISSUER": "http://localhost:9/realms/mcp", "MCP_AUDIT_FILE": str(tmp_path / "audit.jsonl")}
    app, sent = FastPathApp(server, settings.load(stated)), list[dict[str, Any]]()
    app.plugin.drain.draining = drains

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    path = {"path": "/healthz", "raw_path": b"/healthz", "query_string": b"", "root_path": ""}
    scope = {
        "type": "http",
        "method": "GET",
        "http_version": "1.1",
        "scheme": "http",
        **path,
        "client": ("127.0.0.1", 5),
    }
    await app({**scope, "server": ("127.0.0.1", 8000), "headers": [(b"host", b"localhost:8000")]}, receive, send)
    (head,) = heads(sent)
    assert (sent[0]["status"], head.count(CLOSE)) == (200, drains)
