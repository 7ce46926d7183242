"""`devstack realm render | diff | apply`: the realm as a file, against a Keycloak, and into it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import rich_click as click

from devstack.realm import plan
from devstack.realm.admin import Admin, AdminError, Credentials
from devstack.realm.description import REALM, Variant, describe, rendered
from devstack.realm.filling import Unsafe, for_development, for_production, without_secrets
from devstack.realm.scopes import DEMO, NoScopes, of_file, of_server

Command = TypeVar("Command", bound=Callable[..., Any])
KEYCLOAK: Final = "http://localhost:8180"


class CannotTell(click.ClickException):
    """Nothing was compared: a status of its own, for pipelines that ask whether something differs."""

    exit_code = 2


class Source(msgspec.Struct, frozen=True):
    """What to describe: whose scopes, for which use."""

    server: str
    scopes: Path | None
    use: str
    documents: bool

    def document(self, realm: str) -> dict[str, Any]:
        """The description; raises `NoScopes`."""
        known = of_file(self.scopes) if self.scopes else of_server(self.server)
        return describe(known, Variant(documents=self.documents, development=self.use == "development"), realm)


class Target(msgspec.Struct, frozen=True):
    """The Keycloak to compare with or to change."""

    keycloak: str
    realm: str
    resource: str | None
    credentials: Credentials


def _source_options(command: Command) -> Command:
    for option in (
        click.option("--server", default=DEMO, show_default=True, help="The MCP server (module:server) to ask."),
        click.option("--scopes", type=click.Path(path_type=Path), help="Output of 'mcp-server scopes --format json'."),
        click.option("--for", "use", type=click.Choice(["production", "development"]), default="production",
                     show_default=True, help="development brings people, known secrets and http documents."),
        click.option("--documents/--no-documents", default=True, show_default=True,
                     help="Client ID metadata documents; they need Keycloak's feature cimd."),
    ):  # fmt: skip
        command = option(command)
    return command


def _target_options(command: Command) -> Command:
    for option in (
        click.option("--keycloak", default=KEYCLOAK, show_default=True, help="Keycloak's address."),
        click.option("--realm", default=REALM, show_default=True),
        click.option("--resource", help="The MCP endpoint's public URL; else MCP_RESOURCE_URL."),
        click.option("--admin", envvar="KEYCLOAK_ADMIN", default="admin", show_default=True,
                     help="An administrator, or with --client a client that may administer."),
        click.option("--client", is_flag=True, help="The administrator is a client with a secret."),
        click.option("--login-realm", default="master", show_default=True),
        click.password_option("--secret", envvar="KEYCLOAK_ADMIN_PASSWORD", confirmation_prompt=False,
                              prompt="The administrator's password"),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group()
def realm() -> None:
    """The realm as code: its file, and what an existing Keycloak lacks."""


@realm.command()
@_source_options
@click.option("--output", type=click.Path(path_type=Path), help="Write to a file instead of standard output.")
def render(output: Path | None, **source: Any) -> None:
    """Print the realm as a file that Keycloak imports; for production without secrets, which Keycloak then makes."""
    with _told():
        wanted = Source(**source)
        document = wanted.document(REALM)
    text = rendered(document if wanted.use == "development" else without_secrets(document))
    if output:
        output.write_bytes(text)
    else:
        click.echo(text, nl=False)


@realm.command()
@_source_options
@_target_options
def diff(**options: Any) -> None:
    """Show what 'apply' would change; exit status 1 when there is something, 2 when it cannot be told."""
    with _told(CannotTell):
        source, target = _split(options)
        with Admin(target.keycloak, target.realm, target.credentials) as admin:
            changes = _show(admin, _wanted(source, target))
    raise SystemExit(1 if changes else 0)


@realm.command()
@_source_options
@_target_options
@click.option("--yes", is_flag=True, help="Do it; without this, nothing is changed.")
def apply(*, yes: bool, **options: Any) -> None:
    """Bring a Keycloak to the described state: what is missing is made, what differs is set, nothing is deleted."""
    with _told():
        source, target = _split(options)
        document = _wanted(source, target)
        with Admin(target.keycloak, target.realm, target.credentials) as admin:
            changes = _perform(admin, document) if yes else _show(admin, document)
    if changes and not yes:
        click.echo("nothing was changed: --yes does it")


def _split(options: dict[str, Any]) -> tuple[Source, Target]:
    taken = {name: options.pop(name) for name in Source.__struct_fields__}
    is_client, login_realm = options.pop("client"), options.pop("login_realm")
    credentials = Credentials(options.pop("admin"), options.pop("secret"), is_client, login_realm)
    return Source(**taken), Target(credentials=credentials, **options)


def _wanted(source: Source, target: Target) -> dict[str, Any]:
    environment = dict(os.environ)
    if target.resource:
        environment["MCP_RESOURCE_URL"] = target.resource
    document = source.document(target.realm)
    if source.use == "development":
        return for_development(document, environment, target.keycloak)
    filled, left = for_production(document, environment, target.keycloak)
    for client, variable in left:
        click.echo(f"note: {variable} is not set: the secret of {client} is Keycloak's to make or to keep", err=True)
    return filled


def _show(admin: Admin, document: dict[str, Any]) -> int:
    if not admin.exists():
        click.echo(f"create realm {admin.realm}, and in it everything of the description")
        return 1
    return sum(_echo(step) for step in plan.steps(admin, document))


def _perform(admin: Admin, document: dict[str, Any]) -> int:
    """Make the realm where it is missing, then do each step; what is done is told line by line."""
    count = 0
    if not admin.exists():
        step = plan.missing_realm(admin, document)
        step.perform()
        count += _echo(step)
    for step in plan.steps(admin, document):
        step.perform()
        count += _echo(step)
    click.echo(f"{count} changes" if count else "nothing to change")
    return count


def _echo(step: plan.Step) -> int:
    click.echo(f"{step.action} {step.what}")
    for difference in step.details:
        click.echo(f"    {difference}")
    return 1


@contextmanager
def _told(refusal: type[click.ClickException] = click.ClickException) -> Iterator[None]:
    """What can go wrong, as one line."""
    try:
        yield
    except (AdminError, NoScopes, Unsafe) as error:
        raise refusal(str(error)) from error
