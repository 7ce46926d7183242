"""`devstack up`: an authorization server, the sample API and an MCP server, up together and down together."""

import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final
from urllib.parse import urlsplit

import msgspec
import rich_click as click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from devstack.first_call import SAMPLE, example, first_call
from devstack.keycloak.distribution import NoKeycloak, built
from devstack.keycloak.instance import READY_S as KEYCLOAK_READY_S
from devstack.keycloak.instance import TYPICAL_START_S, Instance
from devstack.processes import PortInUse, Stack, port_of, require_free
from devstack.realm.client_scopes import PARAMETERS, refuse_reserved
from devstack.realm.clients import SERVER_SECRET
from devstack.realm.description import REALM, Variant, describe, rendered
from devstack.realm.model import ISSUER, REALM_FILE, RESOURCE, Realm, read
from devstack.realm.products import PUBLISHERS
from devstack.realm.scopes import DEMO, DeclaredServer, NoScopes, Scope, of_server
from devstack.welcome import Screen, welcome

API: Final = "http://localhost:8100"
"""Where the sample API listens."""
READY_S: Final = 60.0
LOOK_UP_S: Final = 1.0
FOLDER: Final = Path(".devstack")
AUDIT: Final = FOLDER / "audit.jsonl"
ELSEWHERE: Final = ("MCP_CLIENT_ID", "MCP_CLIENT_SECRET_FILE", "MCP_ISSUER_FETCH_URL", "MCP_AUDIENCES")
"""Settings that tell of another issuer, and are not wanted beside this one."""
SERVICE_CLIENT: Final = "mcp-agent"
"""The realm's client that calls for itself; the server takes tokens without a person from no other."""
LOGOUT_CLIENTS: Final = f"mcp-public {SERVICE_CLIENT}"
"""Those for which the realm names the server's address for logouts."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to start, and where.

    `api` is the sample API's address, for the demo alone; `documents` are the origins on loopback whose client ID
    metadata documents the embedded server fetches; `server` is the MCP server, `module:server`, or "" for the import
    of the API that the settings name.
    """

    issuer: str = ISSUER
    resource: str = RESOURCE
    api: str = API
    features: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    server: str = DEMO
    keycloak: bool = False
    reload: bool = False

    @property
    def has_api(self) -> bool:
        """Whether the sample API is started: another server has its own."""
        return self.server == DEMO


def up(wanted: Wanted) -> None:
    """Start all of it, say what to do with it, and wait; an interrupt stops everything. Raises `ClickException`."""
    stack = Stack()
    with _interrupts() as interrupts:
        try:
            _require_ports(wanted)
            told = DeclaredServer(()) if wanted.has_api else _told(wanted)
            file = realm_file(
                told,
                documents="cimd" in wanted.features or not wanted.keycloak,
                parameters=PARAMETERS in wanted.features,
            )
            _start_issuer(stack, wanted, file, interrupts)
            ready = _start_servers(stack, wanted)
            stack.wait_ready(ready, READY_S, lambda _: interrupts.raise_held())
            realm = read(wanted.issuer, wanted.resource, wanted.features, file=file)
            click.echo(welcome(realm, _screen(realm, wanted, told)))
            if ended := interrupts.wait_unless(stack.ended):
                raise click.ClickException(f"the {ended} ended")
        except (PortInUse, TimeoutError, ChildProcessError, NoKeycloak, NoScopes) as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            pass
        finally:
            interrupts.hold()  # a second Ctrl-C does not stop the stopping
            stack.stop()
        click.echo("stopped")


def _require_ports(wanted: Wanted) -> None:
    """Raise `PortInUse` where something listens, or would when the next one is started."""
    needed = {"the authorization server": wanted.issuer, "the MCP server": wanted.resource}
    if wanted.has_api:
        needed["the sample API"] = wanted.api
    whose: dict[int, str] = {}
    for what, url in needed.items():
        if (other := whose.setdefault(port_of(url), what)) != what:
            raise PortInUse(f"{other} and {what} cannot both have port {port_of(url)}: --issuer, --resource, --api")
        require_free(url, what)


