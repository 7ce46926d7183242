"""A real Redis for the tests of the store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.served import running_redis


@pytest.fixture(scope="module")
async def redis_url(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Of a module and no longer: while an asynchronous fixture lives all tests are of one loop, with each other's tasks."""
    async with running_redis(Path(tmp_path_factory.mktemp("redis"))) as address:
        yield address
