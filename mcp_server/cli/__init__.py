"""The command `mcp-server`: prints and exit codes, a verb a file."""

import rich_click as click

from mcp_server.cli.audit import audit
from mcp_server.cli.check import check
from mcp_server.cli.client_config import client_config
from mcp_server.cli.explain_token import explain_token
from mcp_server.cli.group import Group
from mcp_server.cli.revoke import revoke
from mcp_server.cli.scopes import scopes
from mcp_server.cli.serve import serve
from mcp_server.cli.stdio import stdio
from mcp_server.version import __version__


@click.group(cls=Group)
@click.version_option(__version__)
def main() -> None:
    """An MCP server over a REST API, protected by Keycloak."""


for verb in (serve, stdio, check, scopes, explain_token, client_config, revoke, audit):
    main.add_command(verb)
