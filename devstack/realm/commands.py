"""`devstack realm render | diff | apply`: the realm as a file, against a Keycloak, and into it."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import rich_click as click
from click.exceptions import Exit

from devstack.realm.apply import plan, prune
from devstack.realm.apply.admin import Admin, AdminError, Credentials
from devstack.realm.apply.exposure import exposures, generated
from devstack.realm.apply.features import lacking
from devstack.realm.description import REALM, Variant, describe, rendered
from devstack.realm.products import PRODUCTS, NotAllowed, redirects
from devstack.realm.scopes import DEMO, Api, DeclaredServer, NoScopes, Scope, of_file, of_server, usual_server
from devstack.realm.secrets import Unsafe, for_development, for_production, without_secrets
from devstack.urls import url

Command = TypeVar("Command", bound=Callable[..., Any])
KEYCLOAK: Final = "http://localhost:8180"


class Group(click.RichGroup):
    """Errors are framed at a terminal alone: the log of a container or of cron has each as a line, whole."""

    def make_context(self, *given: Any, **more: Any) -> click.Context:
        """Read the options, and say what is wrong with them."""
        with _said_plainly():
            return super().make_context(*given, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that is named, and say what is wrong with it."""
        with _said_plainly():
            return super().invoke(ctx)


@contextmanager
def _said_plainly() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        if sys.stderr.isatty():
            raise
        error.show()
        raise Exit(error.exit_code) from None


class CannotTell(click.ClickException):
    """Nothing was compared: a status of its own, for pipelines that ask whether something differs."""

    exit_code = 2


class Source(msgspec.Struct, frozen=True):
    """What to describe: whose scopes, for which use."""

    server: str | None
    scopes: Path | None
    use: str
    documents: bool
    parameters: bool
    step_up: bool
    allow: tuple[str, ...]
    publisher: tuple[str, ...]
    api: tuple[str, ...] = ()

    def document(self, realm: str) -> dict[str, Any]:
        """The description; raises `UsageError`, `NoScopes` or `NotAllowed`."""
        development = self.use == "development"
        if self.publisher and not self.documents:
            raise click.UsageError("--publisher believes documents, and --no-documents none: say one of them")
        told = of_file(self.scopes) if self.scopes else of_server(self._target())
        known = told.scopes
        _note(generated(known))
        variant = Variant(
            documents=self.documents,
            development=development,
            parameters=self.parameters,
            step_up=self.step_up,
            redirects=redirects(one for group in self.allow for one in group.split(",") if one),
            publishers=self.publisher,
            apis=_apis(self.api, told),
            own=told.service_account,
        )
        return describe(known, variant, realm)

    def _target(self) -> str:
        """Whom to ask; raises `UsageError`."""
        found = self.server or usual_server()
        if not self.server and found == DEMO and self.use != "development":
            raise click.UsageError(
                "say whose scopes: --server MODULE:SERVER, --scopes FILE or MCP_OPENAPI; the demo is for development"
            )
        return found


def _apis(asked: Iterable[str], told: DeclaredServer) -> tuple[Api, ...]:
    """The server's own, and those that are named: of one that is both, what is said here stands."""
    said = [_api(one, told.scopes) for one in asked]
    return tuple({one.name: one for one in (*told.apis, *said)}.values())


def _api(text: str, scopes: Iterable[Scope]) -> Api:
    """An API from `NAME` or `NAME=SCOPE,SCOPE`; raises `NotAllowed` for a scope that the server does not have."""
    name, _, listed = text.partition("=")
    asked = tuple(one for one in listed.split(",") if one)
    if foreign := sorted({*asked} - {one.name for one in scopes}):
        raise NotAllowed(f"--api {name}: {', '.join(foreign)}: an exchange gives what was granted for the server alone")
    return Api(name, asked)


class Target(msgspec.Struct, frozen=True):
    """The Keycloak to compare with or to change."""

    keycloak: str
    realm: str
    resource: str | None
    credentials: Credentials


