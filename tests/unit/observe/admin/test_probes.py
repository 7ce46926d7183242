"""Probes of all workers: what each said of itself, and what that makes of the whole."""

import json
import os
from pathlib import Path

import pytest

from mcp_server.observe.admin import probes
from mcp_server.observe.admin.probes import HANGING_S, SILENT_S, WorkerState

SILENT, HANGS = SILENT_S + 1, HANGING_S + 1


def said(*statuses: str, age_s: float = 0.5) -> list[WorkerState]:
    return [WorkerState(number, status, age_s) for number, status in enumerate(statuses)]


@pytest.mark.parametrize(
    ("workers", "code", "status"),
    [
        ([], 503, "starting"),
        (said("ok", "ok"), 200, "ok"),
        (said("ok", "draining"), 200, "ok"),
        (said("ok", "down"), 200, "degraded"),
        (said("degraded"), 200, "degraded"),
        (said("down", "down"), 503, "down"),
        (said("draining", "down"), 503, "draining"),
        (said("ok", age_s=SILENT), 503, "down"),
        (said("starting"), 503, "down"),
        ([*said("ok", age_s=SILENT), *said("ok")], 200, "ok"),
    ],
)
def test_a_server_is_ready_while_one_worker_is(workers: list[WorkerState], code: int, status: str) -> None:
    answer, body = probes.ready(workers)
    assert (answer, json.loads(body)["status"]) == (code, status)


def test_a_silent_worker_is_told_as_such() -> None:
    listed = json.loads(probes.ready([*said("ok", age_s=SILENT), WorkerState(7, "ok", 0)])[1])["workers"]
    assert listed == [{"pid": 0, "status": "silent"}, {"pid": 7, "status": "ok"}]


def test_a_server_lives_unless_all_hang_and_nobody_ends_them() -> None:
    assert [probes.live(workers)[0] for workers in ([], said("down"), said("ok", age_s=SILENT))] == [200, 200, 200]
    assert probes.live(said("ok", "ok", age_s=HANGS))[0] == 503
    assert probes.live([*said("ok", age_s=HANGS), *said("ok")])[0] == 200


def test_workers_are_found_by_their_beats(tmp_path: Path) -> None:
    for name, text, at in (("12", "ok", 100.0), ("7", "", 99.0), ("keys", "no worker", 100.0)):
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (at, at))
    (tmp_path / "3").mkdir()
    (tmp_path / "4").write_bytes(b"\xff")
    found = probes.states(tmp_path, now=101.0)
    assert found == [WorkerState(7, "starting", 2.0), WorkerState(12, "ok", 1.0)]
    assert probes.states(tmp_path / "gone") == []
