"""`mcp-server check`: every problem of the settings at once, and what would become of the APIs."""

from typing import Any

import msgspec
import rich_click as click

from mcp_server import settings
from mcp_server.authoring.errors import BadArguments
from mcp_server.cli import findings, target
from mcp_server.observe import log
from mcp_server.rest.model import WireRequest
from mcp_server.rest.offer import report
from mcp_server.settings import Settings, SettingsError


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
    problems are on standard error. An operation that is refused alone is no problem: the status is 0.
    """
    log.set_up_for_command()
    try:
        found = settings.load()
    except SettingsError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise SystemExit(1) from error
    if request is not None:
        _show(_request(server, found, *request))
        return
    trusted = ", ".join(one.issuer for one in found.auth.issuer)
    loaded = target.load(server)
    plans = target.planned(loaded, found)  # before anything is said to be fine
    click.echo(f"ok: the settings can be used (the issuer was not asked): {found.auth.resource} trusts {trusted}")
    for plan in plans:
        for line in (*report.lines([plan.report]), *findings.renamed_arguments(plan)):
            click.echo(line)
    known = findings.realm_scopes(plans) | loaded.scopes.keys() | found.scopes.default_scopes
    exchanges, reserved = findings.refused_exchanges(plans, known), findings.reserved_scopes(plans)
    unknown = findings.unknown_scopes(loaded, parameterized=found.scopes.parameterized_scopes)
    for text in (*unknown, *exchanges, *reserved):
        findings.warn(text)


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
