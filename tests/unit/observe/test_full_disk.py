"""A disk that is full, a real one of 64 KiB: history stays, what is dropped is counted, and lines go on when it is not."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.kit.served import ROOT

PROGRAM = ROOT / "tests" / "kit" / "servers" / "full_disk.py"
MOUNT = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" "$3" "$1"'


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no namespace of one's own, so no disk of one's own")
def test_a_full_disk_pushes_out_no_history_and_what_it_drops_is_counted(tmp_path: Path) -> None:
    for own in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        command = [*own, "sh", "-c", MOUNT, "sh", str(tmp_path), sys.executable, str(PROGRAM)]
        done = subprocess.run(command, capture_output=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=False)
        if done.returncode != 32 and b"unshare failed" not in done.stderr and b"permission denied" not in done.stderr:
            break
    else:
        pytest.skip("no disk may be mounted here")
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = msgspec.json.decode(done.stdout)
    assert found["reason"] == "No space left on device"
    assert found["history"] == found["history_when_full"] != []
    assert found["gained"] == found["kept"], "in their order, each once"
    assert found["dropped"] == found["said"] - len(found["kept"]) > 0
    assert found["told"] == [found["dropped"]]
    assert found["after"] == ["after"]
    assert found["files"] == found["files_when_full"] == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