def _start_issuer(stack: Stack, wanted: Wanted, file: Path, interrupts: "_Interrupts") -> None:
    if wanted.keycloak:
        if urlsplit(wanted.issuer).path != f"/realms/{REALM}":
            raise click.ClickException(f"Keycloak's issuer ends in /realms/{REALM}")
        home = built(wanted.features, click.echo)  # minutes, the first time: an interrupt ends them at once
        interrupts.hold()
        _start_keycloak(stack, wanted, home, file, interrupts)
        return
    interrupts.hold()
    environment = {
        "DEVSTACK_ISSUER": wanted.issuer,
        "DEVSTACK_RESOURCE": wanted.resource,
        "DEVSTACK_FEATURES": ",".join(wanted.features),
        "DEVSTACK_DOCUMENTS": ",".join(wanted.documents),
        "DEVSTACK_REALM": str(file),
    }
    stack.start("authorization server", ["-m", "devstack.authserver"], environment)


def _start_servers(stack: Stack, wanted: Wanted) -> list[str]:
    """The sample API and the MCP server; the addresses that answer when everything is up."""
    ready = [] if wanted.keycloak else [f"{_origin(wanted.issuer)}/healthz"]
    if wanted.has_api:
        environment = {"ORDERS_ISSUER": wanted.issuer, "ORDERS_PORT": str(port_of(wanted.api))}
        stack.start("sample API", ["-m", "devstack.demo.api"], environment)
        ready.append(f"{wanted.api}/healthz")
    named = [wanted.server] if wanted.server else []
    command = ["-m", "mcp_server", "serve", *named, *(["--reload"] if wanted.reload else [])]
    stack.start("MCP server", command, _server_environment(wanted))
    return [*ready, f"{_origin(wanted.resource)}/readyz"]


def _told(wanted: Wanted) -> DeclaredServer:
    """What the server says of itself. Raises `NoScopes`, and for an import that comes to nothing."""
    told = of_server(wanted.server, _server_environment(wanted))
    if not wanted.server and not told.tools:
        raise NoScopes("the API of the settings comes to no tools: mcp-server check says why")
    return told


def realm_file(told: DeclaredServer, *, documents: bool, parameters: bool) -> Path:
    """The committed realm where it has the server's scopes, else one rendered for them. Raises `NoScopes`.

    A server that tells nothing is the demo, whose realm the committed one is.
    """
    own = told.scopes
    refuse_reserved(own, told.apis, REALM)  # the committed realm has these, too, and means others by them
    if (
        not told.apis
        and told.service_account is None
        and all(map(_is_known, own))
        and not (parameters and any(one.patterns for one in own))
    ):
        if documents:
            return REALM_FILE
        told = of_server()
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER.absolute() / "realm.json"
    variant = Variant(documents=documents, parameters=parameters, apis=told.apis, own=told.service_account)
    file.write_bytes(rendered(describe(told.scopes, variant)))
    return file


def _screen(realm: Realm, wanted: Wanted, told: DeclaredServer) -> Screen:
    """What there is to tell of what runs, with a call of it that was tried, or that can be."""
    demo = wanted.has_api
    return Screen(
        server=wanted.server,
        keycloak=wanted.keycloak,
        api=wanted.api if demo else "",
        called=first_call(wanted.issuer, wanted.resource) if demo else "",
        told=told,
        example=SAMPLE if demo else example(realm, told),
        audit=str(AUDIT),
    )


def _is_known(scope: Scope) -> bool:
    """Whether the committed realm has the scope, for the roles that it names (none: for whom the realm says)."""
    known = read().scope(scope.name)
    return known is not None and (not scope.roles or known.roles == {*scope.roles})


