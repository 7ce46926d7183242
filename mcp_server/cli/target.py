"""`module:server` on the command line → the `McpServer` it names."""

import asyncio
import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import msgspec
import rich_click as click

from mcp_server import settings
from mcp_server.app import apis_behind
from mcp_server.protocol.types.lifecycle import Implementation
from mcp_server.registry.server import McpServer
from mcp_server.rest.importing.configs import DocumentInfo, PreloadedApis, without_client
from mcp_server.rest.model import UnusableDocument, WireRequest
from mcp_server.rest.offer import names, words
from mcp_server.rest.offer.config import ConfigError, Origin
from mcp_server.rest.offer.report import Report
from mcp_server.settings import Settings, SettingsError
from mcp_server.settings.sources import ENV_FILE
from mcp_server.version import __version__

if TYPE_CHECKING:
    from mcp_server.rest.importing.importer import Planned
    from mcp_server.rest.importing.live_apis import LiveApis


NO_ISSUER: Final = "http://localhost"
"""Stands where no token is judged, and so nobody's keys are needed."""
_VERSION: Final = 40


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


server_argument = click.argument("server", default="")
"""`module:server`, or nothing where an API is configured: its document is all there is to serve."""


def configured(presumed: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process; raises `ClickException` with every problem."""
    try:
        return settings.load(presumed=presumed)
    except SettingsError as error:
        raise click.ClickException(unusable(error.problems)) from None


def unusable(problems: Sequence[str]) -> str:
    """What a command says of settings before it ends."""
    return "\n".join(["the settings cannot be used:", *problems])


def origin(target: str) -> dict[str, str]:
    """Where a loaded server came from, and whether its folder has settings: nobody's checkout is run unnoticed."""
    env_file = str(ENV_FILE) if ENV_FILE.is_file() else "none"
    file = str(sys.modules[target.partition(":")[0]].__file__) if target else "none"
    return {"server": target, "file": file, "directory": str(Path.cwd()), "env_file": env_file}


def load(target: str, about: DocumentInfo | None = None) -> McpServer:
    """Import it; raises `click.ClickException` that says what is wrong. Of nothing, a server of nothing is made.

    That one is called as its only API is.

    The working directory comes last: it may be a stranger's checkout that an editor has opened, and nothing there shall
    take the name of what is installed.
    """
    if not target:
        made = McpServer("mcp-server", version=__version__)
        if about is not None:
            describe(made, about)
        return made
    module_name, _, attribute = target.partition(":")
    module = _imported(target, module_name)
    server = getattr(module, attribute or "server", None)
    if not isinstance(server, McpServer):
        raise click.ClickException(f"{target}: no McpServer of that name in {module.__file__ or module_name}")
    return server


def _imported(target: str, name: str) -> ModuleType:
    """The module of that name; raises `click.ClickException`, and what is an author's own error as it is."""
    if not name or name.startswith(".") or "/" in name:
        raise click.ClickException(_no_module(target, name))  # importlib takes a leading dot for a relative import
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            raise click.ClickException(_no_module(target, str(error.name))) from error
        raise click.ClickException(f"{_last_line(error)}: no module {error.name!r}") from error
    except SyntaxError as error:
        raise click.ClickException(f"{Path(error.filename or '').name}:{error.lineno}: {error.msg}") from error
    except (TypeError, ValueError) as error:
        if (place := _place(error)) is None:
            raise
        raise click.ClickException(f"{place}: {error}") from error


def _no_module(target: str, name: str) -> str:
    """What is said of a module that is not there; of a file, how the module in it is named."""
    file, _, attribute = target.partition(":")
    hint = ""
    if file.strip("./") and (file.endswith(".py") or "/" in file or file.startswith(".")):
        folder, module = _place_of(file if "/" in file else file.lstrip("."))
        hint = f", as in {module}:{attribute or 'server'}" + (f", from the folder {folder}" if folder else "")
    return f"no module {name!r}; expected module:server{hint}"


def _place_of(file: str) -> tuple[str, str]:
    """The folder that a file's module is found from, empty where that is the working directory; and its name there."""
    here = os.path.relpath(file.removesuffix(".py"))
    if here.startswith(".."):
        folder, module = os.path.split(file.removesuffix(".py"))
        return folder, module
    return "", here.replace("/", ".")


def describe(server: McpServer, about: DocumentInfo) -> None:
    """Have a server that nobody named say what its API's document says of itself, within what clients take."""
    title = words.first_paragraph(about.title, words.TITLE)
    name = "-".join(names.words(title))[: names.LONGEST].strip("-") or about.api
    version = words.cut(" ".join(words.clean(about.version).split()), _VERSION) or __version__
    server.info = Implementation(name=name, version=version, title=title or None)
    server.instructions = words.first_paragraph(about.description, words.LONGEST) or None


def handed_over(server: McpServer, found: Settings, folder: Path) -> tuple[list[Report], PreloadedApis]:
    """Read the documents of all APIs for the workers of a server; raises `ClickException` for what is wrong."""
    with explained():
        handed = PreloadedApis(folder=folder, apis=found.rest.apis(server.imports))
        live = apis_behind(server, found, handed=handed)
        if live is None:
            return [], handed
        plans = asyncio.run(_opened(live, keep=False))
        return [one.report for one in plans], msgspec.structs.replace(handed, about=live.about)


def planned(server: McpServer, found: Settings, *, keep: bool = False) -> "list[Planned]":
    """Read the documents of all APIs, of which a server that does not run may `keep` the tools.

    Nothing is sent but what fetches a document. Raises `ClickException` for what is wrong.
    """
    return _read(server, found, keep=keep)[1]


def requested(server: McpServer, found: Settings, tool: str, arguments: dict[str, Any]) -> WireRequest:
    """What a call of an imported tool would send; raises `LookupError`, `BadArguments` and `ClickException`."""
    live, _ = _read(server, found, keep=True)
    if live is None:
        raise LookupError("no API is configured: set MCP_OPENAPI")
    return live.request(tool, arguments)


def _read(server: McpServer, found: Settings, *, keep: bool) -> "tuple[LiveApis | None, list[Planned]]":
    with explained():
        live = apis_behind(server, found, sends=not keep)
        return live, [] if live is None else asyncio.run(_opened(live, keep=keep))


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """What is wrong with an API's document or its configuration, as what the command says before it ends."""
    try:
        yield
    except ConfigError as error:
        raise click.ClickException("\n".join(["the APIs cannot be used:", *error.problems])) from None
    except UnusableDocument as error:
        raise click.ClickException("\n".join(_unusable(error))) from None
    except ValueError as error:
        raise click.ClickException(f"an API cannot be imported: {error}") from None


def _unusable(error: UnusableDocument) -> list[str]:
    return [f"the API {one.api} cannot be imported: {one}" for one in (error, *error.others)]


def validated(server: McpServer, found: Settings, wrong: frozenset[str]) -> "tuple[list[Planned], list[str]]":
    """What is offered of all APIs, and a line for each problem of theirs; of `wrong` settings nothing is known.

    What hangs on something that could not be read is not judged: a report has no line that is not so.
    """
    if "config" in wrong:
        return [], []
    apis, problems, missing = found.rest.validated(server.imports)
    if not wrong.isdisjoint(type(found.rest).model_fields):
        return [], problems
    problems = problems + missing
    if found.auth.client_secret is None and "client_secret" not in wrong:
        problems += without_client(apis)
    try:
        live = apis_behind(server, found, apis=[one for one in apis if one.origin != Origin()])
        return [] if live is None else asyncio.run(_opened(live, keep=False)), problems
    except UnusableDocument as error:
        return [], problems + _unusable(error)
    except ValueError as error:
        return [], [*problems, f"an API cannot be imported: {error}"]


async def _opened(live: "LiveApis", *, keep: bool) -> "list[Planned]":
    await live.start()
    plans = live.plans
    await (live.release() if keep else live.stop())
    return plans


def require_something(target: str, found: Settings) -> None:
    """Refuse to serve nothing."""
    if not target and not found.rest.imports:
        raise click.ClickException("nothing to serve: name module:server, or set MCP_OPENAPI")


def single_use_alone(server: McpServer, found: Settings) -> list[str]:
    """A line where states that may be used once would be good once on each worker."""
    if found.coordinated or not server.has_single_use:
        return []
    return ["single_use needs MCP_REDIS_URL where there are several workers"]


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
    modules = [frame.f_globals.get("__name__", "") for frame in frames]
    for place, module in enumerate(modules[1:], 1):
        if module.startswith(("mcp_server.registry.", "mcp_server.authoring.")):
            theirs = [before for before in range(place) if not modules[before].startswith("mcp_server.")]
            before = max(theirs, default=place - 1)  # they may ask the registry by way of another, as `requires_scopes`
            return f"{Path(frames[before].f_code.co_filename).name}:{lines[before]}"
    return None
