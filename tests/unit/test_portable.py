"""What Windows lacks is not asked for when modules are imported: desktop clients start stdio servers there."""

import os
import subprocess
import sys
from pathlib import Path

UNIX = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "uvloop")
WITHOUT = f"""
import os, select, signal, sys
for name in {UNIX!r}:
    sys.modules[name] = None
for module, names in ((os, "getuid geteuid getgid fork sched_setscheduler O_NONBLOCK O_NOCTTY".split()),
                      (select, ["poll", "PIPE_BUF"])):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""
SERVES = """
import mcp_server, mcp_server.cli, mcp_server.settings.page, mcp_server.observe.admin.exporter
from pathlib import Path
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.stdio.transport import desktop_user
assert desktop_user(frozenset()).subject == "ada"
for target in ("audit.jsonl", "-"):
    audit = AuditLog(target, max_bytes=10_000)
    for number in range(200):
        audit.write(Decision(number, "allow", issuer="https://i", subject="u" * 100))
        audit.flush()
    audit.close()
kept = Path("audit.jsonl").read_bytes().count(b"\\n") + Path("audit.jsonl.1").read_bytes().count(b"\\n")
print("kept", kept)
"""


def test_the_package_its_commands_and_the_audit_do_without(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + SERVES],
        cwd=tmp_path,
        env={"USERNAME": "ada", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *lines, kept = done.stdout.splitlines()
    assert (len(lines), kept.split()[0]) == (200, "kept")
    assert int(kept.split()[1]) > 0
