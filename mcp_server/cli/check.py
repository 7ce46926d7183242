"""`mcp-server check`: every problem of the settings at once."""

import rich_click as click

from mcp_server import settings
from mcp_server.settings import SettingsError


@click.command()
def check() -> None:
    """Say whether the settings can be used; exit status 1 and a line for each problem if not."""
    try:
        found = settings.load()
    except SettingsError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise SystemExit(1) from error
    trusted = ", ".join(one.issuer for one in found.auth.issuer)
    click.echo(f"ok: the settings can be used (the issuer was not asked): {found.auth.resource} trusts {trusted}")