def _source_options(command: Command) -> Command:
    for option in (
        click.option("--server", help="The MCP server (module:server) to ask; unless said the API of MCP_OPENAPI, "
                     f"else for development {DEMO}."),
        click.option("--scopes", type=click.Path(path_type=Path), help="Output of 'mcp-server scopes --format json'."),
        click.option("--for", "use", type=click.Choice(["production", "development"]), default="production",
                     show_default=True, help="development brings people, known secrets and http documents."),
        click.option("--documents/--no-documents", default=True, show_default=True,
                     help="Client ID metadata documents; they need Keycloak's feature cimd."),
        click.option("--parameterized-scopes", "parameters", is_flag=True,
                     help="Scopes with a parameter (orders:refund:42); they need Keycloak's feature of that name."),
        click.option("--step-up", is_flag=True,
                     help="A browser flow with levels, a password and a one-time code, in place of Keycloak's own."),
        click.option("--publisher", multiple=True, help="A host besides the known ones whose documents are believed."),
        click.option("--allow", multiple=True, metavar="PRODUCT[=...],...",
                     help=f"Products that are called back on the internet: {', '.join(PRODUCTS)}."),
        click.option("--api", multiple=True, metavar="AUDIENCE[=SCOPE,...]",
                     help="An API that is called with an exchanged token, besides those that the server imports, and "
                     "which of the scopes may go there."),
    ):  # fmt: skip
        command = option(command)
    return command


