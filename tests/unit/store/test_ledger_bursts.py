"""Of a burst of logouts none waits for the others: they are written together."""

import asyncio
import time
from pathlib import Path

import pytest

from mcp_server.store.folder import FILE, FolderLedger
from mcp_server.store.revocations import Revocation


def revocation(number: int) -> Revocation:
    return Revocation(issuer="https://issuer", kind="sid", name=str(number), before=1.0, until=time.time() + 60)


class Counted(FolderLedger):
    writes = 0

    def _write(self, ones: list[Revocation]) -> bool:
        self.writes += 1
        return super()._write(ones)


async def test_a_burst_is_a_few_writes_and_each_learns_that_it_is_kept(tmp_path: Path) -> None:
    ledger = Counted(tmp_path)
    await asyncio.gather(*(ledger.keep(revocation(number)) for number in range(500)))
    assert ledger.writes <= 2
    assert [one.name for one in await FolderLedger(tmp_path).read()] == [str(number) for number in range(500)]
    await ledger.keep(revocation(500))
    assert len(await FolderLedger(tmp_path).read()) == 501


async def test_who_has_gone_is_waited_for_by_nobody(tmp_path: Path) -> None:
    ledger = FolderLedger(tmp_path)
    gone, stays = (asyncio.create_task(ledger.keep(revocation(number))) for number in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await stays
    assert len(await FolderLedger(tmp_path).read()) == 2


async def test_each_of_a_burst_learns_what_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).mkdir()
    told = await asyncio.gather(
        *(FolderLedger(tmp_path).keep(revocation(number)) for number in range(3)), return_exceptions=True
    )
    assert [type(one) for one in told] == [IsADirectoryError] * 3
    ledger = FolderLedger(tmp_path)

    def broken(_: object) -> bool:
        raise ValueError("of ours")

    monkeypatch.setattr(ledger, "_write", broken)
    with pytest.raises(OSError, match="not written: ValueError"):
        await ledger.keep(revocation(1))
