"""The calls that targets answer, in both eras of the protocol: a tool of their own, or one of an imported API."""

import http.client
import json
from enum import StrEnum
from typing import Any, Final, NamedTuple

SECONDS: Final = 5.0


class Era(StrEnum):
    """Revisions up to 2025-11-25 are one era, those from 2026-07-28 the next."""

    LEGACY = "legacy"
    MODERN = "modern"


REVISION: Final = {Era.LEGACY: "2025-11-25", Era.MODERN: "2026-07-28"}


class Call(NamedTuple):
    """A tool, its arguments, and the member of its structured result by which a good answer is known."""

    tool: str
    arguments: dict[str, int]
    member: str
    value: object


ADD: Final = Call("add", {"a": 1, "b": 2}, "total", 3)
ORDER: Final = Call("get_order", {"order_id": 7, "limit": 5}, "item", "teapot")


class Reply(NamedTuple):
    """A status and the bytes that came with it."""

    status: int
    body: bytes


def head(era: Era, call: Call) -> dict[str, str]:
    """The request's headers but for the token."""
    headers = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": REVISION[era],
    }
    if era is Era.MODERN:
        headers |= {"Mcp-Method": "tools/call", "Mcp-Name": call.tool}
    return headers


def body(era: Era, call: Call) -> str:
    """The request's JSON."""
    params: dict[str, Any] = {"name": call.tool, "arguments": call.arguments}
    if era is Era.MODERN:
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": REVISION[era],
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


def post(port: int, era: Era, call: Call, token: str | None) -> Reply:
    """Send the call once; an unreachable server raises OSError."""
    headers = head(era, call) if token is None else head(era, call) | {"Authorization": f"Bearer {token}"}
    return _request(port, "POST", "/mcp", body(era, call), headers)


def get(port: int, path: str) -> Reply:
    """Fetch a page of the target, such as its readiness."""
    return _request(port, "GET", path, None, {})


def complaint(call: Call, reply: Reply) -> str | None:
    """Why the reply is not the call's result, or None when it is."""
    said = reply.body[:200].decode(errors="replace")
    if reply.status != 200:
        return f"status {reply.status}: {said}"
    try:
        found = json.loads(reply.body)["result"]["structuredContent"][call.member]
    except (ValueError, KeyError, TypeError):
        return f"no structured result: {said}"
    return None if found == call.value else f"{call.member} is not {found!r}"


def _request(port: int, method: str, path: str, data: str | None, headers: dict[str, str]) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        return Reply(response.status, response.read())
    except http.client.HTTPException as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()
