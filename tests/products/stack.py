"""What the products meet: an authorization server and the demo over it, each behind a tap on its wire."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from devstack.authserver.app import create as create_issuer
from devstack.keycloak.distribution import built
from devstack.keycloak.instance import ADMIN, Instance
from devstack.realm.apply.admin import Admin, Credentials
from devstack.realm.model import FEATURES, REALM_FILE, read
from mcp_server import McpServer, settings
from mcp_server.app import FastPathApp
from tests.kit.authorities import until_up
from tests.kit.servers.orders import server as orders
from tests.kit.stack import free_port, serving, until_ready
from tests.kit.watching import Watched
from tests.products.publishers import publishing
from tests.products.tap import Tap, tapped

DEMO = "tests.kit.servers.orders:server"
ROOT = Path(__file__).parents[2]


class Place(msgspec.Struct, kw_only=True):
    """An authorization server and an MCP server, and what passed on the wire to each."""

    name: str
    issuer: str
    resource: str
    issuer_tap: Tap
    server_tap: Tap
    watched: Watched
    keycloak: Instance | None = None

    def admin(self) -> Admin:
        """Keycloak's administration."""
        assert self.keycloak
        return Admin(self.keycloak.origin, "mcp", Credentials(*ADMIN))


@asynccontextmanager
async def embedded(folder: Path, server: McpServer = orders, **more: str) -> AsyncIterator[Place]:
    """The embedded issuer without documents: it could not fetch a publisher's, so products register.

    `more` are settings without their prefix.
    """
    inner, port, resource = free_port(), free_port(), f"http://localhost:{free_port()}/mcp"
    issuer = f"http://localhost:{port}/realms/mcp"
    app, _ = create_issuer(read(issuer, resource, ()))
    async with (
        serving(app, inner),
        tapped(port, inner) as tap,
        _server(folder, issuer, resource, server, **more) as (watched, wire),
    ):
        yield Place(
            name="embedded issuer",
            issuer=issuer,
            resource=resource,
            issuer_tap=tap,
            server_tap=wire,
            watched=watched,
        )


@asynccontextmanager
async def keycloak(folder: Path) -> AsyncIterator[Place]:
    """A real Keycloak with documents, whose publishers' sites are stood in for on loopback."""
    port, resource = free_port(), f"http://localhost:{free_port()}/mcp"
    issuer = f"http://localhost:{port}/realms/mcp"
    async with AsyncExitStack() as stack:
        hosts, authority = stack.enter_context(publishing(folder))
        told = {
            "MCP_RESOURCE_URL": resource,
            "MCP_BACKCHANNEL_URL": resource,
            "KC_TRUSTSTORE_PATHS": str(authority),
            "JAVA_OPTS_APPEND": f"-XX:TieredStopAtLevel=1 -Djdk.net.hosts.file={hosts}",
        }
        inner = free_port()
        instance = Instance(
            home=folder / "keycloak",
            origin=f"http://localhost:{port}",
            port=inner,
            management_port=free_port(),
            environment=told,
        )
        stack.enter_context(_running(instance, folder / "keycloak.log"))
        tap = await stack.enter_async_context(tapped(port, inner))
        watched, wire = await stack.enter_async_context(_server(folder, issuer, resource))
        yield Place(
            name="Keycloak",
            issuer=issuer,
            resource=resource,
            issuer_tap=tap,
            server_tap=wire,
            watched=watched,
            keycloak=instance,
        )


@contextmanager
def _running(instance: Instance, log: Path) -> Iterator[None]:
    instance.install(built(FEATURES, print), REALM_FILE.read_bytes())
    try:
        with log.open("ab") as file:
            instance.start(file)
        until_up(instance, log)
        yield
    finally:
        instance.stop()


@asynccontextmanager
async def _server(
    folder: Path, issuer: str, resource: str, server: McpServer = orders, **more: str
) -> AsyncIterator[tuple[Watched, Tap]]:
    """A server, the demo by itself; each message that it sends to a product is held against the protocol's schema."""
    inner = free_port()
    environment = {"MCP_ISSUER": issuer, "MCP_RESOURCE": resource, "MCP_AUDIT_FILE": str(folder / "audit.jsonl")}
    named = {f"MCP_{name.upper()}": value for name, value in more.items()}
    loaded = settings.load({**environment, "MCP_LEEWAY_S": "0", **named})
    watched = Watched(FastPathApp(server, loaded), loaded.http.path)
    async with serving(watched, inner), tapped(urlsplit(resource).port or 0, inner) as tap:
        async with httpx.AsyncClient(trust_env=False) as http:
            await until_ready(http, f"http://localhost:{inner}")
        yield watched, tap
