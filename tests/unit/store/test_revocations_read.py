"""Reading what is kept of revocations: many of them, lines that nobody of ours has written; who holds it meanwhile."""

import os
import signal
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


def test_what_is_forked_while_the_ledger_is_written_does_not_hold_it_on(tmp_path: Path) -> None:
    """A handler may begin a process at any moment, and it may live for hours."""
    ready, awaited = os.pipe()
    with FolderLedger(tmp_path)._locked() as mine:
        child = os.fork()
        if child == 0:
            os.write(awaited, b"1")
            signal.pause()
            os._exit(0)
        os.read(ready, 1)
    try:
        with FolderLedger(tmp_path)._locked() as free:
            assert (mine, free) == (True, True)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(awaited)
