"""`mcp-server stdio`: the server on stdin and stdout, for desktop clients."""

import asyncio
import os
import sys
from typing import BinaryIO, Final

import rich_click as click

from mcp_server import settings
from mcp_server import stdio as shell
from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.binding.dpop import Proof
from mcp_server.auth.tokens.bearer import Credentials
from mcp_server.cli import target
from mcp_server.engine.dispatch import Dispatcher
from mcp_server.identity import Principal
from mcp_server.observe import log
from mcp_server.registry.server import McpServer
from mcp_server.settings import Settings, SettingsError

NO_ISSUER: Final = "http://localhost"
"""Stands where no token is given and so nobody's keys are needed."""


@click.command()
@click.argument("server")
def stdio(server: str) -> None:
    """Serve SERVER (module:server) on stdin and stdout; with MCP_ACCESS_TOKEN its scopes are enforced."""
    protocol = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a handler prints must not meet the protocol
    try:
        found = settings.load(defaults={"MCP_ISSUER": NO_ISSUER})
    except SettingsError as error:
        raise click.ClickException("\n".join(["the settings cannot be used:", *error.problems])) from error
    if found.access_token is not None and found.issuer[0].issuer == NO_ISSUER:
        raise click.ClickException("MCP_ACCESS_TOKEN needs MCP_ISSUER, whose keys it is judged by")
    log.set_up(found.log_format, found.log_level)
    loaded = target.load(server)
    with os.fdopen(protocol, "wb") as output:
        asyncio.run(_serve(loaded, found, output))


def _leave(output: BinaryIO) -> None:
    """End at once, for the client has (MCP stdio §Shutdown): Python would wait for threads, a handler's among them."""
    output.flush()
    os._exit(0)


async def _serve(server: McpServer, found: Settings, output: BinaryIO) -> None:
    dispatcher = Dispatcher(server, found.engine())
    principal = shell.desktop_user(server.declared_scopes(found.default_scopes))
    if found.access_token is not None:
        principal = await _principal(found.access_token.get_secret_value(), found, server)
    await shell.run(dispatcher, principal, output=output, call_timeout_s=found.call_timeout_s)
    _leave(output)


async def _principal(token: str, found: Settings, server: McpServer) -> Principal:
    """Whose token it is, judged once, at start."""
    authenticator = Authenticator(found.auth(server.implied_scopes()))
    await authenticator.start()
    try:
        outcome = await authenticator.authenticate(Credentials(token.encode()), Proof(None, "POST", found.resource))
    finally:
        await authenticator.stop()
    if not isinstance(outcome, Principal):
        raise click.ClickException("MCP_ACCESS_TOKEN is not accepted; mcp-server explain-token says why")
    return outcome
