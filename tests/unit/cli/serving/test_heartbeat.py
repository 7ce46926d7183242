"""Who misses beats hangs; who starts, who has gone, and who was only suspended with everybody else, does not."""

import asyncio
import os
import shutil
from pathlib import Path

from mcp_server.cli.serving.heartbeat import Heartbeat, Watch
from tests.kit.stack import until


def beat(folder: Path, pid: int, at_ns: int) -> None:
    path = folder / str(pid)
    path.touch()
    os.utime(path, ns=(at_ns, at_ns))


def mtime(path: Path) -> int:
    return path.stat().st_mtime_ns


def test_a_worker_whose_beat_stands_still_hangs_after_so_many_looks(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    beat(tmp_path, 1, 10)
    beat(tmp_path, 2, 10)
    found = []
    for number in range(4):
        beat(tmp_path, 2, 20 + number)
        found.append(watch.look([1, 2], 2))
    assert found == [[], [], [1], [1]]
    beat(tmp_path, 1, 50)
    assert watch.look([1, 2], 2) == []


def test_a_worker_without_a_beat_is_still_starting_and_one_that_has_gone_is_forgotten(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    beat(tmp_path, 1, 10)
    assert [watch.look([1, 2], 1), watch.look([1, 2], 1)] == [[], [1]]
    assert watch.look([2], 1) == []
    assert not (tmp_path / "1").exists()


def test_a_worker_beats_for_as_long_as_its_loop_turns(tmp_path: Path) -> None:
    path, failed = tmp_path / str(os.getpid()), list[object]()

    async def beating() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
        Heartbeat(tmp_path, every_s=0).start()
        beat(tmp_path, os.getpid(), 0)

        async def beaten() -> bool:
            return bool(mtime(path))

        await until(beaten)
        shutil.rmtree(tmp_path)  # a folder that went away ends nothing
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(beating())
    assert failed == []


async def test_a_beat_says_how_ready_its_worker_is_and_goes_on_where_it_cannot(tmp_path: Path) -> None:
    said = ["ok"]
    path = tmp_path / str(os.getpid())
    Heartbeat(tmp_path, every_s=0, state=lambda: said[0]).start()

    async def tells(state: str) -> bool:
        return path.read_text() == state

    await until(lambda: tells("ok"))
    said[0] = "draining"
    await until(lambda: tells("draining"))
    path.unlink()  # its parent has forgotten it: it does not come back
    said[0] = "ok"
    for _ in range(5):
        await asyncio.sleep(0)
    assert not path.exists()
