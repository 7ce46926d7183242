"""Reading what is kept of revocations: many of them, and lines that nobody of ours has written."""

from pathlib import Path

import msgspec
import pytest

from mcp_server.store.folder import FILE, FolderLedger
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.revocations import EVER, NAME, TURN, Revocation, StoreLedger

HOSTILE = [
    b'{"issuer":"\xff","kind":"sid","name":"a","before":1,"until":2}',
    b'{"x":' + b"[" * 100_000,
    b'{"issuer":"i","kind":"other","name":"a","before":1,"until":2}',
    b"\x00",
]


def lines(count: int) -> list[bytes]:
    made = [Revocation(issuer="i", kind="sid", name=str(number), before=1.0, until=EVER) for number in range(count)]
    return [*HOSTILE, *map(msgspec.json.encode, made)]


@pytest.mark.parametrize("count", [3, 2 * TURN])
async def test_what_cannot_be_read_keeps_no_other_from_being_read(tmp_path: Path, count: int) -> None:
    """One line that is no UTF-8 ended each reading, on all workers, for as long as it was kept."""
    backend = InMemoryBackend()
    for line in lines(count):
        await backend.remember(NAME, line, EVER, 1000)
    (tmp_path / FILE).write_bytes(b"\n".join(lines(count)) + b"\n")
    for ledger in (StoreLedger(backend), FolderLedger(tmp_path)):
        assert [one.name for one in await ledger.read()] == [str(number) for number in range(count)]
