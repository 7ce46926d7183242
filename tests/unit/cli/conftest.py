"""Commands set the log up for themselves: the run's own is put back after each test."""

from collections.abc import Iterator
from typing import TextIO

import pytest

from mcp_server.observe import log


@pytest.fixture(autouse=True)
def kept_log(log_file: TextIO) -> Iterator[None]:
    yield
    log.set_up("json", stream=log_file)
