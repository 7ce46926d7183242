"""A websocket to the endpoint: refused before it is open, in words and with a line, and not as if something had failed."""

from pathlib import Path
from typing import Any

import pytest

from mcp_server import McpServer
from tests.kit.inside import inside


@pytest.mark.parametrize(
    ("extensions", "sent"),
    [
        (None, [("websocket.close", 1008)]),
        ({}, [("websocket.close", 1008)]),
        (
            {"websocket.http.response": {}},
            [("websocket.http.response.start", 400), ("websocket.http.response.body", None)],
        ),
    ],
)
async def test_a_websocket_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extensions: Any, sent: list[tuple[str, int | None]]
) -> None:
    said: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    scope = {
        "type": "websocket",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "query_string": b"",
        "headers": [(b"host", b"evil")],
    }
    scope |= {"client": ("127.0.0.1", 5), "scheme": "ws", "extensions": extensions}
    async with inside(McpServer("s"), tmp_path, monkeypatch) as run:
        await run.plugin.endpoint(scope, receive, send)
        assert [(one["type"], one.get("code") or one.get("status")) for one in said] == sent
        (line,) = run.audited()
    assert (line["decision"], line["reason"], line["method"]) == ("deny", "no websocket here", "GET")
