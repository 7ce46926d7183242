"""`module:server` on the command line → the `McpServer` it names."""

import importlib
import sys
import traceback
from pathlib import Path

import rich_click as click

from mcp_server.registry.server import McpServer


def load(target: str) -> McpServer:
    """Import it, the working directory first; raises `click.ClickException` that says what is wrong."""
    module_name, _, attribute = target.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"no module {error.name!r}; expected module:server") from error
    except (TypeError, ValueError) as error:
        if (place := _place(error)) is None:
            raise
        raise click.ClickException(f"{place}: {error}") from error
    server = getattr(module, attribute or "server", None)
    if not isinstance(server, McpServer):
        raise click.ClickException(f"{target}: no McpServer of that name in {module_name}")
    return server


def _place(error: Exception) -> str | None:
    """Where the author wrote what the registry refused; None for an error of their own, which needs its traceback."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    lines = [line for _, line in traceback.walk_tb(error.__traceback__)]
    for before, frame in enumerate(frames[1:]):
        if frame.f_globals.get("__name__", "").startswith(("mcp_server.registry.", "mcp_server.authoring.")):
            return f"{Path(frames[before].f_code.co_filename).name}:{lines[before]}"
    return None
