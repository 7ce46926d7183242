"""The example of a chained audit in `docs/operate.md` runs, and prints what stands there."""

import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from mcp_server.cli import main
from mcp_server.observe.audit import AuditLog, Decision

PAGE = Path(__file__).parents[2] / "docs" / "operate.md"
KEY = "a key that nobody guesses, of 40 letters"


def test_the_example_prints_what_stands_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MCP_AUDIT_CHAIN", f'["{KEY}"]')
    audit = AuditLog("audit.jsonl", max_bytes=500, keys=(KEY.encode(),))
    for tool in ("look", "look", "pay"):
        audit.write(Decision(1, "allow", issuer="i", subject="u", tool=tool))
        audit.flush()
        if tool == "look" and not Path("audit.jsonl.1").exists():
            Path("audit.jsonl").rename("audit.jsonl.1")
    audit.close()
    (block,) = re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    told = ""
    for line in block.splitlines(keepends=True):
        if not line.startswith("$ "):
            continue
        told += line
        command = line[2:].strip()
        if command.startswith("mcp-server "):
            words = command.split()[1:]
            files = [str(one) for pattern in words[2:] for one in Path().glob(pattern)]
            told += CliRunner().invoke(main, [*words[:2], *files]).output
        else:
            subprocess.run(["sh", "-c", command], check=True)
    assert plain(told) == plain(block)


def plain(text: str) -> str:
    """Without what is another each time: times and heads."""
    return re.sub(r"of 20\S+: --head [0-9a-f]{16}/3/[0-9a-f]{16}\n", "of T: --head H\n", text)
