"""Fixtures that every test may use."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from mcp_server.observe import log
from tests.kit.stack import Stack, running_stack


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


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The embedded issuer and the demo server on real sockets, for a module's tests to share."""
    async with running_stack(Path(tmp_path_factory.mktemp("stack"))) as running:
        yield running
