"""How many connections a worker takes, under limits of open files from those of a laptop to those of a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.cli.serving.files import A_CALL, OTHER_FILES, SPARE_CONNECTIONS, Files, share


@pytest.mark.parametrize("hard", [None, 1 << 20, 10_000 + A_CALL * SPARE_CONNECTIONS + OTHER_FILES])
def test_with_files_enough_each_stream_has_one_and_each_call_two(hard: int | None) -> None:
    wanted = 10_000 + SPARE_CONNECTIONS
    assert share(10_000, hard) == Files(wanted, wanted, 10_000 + A_CALL * SPARE_CONNECTIONS + OTHER_FILES)


def test_fewer_files_are_shared_by_connections_and_what_their_calls_open() -> None:
    assert share(10_000, 4096) == Files((4096 - OTHER_FILES) // 2, 10_000 + SPARE_CONNECTIONS, 4096)


@given(st.integers(1, 100_000), st.integers(1, 1 << 20))
def test_connections_never_take_the_files_of_the_rest(streams: int, hard: int) -> None:
    """Of a limit that is below what the rest takes half is left to it."""
    found = share(streams, hard)
    assert 1 <= found.connections <= found.wanted
    assert found.limit <= hard
    assert found.connections == 1 or found.connections <= found.limit - min(OTHER_FILES, hard // 2)