def _target_options(command: Command) -> Command:
    for option in (
        click.option("--keycloak", type=url, default=KEYCLOAK, show_default=True, help="Keycloak's address."),
        click.option("--realm", default=REALM, show_default=True),
        click.option("--resource", type=url, help="The MCP endpoint's public URL (https, http for development); "
                     "else MCP_RESOURCE_URL."),
        click.option("--admin", envvar="KEYCLOAK_ADMIN", default="admin", show_default=True,
                     help="An administrator, or with --client a client that may administer."),
        click.option("--client", is_flag=True, help="The administrator is a client with a secret."),
        click.option("--login-realm", default="master", show_default=True),
        click.option("--secret", envvar="KEYCLOAK_ADMIN_PASSWORD", help="Else KEYCLOAK_ADMIN_PASSWORD, or asked for."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group(cls=Group)
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
    """Show what 'apply' would change; exit status 1 when there is something, 2 when it is not known."""
    with _told(CannotTell):
        source, target = _split(options)
        with Admin(target.keycloak, target.realm, target.credentials) as admin:
            document = _wanted(source, target)
            _supported(admin, document)
            changes = _show(admin, document)
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
            _supported(admin, document)
            changes = _perform(admin, document) if yes else _show(admin, document)
    if changes and not yes:
        click.echo("nothing was changed: --yes does it")


@realm.command("prune")
@_target_options
@click.option("--idle-days", type=click.IntRange(0), default=30, show_default=True, help="Without a use by a person.")
@click.option(
    "--unused-hours", type=click.FloatRange(0), default=1, show_default=True, help="After registration, unused."
)
@click.option("--every", type=click.FloatRange(0.01), metavar="MINUTES", help="Repeat until stopped; for a container.")
@click.option("--yes", is_flag=True, help="Do it; without this, nothing is deleted.")
def prune_clients(*, idle_days: int, unused_hours: float, every: float | None, yes: bool, **options: Any) -> None:
    """Delete clients that registered themselves and that nobody uses, as Keycloak's own events tell."""
    bounds, target = prune.Bounds(idle_days=idle_days, unused_hours=unused_hours), _target(options)
    while True:
        with _told(), Admin(target.keycloak, target.realm, target.credentials) as admin:
            _prune(admin, bounds, yes=yes)
        if every is None:
            return
        threading.Event().wait(every * 60)


def _prune(admin: Admin, bounds: prune.Bounds, *, yes: bool) -> None:
    if not admin.exists():
        raise AdminError(f"there is no realm {admin.realm}")
    _known_of_use(admin.find(""))
    since, now = prune.reach(admin), time.time_ns() // 1_000_000
    ended = 0
    for found in prune.clients(admin):
        judged = prune.verdict(found, bounds, now, now if since is None else since)
        if judged in ("unused", "unsafe"):
            ended += 1
            why = f"has {found.unsafe}" if found.unsafe else "unused"
            click.echo(f"delete client {found.client_id} ({found.name}): {why}")
            if yes:
                prune.delete(admin, found)
    click.echo(f"{ended} clients" + ("" if yes or not ended else ": --yes deletes them"))


def _known_of_use(realm: dict[str, Any]) -> None:
    """Refuse to judge by events that are not kept: a client in daily use would look like one that is never used."""
    if not realm["eventsEnabled"]:
        raise AdminError("Keycloak keeps no events: nothing is known of use; 'devstack realm apply' turns them on")
    if missing := prune.missing_events(realm):
        raise AdminError(
            f"Keycloak keeps no events {', '.join(missing)}: nothing is known of use; let it keep them, too"
        )


def _supported(admin: Admin, document: dict[str, Any]) -> None:
    if why := lacking(admin, document):
        raise CannotTell(why)


def _password(given: str | None) -> str:
    """Asked for on a terminal alone: what runs without one must not end as if it had compared something."""
    if given:
        return given
    if sys.stdin.isatty():
        try:
            return str(click.prompt("The administrator's password", hide_input=True))
        except click.Abort:
            click.echo(err=True)
    raise CannotTell("no password for the administrator: set KEYCLOAK_ADMIN_PASSWORD")


def _target(options: dict[str, Any]) -> Target:
    is_client, login_realm = options.pop("client"), options.pop("login_realm")
    return Target(
        credentials=Credentials(options.pop("admin"), _password(options.pop("secret")), is_client, login_realm),
        **options,
    )


def _split(options: dict[str, Any]) -> tuple[Source, Target]:
    taken = {name: options.pop(name) for name in Source.__struct_fields__}
    if taken["step_up"]:
        raise click.UsageError("--step-up is for 'render': how persons log in to a realm that exists is left alone")
    return Source(**taken), _target(options)


def _wanted(source: Source, target: Target) -> dict[str, Any]:
    environment = dict(os.environ)
    if target.resource:
        environment["MCP_RESOURCE_URL"] = target.resource
    if environment.get("MCP_RESOURCE_URL"):
        environment.setdefault("MCP_BACKCHANNEL_URL", environment["MCP_RESOURCE_URL"])
    document = source.document(target.realm)
    if source.use == "development":
        return for_development(document, environment, target.keycloak)
    filled, left = for_production(document, environment, target.keycloak)
    _note(
        f"{variable} is not set: the secret of {client} is Keycloak's to make or to keep" for client, variable in left
    )
    return filled


def _show(admin: Admin, document: dict[str, Any]) -> int:
    if not admin.exists():
        click.echo(f"create realm {admin.realm}, and in it everything of the description")
        return 1
    _note(exposures(admin, document))
    return sum(_echo(step) for step in plan.steps(admin, document))


def _perform(admin: Admin, document: dict[str, Any]) -> int:
    """Make the realm where it is missing, then do each step; each is printed when it is done."""
    count = 0
    if not admin.exists():
        step = plan.missing_realm(admin, document)
        step.perform()
        count += _echo(step)
    for step in plan.steps(admin, document):
        step.perform()
        count += _echo(step)
    _note(exposures(admin, document))
    click.echo(f"{count} changes" if count else "nothing to change")
    return count


def _note(texts: Iterable[str]) -> None:
    for text in texts:
        click.echo(f"note: {text}", err=True)


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
    except (AdminError, NoScopes, NotAllowed, Unsafe) as error:
        raise refusal(str(error)) from error
