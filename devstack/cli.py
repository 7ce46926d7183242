"""The command `devstack`: the surroundings of a developer, up in one command."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import rich_click as click

from devstack.login import LoginFailed, fetch_token
from devstack.processes import PortInUse, Stack, require_free
from devstack.realm.commands import realm
from devstack.realm.model import ISSUER, RESOURCE

READY_S: Final = 60.0
AUDIT: Final = Path(".devstack/audit.jsonl")
DEMO: Final = "devstack.demo.orders:server"
IMPLIES: Final = '{"mcp:admin": ["mcp:write"], "mcp:write": ["mcp:read"]}'


@click.group()
def main() -> None:
    """Surroundings for development: an authorization server and the demo, on this machine alone."""


@main.command()
@click.option("--reload", is_flag=True, help="Restart the MCP server when a source file changes.")
@click.option("--issuer", default=ISSUER, show_default=True)
@click.option("--resource", default=RESOURCE, show_default=True)
def up(*, reload: bool, issuer: str, resource: str) -> None:
    """Start the authorization server and the demo MCP server; Ctrl-C stops both."""
    stack = Stack()
    former = {ending: signal.signal(ending, _interrupt) for ending in (signal.SIGINT, signal.SIGTERM)}
    try:
        require_free(issuer, "the authorization server")
        require_free(resource, "the MCP server")
        stack.start("authorization server", ["-m", "devstack.authserver"], _issuer_environment(issuer, resource))
        command = ["-m", "mcp_server", "serve", DEMO, *(["--reload"] if reload else [])]
        stack.start("MCP server", command, _server_environment(issuer, resource))
        stack.wait_ready([f"{_origin(issuer)}/healthz", f"{_origin(resource)}/readyz"], READY_S)
        click.echo(_welcome(issuer, resource))
        while (ended := stack.ended()) is None:
            stack.watch(0.5)
        raise click.ClickException(f"the {ended} ended")
    except (PortInUse, TimeoutError, ChildProcessError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("stopped")
    finally:
        stack.stop()
        for ending, handler in former.items():
            signal.signal(ending, handler)


@main.command()
@click.argument("user")
@click.option("--scope", default="mcp:read", show_default=True)
@click.option("--issuer", default=ISSUER, show_default=True)
@click.option("--resource", default=RESOURCE, show_default=True)
def token(user: str, scope: str, issuer: str, resource: str) -> None:
    """Print an access token of USER (alice, bob, carol), got by a real login."""
    try:
        click.echo(fetch_token(issuer, user, f"openid {scope}", resource)["access_token"])
    except httpx.ConnectError as error:
        raise click.ClickException(f"nothing answers at {issuer}: run 'devstack up' first") from error
    except LoginFailed as error:
        raise click.ClickException(str(error)) from error


@main.command("rotate-keys")
@click.option("--drop-old", is_flag=True, help="Stop publishing the former keys at once.")
@click.option("--issuer", default=ISSUER, show_default=True)
def rotate_keys(*, drop_old: bool, issuer: str) -> None:
    """Make the embedded authorization server sign with new keys."""
    try:
        answer = httpx.post(f"{_origin(issuer)}/_dev/rotate-keys", params={"drop_old": drop_old}, trust_env=False)
    except httpx.ConnectError as error:
        raise click.ClickException(f"nothing answers at {issuer}: run 'devstack up' first") from error
    click.echo("\n".join(answer.json()["kids"]))


main.add_command(realm)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _issuer_environment(issuer: str, resource: str) -> dict[str, str]:
    return {"DEVSTACK_ISSUER": issuer, "DEVSTACK_RESOURCE": resource}


def _server_environment(issuer: str, resource: str) -> dict[str, str]:
    pretty = {"MCP_LOG_FORMAT": "pretty"} if sys.stderr.isatty() else {}
    return {
        "MCP_ISSUER": issuer,
        "MCP_RESOURCE": resource,
        "MCP_PORT": str(urlsplit(resource).port),
        "MCP_SCOPE_IMPLIES": IMPLIES,
        "MCP_AUDIT_FILE": str(AUDIT),
        **pretty,
    }


def _welcome(issuer: str, resource: str) -> str:
    call = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders","arguments":{}}}'
    client: dict[str, Any] = {"mcpServers": {"orders": {"type": "http", "url": resource}}}
    configuration = str(client).replace("'", '"')
    return f"""
  MCP endpoint   {resource}
  issuer         {issuer}   (for development only: loopback, nothing is kept)
  users          alice (may read), bob (may write), carol (admin); the password is the name
  audit          {AUDIT}

  Call a tool:
    curl -s {resource} -H "Authorization: Bearer $(.venv/bin/devstack token alice)" \\
      -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' -d '{call}'

  Give it to a client (it finds the login by itself):
    {configuration}

  Ctrl-C stops everything.
"""
