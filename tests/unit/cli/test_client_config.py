"""`client-config`: what it prints is what the product's own parser takes, and what cannot be is refused."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types here

from mcp_server.cli.clients import CLIENTS
from tests.unit.cli.test_commands import DEMO, run

URL = "https://mcp.example.com/mcp"
SETTINGS = {"MCP_ISSUER": "https://kc.example/realms/mcp", "MCP_RESOURCE": URL}
SCOPES = ["mcp:admin", "mcp:read", "mcp:write"]


def words(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines()]


def under(key: str, **entry: Any) -> dict[str, Any]:
    return {key: {"orders": entry}}


OAUTH = {"clientId": "mcp-public"}
PRINTED: dict[str, tuple[Callable[[str], Any], Any, Any]] = {
    "claude": (
        words,
        [["claude", "mcp", "add", "--transport", "http", "orders", URL], ["claude", "mcp", "login", "orders"]],
        [
            [
                *("claude", "mcp", "add", "--transport", "http", "--client-id", "mcp-public"),
                *("--callback-port", "8733", "orders", URL),
            ],
            ["claude", "mcp", "login", "orders"],
        ],
    ),
    "codex": (
        words,
        [["codex", "mcp", "add", "orders", "--url", URL]],
        [["codex", "mcp", "add", "orders", "--url", URL, "--oauth-client-id", "mcp-public"]],
    ),
    "vscode": (
        json.loads,
        under("servers", type="http", url=URL),
        under("servers", type="http", url=URL, oauth=OAUTH),
    ),
    "cursor": (
        json.loads,
        under("mcpServers", url=URL),
        under("mcpServers", url=URL, auth={"CLIENT_ID": "mcp-public"}),
    ),
    "gemini": (
        json.loads,
        under("mcpServers", httpUrl=URL),
        under("mcpServers", httpUrl=URL, oauth={"enabled": True, **OAUTH, "scopes": SCOPES}),
    ),
    "copilot": (
        json.loads,
        under("mcpServers", type="http", url=URL, tools=["*"]),
        under("mcpServers", type="http", url=URL, tools=["*"], oauthClientId="mcp-public", oauthPublicClient=True),
    ),
    "opencode": (
        json.loads,
        under("mcp", type="remote", url=URL),
        under("mcp", type="remote", url=URL, oauth=OAUTH),
    ),
    "windsurf": (json.loads, under("mcpServers", serverUrl=URL), None),
    "zed": (json.loads, under("context_servers", url=URL), None),
    "cline": (json.loads, under("mcpServers", type="streamableHttp", url=URL), None),
    "librechat": (
        yaml.safe_load,
        under("mcpServers", type="streamable-http", url=URL),
        under(
            "mcpServers",
            type="streamable-http",
            url=URL,
            oauth={
                "client_id": "mcp-public",
                "authorization_url": "https://kc.example/realms/mcp/protocol/openid-connect/auth",
                "token_url": "https://kc.example/realms/mcp/protocol/openid-connect/token",
                "scope": "mcp:admin mcp:read mcp:write",
            },
        ),
    ),
    "open-webui": (
        json.loads,
        [
            {
                "type": "mcp",
                "url": URL,
                "path": "",
                "auth_type": "oauth_2.1",
                "key": "",
                "config": {"enable": True},
                "info": {"id": "orders", "name": "orders", "description": ""},
            }
        ],
        None,
    ),
}


def test_every_product_that_is_offered_is_held_here() -> None:
    assert set(PRINTED) == set(CLIENTS)
    assert len(CLIENTS) == 12


@pytest.mark.parametrize("client", PRINTED)
def test_what_is_printed_is_read_by_the_products_own_syntax(client: str) -> None:
    parse, plain, registered = PRINTED[client]
    for more, wanted in (((), plain), (("--client-id", "mcp-public"), registered)):
        found = run("client-config", client, "--name", "orders", "--server", DEMO, *more, **SETTINGS)
        if wanted is None:
            assert (found.exit_code, found.stdout) == (2, "")
            assert client in found.stderr
            continue
        assert found.exit_code == 0, found.output
        assert found.stderr.startswith("# ")
        assert parse(found.stdout) == wanted
        assert "{" not in found.stderr


def test_a_port_of_another_product_is_not_taken() -> None:
    found = run("client-config", "claude", "--url", URL, "--client-id", "mcp-public")
    assert "33418" not in found.stdout


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ("zed", "metadata document"),
        ("librechat", "devstack realm apply --allow librechat=HOST/shop"),
        ("librechat", "https://HOST/api/mcp/shop/oauth/callback"),
        ("librechat", "--client-id mcp-public"),
        ("librechat", "--no-documents"),
        ("open-webui", "--no-documents"),
        ("open-webui", "no client id without a secret"),
        ("open-webui", "devstack realm apply --allow open-webui=HOST/shop"),
        ("open-webui", "https://HOST/oauth/clients/mcp:shop/callback"),
        ("windsurf", "registers by itself"),
        ("cline", "registers by itself"),
    ],
)
def test_what_a_product_cannot_do_is_said(client: str, said: str) -> None:
    assert said in run("client-config", client, "--url", URL, "--name", "shop").stderr


@pytest.mark.parametrize(
    "name", ["my server", "", "a;b", "ä", "a" * 65, "a.b", "$(id)", "{url}", "a\n", "--help", "-s", "_"]
)
def test_a_name_that_clients_refuse_is_refused_here(name: str) -> None:
    for client in CLIENTS:
        found = run("client-config", client, "--url", URL, f"--name={name}")
        assert (found.exit_code, found.stdout) == (2, "")
        assert "letters, digits, - and _" in " ".join(re.sub(r"[│╭╮╰╯─]", " ", found.stderr).split())


@pytest.mark.parametrize(
    "url",
    [
        *("mcp.example.com/mcp", "ftp://mcp.example.com/mcp", "https:///mcp", "https://u:p@mcp.example.com/mcp"),
        *(f"{URL}#part", f"{URL} x", f"{URL}\n", f'{URL}"', f"{URL}{{name}}", "https://ä.example/mcp", "javascript:x"),
        *("https://mcp.example.com:port/mcp", "https://[::1/mcp"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    found = run("client-config", "vscode", "--url", url)
    assert (found.exit_code, found.stdout) == (2, "")


@pytest.mark.parametrize("client_id", ["", "a b", "a\nb", "ä", "a" * 256, "--help"])
def test_a_client_id_that_is_none_is_refused(client_id: str) -> None:
    found = run("client-config", "vscode", "--url", URL, f"--client-id={client_id}")
    assert (found.exit_code, found.stdout) == (2, "")


@pytest.mark.parametrize("name", ["null", "123", "yes", "1e3", "0x10", "true", "2026-11-26"])
def test_a_name_stays_a_text_in_yaml_and_json(name: str) -> None:
    for client in CLIENTS:
        parse, plain, _ = PRINTED[client]
        if isinstance(plain, dict):
            printed = run("client-config", client, "--url", URL, "--name", name).stdout
            (found,) = parse(printed).values()
            assert list(found) == [name]


@pytest.mark.parametrize(
    ("more", "environment"), [(("--server", DEMO, "--url", URL), {}), ((), SETTINGS)], ids=["no issuer", "no scopes"]
)
def test_a_client_id_that_goes_with_the_issuers_endpoints_asks_for_them(
    more: tuple[str, ...], environment: dict[str, str]
) -> None:
    """Without its scopes named LibreChat asks for none, and Keycloak's token is for nobody."""
    found = run("client-config", "librechat", "--client-id", "mcp-public", *more, **environment)
    assert (found.exit_code, found.stdout) == (2, "")
    assert "MCP_ISSUER" in found.stderr


