"""A call of an imported API, piece by piece: who calls, what a scripted API saw of it, what a model reads."""

import json
from pathlib import Path
from typing import Any

from msgspec import Raw

from mcp_server import Context, McpServer
from mcp_server.authoring.context import IncomingRequest
from mcp_server.identity import Credential
from mcp_server.protocol.types.content import TextContent
from tests.kit.calls import Channel
from tests.kit.contexts import context
from tests.kit.imports import Desk, document, get, imported, in_path
from tests.kit.principals import principal
from tests.kit.upstreams import Api, answers

ORDER = {"/orders/{id}": get("get_order", "orders:read", in_path("id")), "/orders/mine": get("mine", "orders:mine")}
WHO = principal(scopes=("mcp:read", "orders:read"))


def incoming(**headers: str) -> Channel:
    channel = Channel()
    channel.credential = Credential(b"s3cret-of-the-caller", WHO)
    channel.headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return channel


async def called(tmp_path: Path, upstream: Api, *, desk: Desk | None = None, spec: Any = None, channel: Any = None, server: McpServer | None = None, who: Any = WHO, order: str = "7", **table: Any) -> Any:  # fmt: skip
    file = tmp_path / "doc.json"
    file.write_bytes(spec or document(ORDER))
    server = server or McpServer("s")
    async with imported(server, file, f"http://127.0.0.1:{upstream.port}/v1", desk, **table):
        tool = server.tools["get_order"]
        made = context(incoming=channel or incoming(), who=who)
        return await tool.call(tool.decode(Raw(json.dumps({"id": order}).encode())), lambda: made)


class Handled:
    """A handler's context over a scripted API."""

    def __init__(self, tmp_path: Path, upstream: Api, desk: Desk, spec: bytes | None = None, **table: Any) -> None:
        self.file = tmp_path / "doc.json"
        self.file.write_bytes(spec or document(ORDER))
        self.server = McpServer("s")
        self.open = imported(self.server, self.file, f"http://127.0.0.1:{upstream.port}/v1", desk, **table)

    def context(self, who: Any = WHO, request: IncomingRequest | None = None) -> Context:
        return context(incoming=request or incoming(), upstreams=self.server.upstreams, who=who)


def sent(upstream: Api, place: int = -1) -> dict[str, str]:
    lines = upstream.seen[place].head.decode().split("\r\n")
    return {"asked": lines[0]} | {
        name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])
    }


OK = answers(200, b'{"id": 7}', content_type="application/json")


def text_of(result: Any) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


def lacking(scope: str) -> Any:
    return answers(403, b"{}", www_authenticate=f'Bearer error="insufficient_scope", scope="{scope}"')
