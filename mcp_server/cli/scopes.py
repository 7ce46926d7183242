"""`mcp-server scopes`: which tool needs what."""

import msgspec
import rich_click as click

from mcp_server.cli import target


@click.command()
@click.argument("server")
@click.option("--format", "shown_as", type=click.Choice(["table", "json"]), default="table")
def scopes(server: str, shown_as: str) -> None:
    """Print which scopes each tool of SERVER (module:server) needs; in JSON with consent texts and roles as well."""
    found = target.load(server)
    needed = {name: sorted(found.scopes_of(tool)) for name, tool in found.tools.items()}
    if shown_as == "json":
        body = {"scopes": found.described_scopes(), "tools": needed}
        click.echo(msgspec.json.format(msgspec.json.encode(body)).decode())
        return
    width = max((len(name) for name in needed), default=4)
    for name, wanted in needed.items():
        click.echo(f"{name:<{width}}  {' '.join(wanted) or '(public)'}")
