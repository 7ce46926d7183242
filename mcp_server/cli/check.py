"""`mcp-server check`: every problem of the settings at once, and what would become of the APIs."""

from typing import TYPE_CHECKING, Any

import msgspec
import rich_click as click

from mcp_server import settings
from mcp_server.authoring.errors import BadArguments
from mcp_server.cli import findings, target
from mcp_server.observe import log
from mcp_server.registry.server import McpServer
from mcp_server.rest.model import WireRequest
from mcp_server.rest.offer import report
from mcp_server.settings import Settings

if TYPE_CHECKING:
    from mcp_server.rest.importing.importer import Planned


@click.command()
@target.server_argument
@target.directory
@click.option(
    "--request",
    nargs=2,
    metavar="TOOL JSON",
    help="Print the HTTP request that a call of an imported tool with these arguments makes; nothing is sent.",
)
def check(server: str, request: tuple[str, str] | None) -> None:
    """Say whether the settings can be used; exit status 1 and a line for each problem if not.

    With an API configured, or SERVER (module:server) that includes one, say what is imported of it: tools, what is
    refused and why, what the list costs, which scopes each tool needs. The report is on standard output, warnings and
    problems are on standard error: those of settings, of SERVER, of mcp.toml, of secrets and of documents at once. A
    single refused operation does not change the exit status.
    """
    log.set_up_for_command()
    found, problems, wrong = settings.validate(settings.read())
    loaded, plans = McpServer("none"), list["Planned"]()
    try:
        loaded = target.load(server)
        if request is None:
            plans, more = target.validated(loaded, found, wrong)
            problems += more + target.single_use_alone(loaded, found)
    except click.ClickException as error:
        problems += error.message.splitlines()
    _end(problems)  # before anything is said to be fine
    if request is not None:
        _show(_request(server, found, *request))
        return
    trusted = ", ".join(one.issuer for one in found.auth.issuer)
    click.echo(f"ok: the settings can be used (the issuer was not asked): {found.auth.resource} trusts {trusted}")
    for plan in plans:
        for line in (*report.lines([plan.report]), *findings.renamed_arguments(plan)):
            click.echo(line)
    known = findings.realm_scopes(plans) | loaded.scopes.keys() | found.scopes.default_scopes
    exchanges, reserved = findings.refused_exchanges(plans, known), findings.reserved_scopes(plans)
    unknown = findings.unknown_scopes(loaded, parameterized=found.scopes.parameterized_scopes)
    unmatched = findings.unmatched_settings(loaded, plans, found)
    unused = (f"{name} is set, and is of no use without {other}" for name, other in findings.unused(found))
    about_itself = (*findings.elsewhere(found), *unused, *findings.empty_apis(loaded, plans))
    for text in (*unknown, *exchanges, *reserved, *unmatched, *about_itself):
        findings.warn(text)


def _end(problems: list[str]) -> None:
    """End with a line for each problem, if there are any: without a frame, so that a pipeline reads it, too."""
    for problem in problems:
        click.echo(" ".join(problem.splitlines()), err=True)
    if problems:
        raise SystemExit(1)


def _request(server: str, found: Settings, tool: str, arguments: str) -> WireRequest:
    try:
        given: dict[str, Any] = msgspec.json.decode(arguments, type=dict[str, Any])
        return target.requested(target.load(server), found, tool, given)
    except msgspec.MsgspecError as error:
        raise click.ClickException(f"the arguments are no JSON object: {error}") from None
    except (LookupError, BadArguments) as error:
        raise click.ClickException(error.args[0]) from None


def _show(made: WireRequest) -> None:
    click.echo(f"{made.method} {made.url}")
    for name, value in made.headers:
        click.echo(f"{name}: {value}")
    if made.body:
        click.echo(f"\n{made.body.decode('utf-8', 'backslashreplace')}")
