"""Where a server and its settings are looked for: an editor may have opened a checkout of somebody else's."""

import json
import os
import subprocess
import sys
from pathlib import Path

SERVER = "from mcp_server import McpServer\nserver = McpServer({name!r}, scopes=[])\n"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}},
}


def write(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "ours.py").write_text(SERVER.format(name=name))
    (folder / ".env").write_text(f"MCP_DOCUMENTATION=https://{name}.example/\n")


def stdio(*arguments: str, cwd: Path, **environment: str) -> tuple[str, list[dict[str, object]]]:
    """The name of the server that answers, and its log."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MCP_", "PYTHONPATH"))}
    done = subprocess.run(
        [Path(sys.executable).with_name("mcp-server"), "stdio", *arguments],
        cwd=cwd,
        env={**clean, **environment},
        input=json.dumps(INITIALIZE) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    logged = [line for line in map(json.loads, done.stderr.splitlines()) if "decision" not in line]  # the audit beside
    return json.loads(done.stdout.splitlines()[0])["result"]["serverInfo"]["name"], logged


def test_what_is_installed_is_not_shadowed_by_the_working_directory(tmp_path: Path) -> None:
    write(tmp_path / "installed", "ours")
    write(tmp_path / "foreign", "theirs")
    found, (line,) = stdio("ours:server", cwd=tmp_path / "foreign", PYTHONPATH=str(tmp_path / "installed"))
    assert found == "ours"
    assert line["file"] == str(tmp_path / "installed" / "ours.py")
    assert (line["directory"], line["env_file"]) == (str(tmp_path / "foreign"), ".env")


def test_the_directory_can_be_said(tmp_path: Path) -> None:
    write(tmp_path / "own", "ours")
    write(tmp_path / "foreign", "theirs")
    (tmp_path / "foreign" / ".env").write_text("MCP_NONSENSE=1\n")
    found, (line,) = stdio("ours:server", "--directory", str(tmp_path / "own"), cwd=tmp_path / "foreign")
    assert found == "ours"
    assert (line["directory"], line["env_file"]) == (str(tmp_path / "own"), ".env")
