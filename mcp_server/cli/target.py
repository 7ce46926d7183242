"""`module:server` on the command line → the `McpServer` it names."""

import importlib
import os
import sys
import traceback
from pathlib import Path

import rich_click as click

from mcp_server.registry.server import McpServer
from mcp_server.settings import Settings
from mcp_server.settings.sources import ENV_FILE


def _enter(_: click.Context, __: click.Parameter, folder: Path | None) -> None:
    if folder is not None:
        os.chdir(folder)


directory = click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    callback=_enter,
    expose_value=False,
    is_eager=True,
    help="The folder of SERVER and of its .env, instead of the working directory.",
)


def origin(target: str) -> dict[str, str]:
    """Where a loaded server came from, and whether its folder has settings: nobody's checkout is run unnoticed."""
    module = sys.modules[target.partition(":")[0]]
    env_file = str(ENV_FILE) if ENV_FILE.is_file() else "none"
    return {"server": target, "file": str(module.__file__), "directory": str(Path.cwd()), "env_file": env_file}


def load(target: str) -> McpServer:
    """Import it; raises `click.ClickException` that says what is wrong.

    The working directory comes last: it may be a stranger's checkout that an editor has opened, and nothing there shall
    take the name of what is installed.
    """
    module_name, _, attribute = target.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if f"{module_name}.".startswith(f"{error.name}."):
            raise click.ClickException(f"no module {error.name!r}; expected module:server") from error
        raise click.ClickException(f"{_last_line(error)}: no module {error.name!r}") from error
    except SyntaxError as error:
        raise click.ClickException(f"{Path(error.filename or '').name}:{error.lineno}: {error.msg}") from error
    except (TypeError, ValueError) as error:
        if (place := _place(error)) is None:
            raise
        raise click.ClickException(f"{place}: {error}") from error
    server = getattr(module, attribute or "server", None)
    if not isinstance(server, McpServer):
        raise click.ClickException(f"{target}: no McpServer of that name in {module.__file__ or module_name}")
    return server


def require_audit(found: Settings) -> None:
    """Refuse an audit that cannot be opened: else each worker would fail with it, again and again."""
    audit = found.observe.audit()
    try:
        audit.open()
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}"
        raise click.ClickException(f"the audit (MCP_AUDIT_FILE) cannot be opened: {reason}") from error
    finally:
        audit.close()


def _last_line(error: Exception) -> str:
    """The author's line that an exception came through last."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    name, line = next((one for one in reversed(frames) if "importlib" not in one[0]), ("", 0))
    return f"{Path(name).name}:{line}"


def _place(error: Exception) -> str | None:
    """Where the author wrote what the registry refused; None for an error of their own, which needs its traceback."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    lines = [line for _, line in traceback.walk_tb(error.__traceback__)]
    for before, frame in enumerate(frames[1:]):
        if frame.f_globals.get("__name__", "").startswith(("mcp_server.registry.", "mcp_server.authoring.")):
            return f"{Path(frames[before].f_code.co_filename).name}:{lines[before]}"
    return None
