"""The commands over an API that is configured: what would be served, what a call would send, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mcp_server.cli import main
from tests.kit.imports import document, get, in_path

ENVIRONMENT = {
    "MCP_ISSUER": "https://login.test/realms/x",
    "MCP_RESOURCE": "https://mcp.test/mcp",
    "MCP_UPSTREAM_URL": "https://api.test/v1",
    "MCP_UPSTREAM_AUDIENCE": "orders-api",
    "MCP_CLIENT_SECRET": "s3cret-of-this-server-alone",
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders.json").write_bytes(
        document({"/orders": get("list_orders", "orders:read"), "/orders/{id}": get("get_order", "", in_path("id"))})
    )

    def invoke(*arguments: str, **more: str | None) -> Any:
        named = {f"MCP_{name.upper()}": value for name, value in more.items()}
        return CliRunner().invoke(main, arguments, env={**ENVIRONMENT, "MCP_OPENAPI": "orders.json", **named})

    return invoke


def test_check_says_what_would_be_served(run: Any) -> None:
    done = run("check")
    assert done.exit_code == 0, done.output
    assert "orders: 2 operations, 2 tools, 0 not selected, 0 refused; ≈" in done.output
    assert "scopes list_orders: orders:read" in done.output
    assert "scopes get_order: the default scopes" in done.output


def test_check_shows_a_request_and_sends_nothing(run: Any) -> None:
    done = run("check", "--request", "get_order", '{"id": "a b"}')
    assert done.exit_code == 0, done.output
    assert "GET https://api.test/v1/orders/a%20b" in done.output
    assert "authorization" not in done.output
    for name, arguments, text in (
        ("nothing", "{}", "no imported tool 'nothing'"),
        ("get_order", "[", "no JSON object"),
        ("get_order", "{}", "id"),
    ):
        done = run("check", "--request", name, arguments)
        assert done.exit_code == 1
        assert text in done.output
    assert "no API is configured" in run("check", "--request", "x", "{}", openapi=None, upstream_url=None).output


def test_scopes_lists_imported_tools_and_what_the_list_costs(run: Any) -> None:
    done = run("scopes")
    assert done.exit_code == 0, done.output
    assert "list_orders  orders:read" in done.output
    assert "the list of tools is ≈" in done.output
    listed = json.loads(run("scopes", "--format", "json").stdout)
    assert listed["tools"] == {"get_order": ["mcp:read"], "list_orders": ["orders:read"]}


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"openapi": "nothing.json"}, "the API nothing cannot be imported"),
        ({"upstream_audience": None}, "MCP_UPSTREAM_AUDIENCE"),
        ({"client_secret": None}, "MCP_CLIENT_SECRET"),
        ({"upstream_url": None}, "MCP_UPSTREAM_URL"),
        ({"config": "nothing.toml"}, "No such file"),
        ({"openapi": None, "upstream_url": None}, "nothing to serve"),
    ],
)
def test_what_cannot_be_served_is_said_before_there_are_workers(run: Any, more: Any, text: str) -> None:
    done = run("serve", **more)
    assert done.exit_code == 1
    assert text in " ".join(done.output.replace("│", " ").split())
