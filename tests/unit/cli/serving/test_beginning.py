"""A worker that cannot begin says why as a line of the log, and ends."""

import json
import subprocess
import sys
from pathlib import Path

BEGINS = """
import os, sys
from pathlib import Path
from mcp_server.cli.serve import Inherited, application
from mcp_server.cli.serving.handover import Handover, SettingsSnapshot
folder = Path(sys.argv[1])
texts = {
    "MCP_ISSUER": "https://issuer.example", "MCP_OPENAPI": "orders.json", "MCP_UPSTREAM_URL": "https://api.example",
    "MCP_UPSTREAM_AUDIENCE": "orders-api",
}
handover = Handover(folder, "k" * 43, SettingsSnapshot(texts=texts, read_at=0))
application(Inherited("", "k" * 43, os.getppid(), folder, None, handover))
"""


def test_what_keeps_a_worker_from_beginning_is_a_line_of_the_log(tmp_path: Path) -> None:
    """As after SIGHUP where the file of the secret is gone; a bare traceback is no line that a collector reads."""
    ended = subprocess.run([sys.executable, "-c", BEGINS, str(tmp_path)], capture_output=True, text=True, check=False)
    (line,) = [json.loads(one) for one in ended.stderr.splitlines()]
    assert (ended.returncode, line["event"], line["level"]) == (1, "a worker cannot begin", "error")
    (problem,) = line["problems"]
    assert problem.startswith("is required")
    assert problem.endswith("(MCP_CLIENT_SECRET)")
