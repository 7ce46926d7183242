"""What an application tells of its settings when it starts."""

from pathlib import Path

import pytest
from loguru import logger

from mcp_server import McpServer, create_app, settings


@pytest.mark.parametrize(
    ("named", "told"),
    [("mcp:read mcp:wirte mcp:x", "['mcp:wirte', 'mcp:x']"), ("mcp:read", None), ("mcp:write", None), ("", None)],
)
async def test_a_scope_that_clients_are_told_and_no_tool_needs_is_in_the_log(
    named: str, told: str | None, tmp_path: Path
) -> None:
    server = McpServer("s")

    @server.tool(scopes={"mcp:write"})
    async def write() -> None: ...

    @server.tool
    async def read() -> None: ...

    given = {"MCP_ISSUER": "http://localhost:1", "MCP_AUDIT_FILE": str(tmp_path / "audit.jsonl")}
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), format="{message} {extra}", level="WARNING")
    try:
        async with create_app(server, settings.load({**given, "MCP_CHALLENGE_SCOPES": named})).lifespan():
            pass
    finally:
        logger.remove(sink)
    about = [line for line in lines if "MCP_CHALLENGE_SCOPES" in line]
    assert len(about) == (told is not None)
    assert all(str(told) in line for line in about)
