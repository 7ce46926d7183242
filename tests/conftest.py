"""Fixtures that every test may use."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mcp_server.observe import log
from tests.kit.stack import Stack, running_stack


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True, scope="session")
def quiet_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with (tmp_path_factory.mktemp("log") / "log").open("w") as stream:
        log.set_up("json", stream=stream)
        yield
        log.logger.remove()


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The embedded issuer and the demo server on real sockets, for a module's tests to share."""
    async with running_stack(Path(tmp_path_factory.mktemp("stack"))) as running:
        yield running
