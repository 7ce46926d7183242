"""A worker that cannot begin says why as a line of the log, and ends."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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
if (module := sys.argv[2]):
    sys.path.insert(0, sys.argv[1])
handover = Handover(folder, "k" * 43, SettingsSnapshot(texts=texts, read_at=0))
application(Inherited(module, "k" * 43, os.getppid(), folder, None, handover))
"""


def said(folder: Path, module: str = "") -> Any:
    """The one line of a worker that ends."""
    command = [sys.executable, "-c", BEGINS, str(folder), module]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    (line,) = [json.loads(one) for one in ended.stderr.splitlines()]
    assert (ended.returncode, line["event"], line["level"]) == (1, "a worker cannot begin", "error")
    return line


def test_what_keeps_a_worker_from_beginning_is_a_line_of_the_log(tmp_path: Path) -> None:
    """As after SIGHUP where the file of the secret is gone; a bare traceback is no line that a collector reads."""
    (problem,) = said(tmp_path)["problems"]
    assert problem.startswith("is required")
    assert problem.endswith("(MCP_CLIENT_SECRET)")


def test_what_an_authors_code_raises_is_redacted(tmp_path: Path) -> None:
    """What it says, and not its source, which has no secret in it."""
    (tmp_path / "secret").write_text("no database:\npassword: hunter2\nTOKEN: s3cret-one")
    code = "import pathlib\nraise ValueError((pathlib.Path(__file__).parent / 'secret').read_text())"
    (tmp_path / "fails.py").write_text(code)
    line = said(tmp_path, "fails:server")
    assert "no database" in str(line["problems"])
    assert "hunter2" not in json.dumps(line)
    assert "s3cret-one" not in json.dumps(line)
