"""`mcp-server client-config`: what a client's user pastes to reach this server."""

import shlex
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import rich_click as click

from mcp_server import settings
from mcp_server.settings import SettingsError

CALLBACK_PORT: Final = 33418
"""Where a pre-registered Claude Code waits for its redirect; the realm allows any port of loopback."""


class Asked(NamedTuple):
    """The server's address, the name a client shall call it by, and a pre-registered client id, if any."""

    url: str
    name: str
    client_id: str | None


class Configuration(NamedTuple):
    """What to paste and where."""

    place: str
    text: str


def _claude(asked: Asked) -> Configuration:
    words = ["claude", "mcp", "add", "--transport", "http"]
    if asked.client_id is not None:
        words += ["--client-id", asked.client_id, "--callback-port", str(CALLBACK_PORT)]
    return Configuration("a shell, then /mcp in a session", shlex.join([*words, asked.name, asked.url]))


def _vscode(asked: Asked) -> Configuration:
    entry: dict[str, Any] = {"type": "http", "url": asked.url}
    if asked.client_id is not None:
        entry["oauth"] = {"clientId": asked.client_id}
    return Configuration(".vscode/mcp.json", _json({"servers": {asked.name: entry}}))


def _cursor(asked: Asked) -> Configuration:
    entry: dict[str, Any] = {"url": asked.url}
    if asked.client_id is not None:
        entry["auth"] = {"CLIENT_ID": asked.client_id}
    return Configuration(".cursor/mcp.json or ~/.cursor/mcp.json", _json({"mcpServers": {asked.name: entry}}))


def _codex(asked: Asked) -> Configuration:
    add = ["codex", "mcp", "add", asked.name, "--url", asked.url]
    if asked.client_id is not None:
        add += ["--oauth-client-id", asked.client_id]
    return Configuration("a shell", "\n".join(map(shlex.join, (add, ["codex", "mcp", "login", asked.name]))))


CLIENTS: Final[dict[str, Callable[[Asked], Configuration]]] = {
    "claude": _claude,
    "vscode": _vscode,
    "cursor": _cursor,
    "codex": _codex,
}


@click.command("client-config")
@click.argument("client", type=click.Choice(list(CLIENTS)))
@click.option("--url", help="The endpoint's address; MCP_RESOURCE by default.")
@click.option("--name", default="mcp", show_default=True, help="What the client shall call the server.")
@click.option("--client-id", help="A client id of the issuer; without one the client registers by itself.")
def client_config(client: str, url: str | None, name: str, client_id: str | None) -> None:
    """Print what makes CLIENT use this server: what to paste on stdout, and on stderr where."""
    found = CLIENTS[client](Asked(url or _resource(), name, client_id))
    click.echo(f"# {found.place}", err=True)
    click.echo(found.text)


def _resource() -> str:
    try:
        return settings.load().resource
    except SettingsError as error:
        raise click.ClickException("\n".join(["give --url, or settings that can be used:", *error.problems])) from error


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()
