"""`module:server` on the command line → the `McpServer` it names."""

import importlib
import sys
from pathlib import Path

import rich_click as click

from mcp_server.engine.server import McpServer


def load(target: str) -> McpServer:
    """Import it, the working directory first; raises `click.ClickException` that says what is wrong."""
    module_name, _, attribute = target.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"no module {error.name!r}; expected module:server") from error
    server = getattr(module, attribute or "server", None)
    if not isinstance(server, McpServer):
        raise click.ClickException(f"{target}: no McpServer of that name in {module_name}")
    return server