def _start_keycloak(stack: Stack, wanted: Wanted, home: Path, file: Path, interrupts: "_Interrupts") -> None:
    """A Keycloak with the realm imported, in a folder that the next start finds again."""
    instance = Instance(
        home=FOLDER.absolute() / "keycloak",
        origin=_origin(wanted.issuer),
        management_port=_free_port(),
        environment={"MCP_RESOURCE_URL": wanted.resource, "MCP_BACKCHANNEL_URL": wanted.resource},
    )
    instance.install(home, file.read_bytes())
    with (FOLDER / "keycloak.log").open("wb") as log:
        process = instance.start(log)
    stack.adopt("Keycloak", process)
    with _bar("starting Keycloak", TYPICAL_START_S) as tick:

        def passed(for_s: float) -> None:
            interrupts.raise_held()
            tick(for_s)

        try:
            stack.wait_ready([instance.ready_url], KEYCLOAK_READY_S, passed)
        except ChildProcessError as error:
            raise ChildProcessError(f"{error}; see {FOLDER / 'keycloak.log'}") from error


def reaches_publishers() -> bool:
    """Whether client ID metadata documents can be fetched: a name of one of their hosts is found in a second."""
    publisher = next(iter(PUBLISHERS.values())).host
    found: list[object] = []

    def look_up() -> None:
        with suppress(OSError):
            found.extend(socket.getaddrinfo(publisher, 443))

    asking = threading.Thread(target=look_up, daemon=True)  # a resolver that does not answer is not waited for
    asking.start()
    asking.join(LOOK_UP_S)
    return bool(found)


@contextmanager
def _bar(what: str, typical_s: float) -> Iterator[Callable[[float], None]]:
    """A bar that fills as time passes towards what is usual; silent where nobody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=typical_s)
        yield lambda passed_s: progress.update(task, completed=min(passed_s, 0.97 * typical_s))


class _Interrupts:
    """SIGINT and SIGTERM: raised as `KeyboardInterrupt` until there are children, kept for whoever asks afterwards.

    An exception raised between any two bytecodes is lost in a finalizer, leaves sockets open, and `Popen`'s lock taken
    when it comes right behind its acquisition: a stack that waited so went on, or hung in its stop.
    """

    def __init__(self) -> None:
        self._held = False
        self._came: SimpleQueue[int] = SimpleQueue()  # its `put` may be called in a signal handler

    def receive(self, number: int, _: FrameType | None) -> None:
        if not self._held:
            raise KeyboardInterrupt
        self._came.put(number)

    def hold(self) -> None:
        """Raise no more: from here on a signal is kept."""
        self._held = True

    def raise_held(self) -> None:
        """Raise `KeyboardInterrupt` where one was kept: called between steps that leave nothing half done."""
        if not self._came.empty():
            raise KeyboardInterrupt

    def wait_unless(self, ended: Callable[[], str | None]) -> str | None:
        """Wait for a signal; what `ended` names when it comes first."""
        while (name := ended()) is None:
            with suppress(Empty):
                self._came.get(timeout=0.5)
                break
        return name


@contextmanager
def _interrupts() -> Iterator[_Interrupts]:
    interrupts = _Interrupts()
    former = {ending: signal.signal(ending, interrupts.receive) for ending in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for ending, handler in former.items():
            signal.signal(ending, handler)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _server_environment(wanted: Wanted) -> dict[str, str]:
    pretty = {"MCP_LOG_FORMAT": "pretty"} if sys.stderr.isatty() else {}
    return {
        "MCP_ISSUER": wanted.issuer,
        "MCP_RESOURCE": wanted.resource,
        "MCP_PORT": str(port_of(wanted.resource)),
        "MCP_PATH": urlsplit(wanted.resource).path.rstrip("/") or "/",
        "MCP_CLIENT_SECRET": SERVER_SECRET,
        **dict.fromkeys(ELSEWHERE, ""),
        "ORDERS_URL": wanted.api,
        "MCP_AUDIT_FILE": str(AUDIT),
        "MCP_SERVICE_CLIENTS": SERVICE_CLIENT,
        "MCP_LOGOUT_CLIENTS": LOGOUT_CLIENTS,
        "MCP_DRAIN_S": "0",  # nobody else would take the calls, and Ctrl-C shall not take five seconds
        **({"MCP_PARAMETERIZED_SCOPES": "true"} if PARAMETERS in wanted.features else {}),
        **pretty,
    }
