"""Counters in mapped files: a disk without room costs scrapes their figures, and no process its life."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mcp_server.observe.allocated import BESIDE_KEY, FIRST_BYTES, AllocatedDict
from tests.kit.served import ROOT

COUNT = """
import resource, sys
from pathlib import Path
from typing import Any
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))  # as a disk with so much room
from mcp_server.observe import metrics
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.observe.recorder import CallRecorder
recorder = CallRecorder(AuditLog("/dev/null"))
for number in range(2000):
    recorder.finished(Decision(0.0, "allow", tool=f"tool-{number}"), method="tools/call", outcome="ok", seconds=0.1)
metrics.audit_dropped(1)
print(len(metrics.exposition()))
"""


def test_a_file_has_its_blocks_before_they_are_written_and_grows_with_them(tmp_path: Path) -> None:
    path = tmp_path / "counter_1.db"
    shared: Any = AllocatedDict(str(path))
    for number in range(FIRST_BYTES // BESIDE_KEY):
        shared.write_value(f"key {number:04}", float(number), 0.0)
        held = path.stat().st_blocks * 512
        assert held >= path.stat().st_size >= shared._used
    assert path.stat().st_size > FIRST_BYTES
    shared.close()
    again: Any = AllocatedDict(str(path), read_mode=True)
    assert {key: value for key, value, _ in again.read_all_values()}["key 0007"] == 7
    again.close()


@pytest.mark.parametrize("room", [0, FIRST_BYTES])
def test_a_process_counts_on_where_there_is_no_room(tmp_path: Path, room: int) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COUNT, str(room)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip().isdigit()) == (0, True), done.stderr
    said = done.stderr + done.stdout
    assert ("counters cannot be shared" in said) == (not room)
    assert room or not list(tmp_path.glob("*.db*"))
