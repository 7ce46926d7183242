"""The two authorization servers that the same tests run against: the embedded one and a real Keycloak."""

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx
import msgspec
import pytest

from devstack.authserver.app import create as create_issuer
from devstack.keycloak.distribution import NoKeycloak, built
from devstack.keycloak.instance import ADMIN, READY_S, Instance
from devstack.keycloak.rotation import rotate
from devstack.login import fetch_token
from devstack.realm.apply.admin import Admin, Credentials
from devstack.realm.description import REALM, Variant, describe, rendered
from devstack.realm.model import REALM_FILE, read
from tests.kit import refunds, scopes
from tests.kit.documents import origin
from tests.kit.stack import free_port, serving

AGENT_SECRET, SERVER_SECRET = "dev-only-agent-secret", "dev-only-server-secret"


class Authority(Protocol):
    """An authorization server with our realm, for an MCP server that will listen at `resource`."""

    name: str
    issuer: str
    resource: str
    features: tuple[str, ...]

    async def rotate_keys(self) -> None:
        """New keys sign from now on; the former are still published."""

    def away(self) -> AbstractAsyncContextManager[None]:
        """Stopped, until the block ends; what it knew it knows afterwards."""

    def know_documents(self, address: str) -> None:
        """Fetch clients' metadata documents from where this one lies."""


async def token(authority: Authority, user: str, scope: str, **more: Any) -> dict[str, Any]:
    """A token answer by a real login; raises `LoginFailed`."""
    named = {"resource": authority.resource, **more}
    return await asyncio.to_thread(fetch_token, authority.issuer, user, f"openid {scope}", **named)


class Embedded:
    """The embedded one, in this process."""

    name = "embedded"

    def __init__(self, resource: str, features: tuple[str, ...], file: Path = REALM_FILE) -> None:
        self.port, self.resource, self.features = free_port(), resource, features
        self.issuer = f"http://localhost:{self.port}/realms/mcp"
        self.app, self.server = create_issuer(read(self.issuer, resource, features, file=file))
        self._serving: AbstractAsyncContextManager[None] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self._open()
        try:
            yield
        finally:
            await self._close()

    async def rotate_keys(self) -> None:
        self.server.keyring.rotate()

    def know_documents(self, address: str) -> None:
        self.server.documents.local.add(origin(address))

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        await self._close()
        try:
            yield
        finally:
            await self._open()

    async def _open(self) -> None:
        self._serving = serving(self.app, self.port)
        await self._serving.__aenter__()

    async def _close(self) -> None:
        assert self._serving
        await self._serving.__aexit__(None, None, None)


class Keycloak:
    """A real one, in processes of its own."""

    name = "keycloak"

    def __init__(
        self, instance: Instance, log: Path, resource: str, features: tuple[str, ...], realm: str = REALM
    ) -> None:
        self.instance, self.log, self.resource, self.features = instance, log, resource, features
        self.issuer = f"{instance.origin}/realms/{realm}"

    def of_refunds(self) -> "Keycloak":
        """Its other realm, which has the scopes of `kit.refunds`."""
        return Keycloak(self.instance, self.log, self.resource, self.features, refunds.REALM)

    def admin(self, realm: str = "mcp") -> Admin:
        return Admin(self.instance.origin, realm, Credentials(*ADMIN))

    async def rotate_keys(self) -> None:
        await asyncio.to_thread(self._rotate)

    def know_documents(self, address: str) -> None:
        """The realm for development lists loopback, with any port."""

    def _rotate(self) -> None:
        with self.admin() as admin:
            rotate(admin)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        await asyncio.to_thread(self.instance.stop)
        try:
            yield
        finally:
            await asyncio.to_thread(self.start)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.instance.start(log)
        until_up(self.instance, self.log)


def until_up(instance: Instance, log: Path) -> None:
    """Wait for readiness, as long as the process lives."""
    process = instance.process
    assert process
    with httpx.Client(trust_env=False, timeout=5) as http:
        for _ in range(int(READY_S / 0.2)):
            try:
                if http.get(instance.ready_url).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            break
    raise RuntimeError(f"Keycloak did not come up:\n{log.read_text(errors='replace')[-3000:]}")


def distribution(features: tuple[str, ...], options: tuple[str, ...] | None = None) -> Path:
    """The built Keycloak; skips where none can run, but in CI."""
    try:
        return built(features, lambda text: print(text, file=sys.stderr), options)
    except NoKeycloak as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@contextmanager
def running_keycloak(
    folder: Path,
    resource: str,
    features: tuple[str, ...],
    options: tuple[str, ...] | None = None,
    *others: bytes,
) -> Iterator[Keycloak]:
    """A Keycloak with the committed realm, or the variant that the features allow, and with `others`."""
    home = distribution(features, options)
    documents = "cimd" in features
    told = scopes.demo()
    variant = Variant(documents=False, apis=told.apis)
    realm = REALM_FILE.read_bytes() if documents else rendered(describe(told.scopes, variant))
    instance = Instance(
        home=folder / "keycloak",
        origin=f"http://localhost:{free_port()}",
        management_port=free_port(),
        environment={"MCP_RESOURCE_URL": resource, "MCP_BACKCHANNEL_URL": resource},
    )
    instance.install(home, realm, *others)
    running = Keycloak(instance, folder / "keycloak.log", resource, features)
    try:
        running.start()
        yield running
    finally:
        instance.stop()


def claims(jwt: str, part: int = 1) -> dict[str, Any]:
    """What a token says, unjudged; part 0 is its header."""
    text = jwt.split(".")[part]
    found: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def lasts(token: dict[str, Any], seconds: int) -> bool:
    """Whether a token is made for so long: Keycloak reads its clock for `iat` and for `exp`, and a second may pass."""
    return bool(token["exp"] - token["iat"] in (seconds, seconds + 1))