def test_the_help_names_the_argument_and_the_products() -> None:
    told = run("client-config", "--help").output
    assert "[OPTIONS] CLIENT" in told
    assert all(client in told for client in CLIENTS)


def test_words_of_a_shell_are_quoted() -> None:
    found = run("client-config", "codex", "--url", "https://mcp.example.com/mcp?a=1&b=$HOME;ls")
    assert "&" in found.stdout
    assert words(found.stdout)[0][-1] == "https://mcp.example.com/mcp?a=1&b=$HOME;ls"


def _gemini_scopes(*more: str, **environment: str) -> Any:
    found = run("client-config", "gemini", "--name", "orders", "--client-id", "mcp-public", *more, **environment)
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)["mcpServers"]["orders"]["oauth"].get("scopes")


def test_scopes_are_the_servers_own_and_never_offline_access() -> None:
    told = json.loads(run("scopes", DEMO, "--format", "json").stdout)["tools"]
    assert _gemini_scopes("--url", URL, "--server", DEMO) == sorted({one for needed in told.values() for one in needed})
    assert _gemini_scopes("--server", DEMO, **SETTINGS, MCP_CHALLENGE_SCOPES="mcp:read") == ["mcp:read"]
    assert _gemini_scopes(**SETTINGS, MCP_CHALLENGE_SCOPES="mcp:write mcp:read") == ["mcp:read", "mcp:write"]
    assert _gemini_scopes("--url", URL) is None


def test_scopes_of_what_names_none_are_the_settings_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_of_defaults.py").write_text(
        "from mcp_server import McpServer\nserver = McpServer('shop', version='1')\n"
        "@server.tool()\nasync def look() -> str:\n    'Look.'\n    return ''\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = ("--server", "shop_of_defaults:server")
    assert _gemini_scopes("--url", URL, *asked) == ["mcp:read"]
    assert _gemini_scopes(*asked, **SETTINGS, MCP_DEFAULT_SCOPES="shop:look") == ["shop:look"]
