"""Which resource an address names."""

import pytest

from mcp_server import McpServer
from mcp_server.engine.methods import resources


def server() -> McpServer:
    made = McpServer("s")

    @made.resource("config://{name}", scopes={"mcp:read"})
    async def any_config(name: str) -> str:
        return name

    @made.resource("config://admin", scopes={"mcp:admin"})
    async def admin() -> str:
        return "admin"

    @made.resource("file:///Secret/a%2fb", scopes={"mcp:admin"})
    async def escaped() -> str:
        return "escaped"

    @made.resource("file:///{+path}", scopes={"mcp:read"})
    async def files(path: str) -> str:
        return path

    return made


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("config://admin", "config://admin"),
        ("config://%61dmin", "config://admin"),
        ("config://ADMI%4E", "config://admin"),
        ("Config://admin", "config://admin"),
        ("config://admins", "config://{name}"),
        ("config://admin%00", None),
        ("config://{name}", None),
        ("file:///Secret/a%2Fb", "file:///Secret/a%2fb"),
        ("file:///%53ecret/a%2fb", "file:///Secret/a%2fb"),
        ("file:///secret/a%2fb", "file:///{+path}"),
        ("other://admin", None),
    ],
)
def test_a_fixed_resource_is_found_however_it_is_written(uri: str, named: str | None) -> None:
    found = resources.find(server(), uri)
    assert (found.resource.uri if found else None) == named
    assert found is None or found.uri == uri
