"""A process on a pipe that is told to stop while a call runs and its answers are not read."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.servers.pipe import call

ROOT = Path(__file__).parents[2]


@pytest.mark.live
@pytest.mark.parametrize("ends", ["a signal", "its input"])
def test_what_runs_as_it_is_told_to_stop_is_in_the_audit(ends: str, tmp_path: Path) -> None:
    """Some clients send SIGTERM at once, and one that has not read its answers may still wait for the end."""
    (tmp_path / "slow.py").write_text(
        "import asyncio\nfrom mcp_server import McpServer\nserver = McpServer('s')\n"
        "@server.tool()\nasync def wait() -> str:\n    await asyncio.Event().wait()\n    return ''\n"
        "@server.tool()\nasync def large() -> str:\n    return 'x' * 1_000_000\n"
    )
    with subprocess.Popen(
        (sys.executable, "-m", "mcp_server", "stdio", "slow:server"),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "MCP_AUDIT_FILE": "audit.jsonl"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    ) as child:
        assert child.stdin and child.stdout
        for number, tool in enumerate(("wait", "large")):
            child.stdin.write(json.dumps(call(tool, number)).encode() + b"\n")
        assert child.stdout.read(1) == b"{"  # the second answer is on its way, and is read no further
        if ends == "a signal":
            child.send_signal(signal.SIGTERM)
        else:
            child.stdin.close()
        assert child.wait(20) == 0
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    ended = {line["tool"]: line.get("reason", "") for line in lines if line["decision"] != "begun"}
    assert ended == {"wait": "cancelled", "large": ""}


@pytest.mark.live
def test_a_handler_that_holds_the_loop_does_not_hold_the_process(tmp_path: Path) -> None:
    (tmp_path / "holds.py").write_text(
        "import re, sys\nfrom mcp_server import McpServer\nserver = McpServer('s')\n"
        "@server.tool()\nasync def hold() -> str:\n    print('held', file=sys.stderr, flush=True)\n"
        "    re.match('(a+)+$', 'a' * 60 + 'b')\n    return ''\n"  # and Python's lock, which no thread gets meanwhile
    )
    with subprocess.Popen(
        (sys.executable, "-m", "mcp_server", "stdio", "holds:server"),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "MCP_AUDIT_FILE": "audit.jsonl"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdin and child.stderr
        child.stdin.write(json.dumps(call("hold", 1)).encode() + b"\n")
        child.stdin.flush()
        assert any(line == b"held\n" for line in child.stderr)
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 1
