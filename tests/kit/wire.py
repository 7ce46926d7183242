"""Messages as they stand on the wire."""

from typing import Any

MODERN = "2026-07-28"
PREFIX = "io.modelcontextprotocol/"


def legacy(method: str, params: dict[str, Any] | None = None, request_id: Any = 1) -> dict[str, Any]:
    """A request of the legacy eras."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, "method": method}
    return message if params is None else message | {"params": params}


def modern(
    method: str, params: dict[str, Any] | None = None, request_id: Any = 1, version: str = MODERN
) -> dict[str, Any]:
    """A request of the modern era, its envelope whole."""
    meta = {f"{PREFIX}protocolVersion": version, f"{PREFIX}clientCapabilities": {}}
    return legacy(method, {**(params or {}), "_meta": meta}, request_id)


def headers(method: str, name: str | None = None, version: str = MODERN) -> dict[str, str]:
    """The headers that go with `modern`."""
    found = {"mcp_protocol_version": version, "mcp_method": method}
    return found | ({"mcp_name": name} if name else {})


INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
