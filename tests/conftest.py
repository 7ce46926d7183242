"""Fixtures that every test may use."""

import gc
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import httpx
import httpx2
import pytest
from hypothesis import HealthCheck, settings

from devstack.authserver import tokens
from devstack.keycloak.distribution import ORDINARY
from devstack.realm.client_scopes import PARAMETERS
from devstack.realm.model import FEATURES
from mcp_server.observe import log
from tests.kit import refunds
from tests.kit.authorities import Authority, Embedded, Keycloak, running_keycloak
from tests.kit.pools import pooled
from tests.kit.shares import Shares, place_of
from tests.kit.stack import Stack, free_port, running_stack

# Each client of httpx reads the public authorities anew, which takes 30 ms of the processor; no test meets one of them.
httpx._transports.default.create_ssl_context = cache(httpx._transports.default.create_ssl_context)  # type: ignore[attr-defined]
# A client that is told no time gives up after five seconds; for so long a busy machine may leave a process without a turn.
for given_up in (httpx._config.DEFAULT_TIMEOUT_CONFIG, httpx2._config.DEFAULT_TIMEOUT_CONFIG):
    given_up.connect = given_up.read = given_up.write = given_up.pool = 60
# An example takes as long as the machine lets it: what is slow by itself is held by tests/kit/effort.
settings.register_profile("any machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
# Hundreds of issuers are made; a key of RSA is a tenth of a second. No two issuers that live at once share one, and
# each has an id of its own.
tokens.new_rsa = pooled(tokens.new_rsa, 32)
# What is made until the tests are collected stays for the whole run: looking through it for garbage is a third of the time.
gc.disable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """In several processes (`make test`, docs/decisions/0013) what shares a server stays in one."""
    return Shares(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest shares first, where there are several processes."""
    if hasattr(config, "workerinput"):
        items.sort(key=place_of)


def pytest_collection_finish() -> None:
    """Garbage is collected from here on, and what is there already is not looked at again."""
    gc.enable()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True, scope="session")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TextIO]:
    """Where the log of all tests goes, for tests that look for what must not be in it."""
    path = tmp_path_factory.mktemp("log") / "log"
    with path.open("w") as stream:
        log.set_up("json", stream=stream)
        yield stream
        log.logger.remove()


@pytest.fixture(autouse=True)
def _log_goes_to_its_file(log_file: TextIO) -> None:
    """A command, or a test of the log itself, that has run in this process sends the log elsewhere."""
    if _sinks() != _own_sinks:
        log.set_up("json", stream=log_file)
        _own_sinks[:] = _sinks()


_own_sinks: list[int] = []
"""Where the log of all tests goes, by loguru's numbers: each is given out once."""


def _sinks() -> list[int]:
    return list(log.logger._core.handlers)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """A real Keycloak with the committed realm, for all tests of the run that want one."""
    resource = f"http://localhost:{free_port()}/mcp"
    others = refunds.realm(FEATURES)
    with running_keycloak(tmp_path_factory.mktemp("keycloak"), resource, FEATURES, None, others) as running:
        yield running


@pytest.fixture(scope="session")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """A Keycloak as an operator may have it, without documents: every way to register is there, the realm stands guard.

    Where documents are understood Keycloak can hold a registration to hosts; here it holds whole addresses. It knows
    scopes with a parameter, which `kit.refunds` has one of.
    """
    resource = f"http://localhost:{free_port()}/mcp"
    features = (PARAMETERS,)
    others = refunds.realm(features)
    with running_keycloak(tmp_path_factory.mktemp("ordinary"), resource, features, ORDINARY, others) as running:
        yield running


@pytest.fixture(scope="module", params=["embedded", "keycloak"])
async def authority(request: pytest.FixtureRequest) -> AsyncIterator[Authority]:
    """Each authorization server in turn."""
    if request.param == "keycloak":
        yield request.getfixturevalue("keycloak")
        return
    embedded = Embedded(f"http://localhost:{free_port()}/mcp", FEATURES)
    async with embedded.running():
        yield embedded


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The embedded issuer and the demo server on real sockets, for a module's tests to share."""
    async with running_stack(Path(tmp_path_factory.mktemp("stack"))) as running:
        yield running
