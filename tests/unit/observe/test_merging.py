"""The counters of workers that have ended: added up, never lost, and never counted twice, whoever reads meanwhile."""

import os
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, multiprocess
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from mcp_server.observe import metrics
from mcp_server.observe.merging import merge, reading


def left(folder: Path, pid: int, count: float, tool: str = "echo") -> None:
    """What a worker leaves: a counter and one bucket of a histogram."""
    counted = MmapedDict(str(folder / f"counter_{pid}.db"))  # type: ignore[no-untyped-call]
    counted.write_value(mmap_key("c", "c_total", ["tool"], [tool], "help"), count, 1.0)  # type: ignore[no-untyped-call]
    counted.close()  # type: ignore[no-untyped-call]
    took = MmapedDict(str(folder / f"histogram_{pid}.db"))  # type: ignore[no-untyped-call]
    took.write_value(mmap_key("h", "h_bucket", ["le"], ["1.0"], "help"), count, 1.0)  # type: ignore[no-untyped-call]
    took.write_value(mmap_key("h", "h_sum", [], [], "help"), count / 2, 1.0)  # type: ignore[no-untyped-call]
    took.close()  # type: ignore[no-untyped-call]


def read(folder: Path) -> dict[str, float]:
    collector = multiprocess.MultiProcessCollector(CollectorRegistry(), str(folder))  # type: ignore[no-untyped-call]
    with reading(folder):
        samples = [one for metric in collector.collect() for one in metric.samples]  # type: ignore[no-untyped-call]
    return {f"{one.name}{sorted(one.labels.items())}": one.value for one in samples}


def test_nothing_is_lost_and_one_file_of_each_type_is_left(tmp_path: Path) -> None:
    for pid in range(1, 6):
        left(tmp_path, pid, pid, "é" * pid)
        left(tmp_path, pid + 10, 1)
    before = read(tmp_path)
    assert before["c_total[('tool', 'echo')]"] == 5
    for pid in (*range(1, 6), *range(11, 15), 99):
        assert merge(tmp_path, pid)
        assert read(tmp_path) == before
    left(tmp_path, 20, 3)
    assert merge(tmp_path, 20)
    assert read(tmp_path)["c_total[('tool', 'echo')]"] == 8
    assert sorted(one.name for one in tmp_path.glob("*.db")) == [
        "counter_15.db", "counter_ended.db", "histogram_15.db", "histogram_ended.db",
    ]  # fmt: skip


def test_who_reads_sees_no_counter_go_back_or_jump(tmp_path: Path) -> None:
    for pid in range(1, 9):
        left(tmp_path, pid, 1)
    seen: list[dict[str, float]] = [read(tmp_path)]
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(0.0005):
            seen.append(read(tmp_path))

    reader = threading.Thread(target=scrape)
    reader.start()
    for pid in range(1, 9):
        while not merge(tmp_path, pid):
            pass
    over.set()
    reader.join()
    assert {tuple(sorted(one.items())) for one in seen} == {tuple(sorted(seen[0].items()))}


def test_while_somebody_reads_it_is_done_later_and_those_that_live_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(metrics.METRICS_FOLDER, str(tmp_path))
    monkeypatch.setattr(metrics, "_ended", {1: None, 2: None})
    for pid in (1, 2):
        left(tmp_path, pid, pid)
    with reading(tmp_path):
        metrics.merge_ended(living=[])
        assert list(metrics._ended) == [1, 2]
    metrics.merge_ended(living=[2])
    assert not metrics._ended
    assert not (tmp_path / "counter_1.db").exists()
    assert (tmp_path / "counter_2.db").exists()


def test_a_disk_without_room_costs_no_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(metrics.METRICS_FOLDER, str(tmp_path))
    monkeypatch.setattr(metrics, "_ended", {1: None})
    left(tmp_path, 1, 1)
    before = read(tmp_path)
    with monkeypatch.context() as full:

        def no_room(*_: object) -> int:
            raise OSError(28, os.strerror(28))

        full.setattr(Path, "write_bytes", no_room)
        metrics.merge_ended(living=[])
    assert (list(metrics._ended), read(tmp_path)) == ([1], before)
    metrics.merge_ended(living=[])
    assert (list(metrics._ended), read(tmp_path)) == ([], before)


def test_a_file_that_cannot_be_read_is_left_alone_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent of all workers merges: no file may end it."""
    monkeypatch.setenv(metrics.METRICS_FOLDER, str(tmp_path))
    monkeypatch.setattr(metrics, "_ended", {1: None, 2: None})
    (tmp_path / "counter_1.db").write_bytes(b"\x00\x10\x00\x00" + b"\x7f" * 60)
    left(tmp_path, 2, 2)
    metrics.merge_ended(living=[])
    assert not metrics._ended
    assert sorted(one.name for one in tmp_path.glob("counter*")) == ["counter_1.db", "counter_ended.db"]
