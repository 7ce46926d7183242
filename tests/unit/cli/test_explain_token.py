"""`mcp-server explain-token` as a process: what it is given may be no text."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("given", "words"), [(b"\xff.a.b", []), (b"", [b"\xff.a.b"])])
def test_explain_token_judges_what_is_no_text(given: bytes, words: list[bytes]) -> None:
    """As the server does, which is sent bytes."""
    environment = {**os.environ, "MCP_ISSUER": "https://kc.example/realms/mcp", "PYTHONUTF8": "1"}
    command: list[str | bytes] = [sys.executable, "-m", "mcp_server", "explain-token", *words]
    done = subprocess.run(command, env=environment, input=given, capture_output=True, check=False)
    assert (done.returncode, done.stdout.split()[:2]) == (1, [b"refused:", b"not_a_token"]), done.stderr
