"""The command `devstack`: the surroundings of a developer, up in one command."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import rich_click as click

from devstack import up as stack
from devstack.keycloak.instance import ADMIN
from devstack.keycloak.rotation import rotate
from devstack.login import LoginFailed, fetch_token
from devstack.realm.apply.admin import Admin, AdminError, Credentials
from devstack.realm.client_scopes import PARAMETERS
from devstack.realm.commands import Group, realm
from devstack.realm.model import FEATURES, ISSUER, RESOURCE
from devstack.realm.scopes import usual_server
from devstack.urls import local_url, url
from devstack.welcome import TOKEN_SCOPE

KNOWN_FEATURES: Final = ("cimd", "resource-indicators", PARAMETERS)


@click.group(cls=Group)
def main() -> None:
    """Surroundings for development: an authorization server and the demo, on this machine alone."""


@main.command()
@click.option(
    "--server",
    metavar="MODULE:SERVER",
    help="The MCP server to serve, found from the working directory; unless said the API of MCP_OPENAPI (or mcp.toml), "
    "else the demo. The realm gets the scopes that it has, and the audiences of the APIs that it imports.",
)
@click.option("--keycloak", is_flag=True, help="A real Keycloak (needs Java 17; Maven fetches it once) for the issuer.")
@click.option("--reload", is_flag=True, help="Restart the MCP server when a source file changes.")
@click.option("--issuer", type=local_url, default=ISSUER, show_default=True)
@click.option("--resource", type=local_url, default=RESOURCE, show_default=True)
@click.option(
    "--api", type=local_url, default=stack.API, show_default=True, help="The sample API, which the demo calls."
)
@click.option(
    "--features",
    help="Keycloak's experimental features, of either server: cimd, resource-indicators, parameterized-scopes. Unless "
    "said: cimd, where names of the internet can be looked up: elsewhere nobody could fetch the documents that clients "
    "then send.",
)
@click.option(
    "--document-origin",
    "documents",
    type=url,
    multiple=True,
    metavar="ORIGIN",
    help="Where on this machine a client's metadata document may lie (http://127.0.0.1:PORT; embedded server only).",
)
def up(*, features: str | None, server: str | None, **wanted: Any) -> None:
    """Start the authorization server, the sample API and an MCP server; Ctrl-C stops them."""
    if features is None:
        features = ",".join(FEATURES) if stack.reaches_publishers() else ""
    known = tuple(one for one in features.split(",") if one)
    if unknown := set(known) - set(KNOWN_FEATURES):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: known are {', '.join(KNOWN_FEATURES)}")
    stack.up(stack.Wanted(features=known, server=usual_server() if server is None else server, **wanted))


@main.command()
@click.argument("user")
@click.option("--scope", default=TOKEN_SCOPE, show_default=True)
@click.option("--acr", default="", help="How to log in: 2 types in a one-time code besides the password.")
@click.option("--issuer", type=url, default=ISSUER, show_default=True)
@click.option("--resource", type=url, default=RESOURCE, show_default=True)
def token(user: str, scope: str, acr: str, issuer: str, resource: str) -> None:
    """Print an access token of USER (alice, bob, carol), got by a real login.

    Which of the scopes it did not get is said on standard error: the issuer leaves out what the user has no role for.
    """
    try:
        answer = fetch_token(issuer, user, f"openid {scope}", resource, acr=acr)
        click.echo(answer["access_token"])
        if missing := [one for one in scope.split() if one not in answer.get("scope", scope).split()]:
            text = f"warning: without {' '.join(missing)}: {user} has no role that gates it, or has not allowed it"
            click.echo(text, err=True)
    except httpx.ConnectError as error:
        raise click.ClickException(f"nothing answers at {issuer}: run 'devstack up' first") from error
    except LoginFailed as error:
        raise click.ClickException(f"{error}{_named(issuer) if 'invalid_scope' in str(error) else ''}") from error


def _named(issuer: str) -> str:
    """The scopes of the realm, for who has misspelt one; those that take a value are in no issuer's metadata."""
    metadata = httpx.get(f"{issuer}/.well-known/openid-configuration", trust_env=False).json()
    return f"; the realm has: {' '.join(sorted(metadata.get('scopes_supported', ())))}"


@main.command()
@click.argument("user")
@click.option("--issuer", type=url, default=ISSUER, show_default=True)
def logout(user: str, issuer: str) -> None:
    """End all logins of USER at the authorization server of 'devstack up', which tells the MCP server."""
    parts = urlsplit(issuer)
    origin = f"{parts.scheme}://{parts.netloc}"
    try:
        answer = httpx.post(f"{origin}/_dev/logout", json={"user": user}, trust_env=False)
        if answer.is_success:
            click.echo(f"logins of {user} that ended: {answer.json()['ended']}")
            return
        if answer.status_code != 404:  # Keycloak does not have it
            raise click.ClickException(answer.json()["detail"])
        with Admin(origin, parts.path.rpartition("/")[2], Credentials(*ADMIN)) as admin:
            found = admin.listed("/users", username=user, exact="true")
            for one in found:
                admin.send("POST", f"/users/{one['id']}/logout")
        if not found:
            raise click.ClickException(f"there is no {user}")
        click.echo(f"all logins of {user} have ended")
    except httpx.ConnectError as error:
        raise click.ClickException(f"nothing answers at {issuer}: run 'devstack up' first") from error
    except AdminError as error:
        raise click.ClickException(str(error)) from error


@main.command("rotate-keys")
@click.option("--drop-old", is_flag=True, help="Stop publishing the former keys at once (embedded server only).")
@click.option("--issuer", type=url, default=ISSUER, show_default=True)
def rotate_keys(*, drop_old: bool, issuer: str) -> None:
    """Make the authorization server of 'devstack up' sign with new keys."""
    parts = urlsplit(issuer)
    origin = f"{parts.scheme}://{parts.netloc}"
    try:
        answer = httpx.post(f"{origin}/_dev/rotate-keys", params={"drop_old": drop_old}, json={}, trust_env=False)
        if answer.status_code == 404:
            with Admin(origin, parts.path.rpartition("/")[2], Credentials(*ADMIN)) as admin:
                click.echo(_keys(new=rotate(admin)))
            return
    except httpx.ConnectError as error:
        raise click.ClickException(f"nothing answers at {issuer}: run 'devstack up' first") from error
    except AdminError as error:
        raise click.ClickException(str(error)) from error
    found = answer.json()
    click.echo(_keys(new=found["new"], former=[kid for kid in found["kids"] if kid not in found["new"]]))


def _keys(new: Sequence[str], former: Sequence[str] = ()) -> str:
    """A line for each key: those that sign from now on, then those that are still published."""
    return "\n".join([*(f"new     {kid}" for kid in new), *(f"former  {kid}" for kid in former)])


main.add_command(realm)
