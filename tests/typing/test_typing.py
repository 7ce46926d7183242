"""An author's types hold: one run of mypy over code that asserts them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_type_checker_knows_what_an_author_gets() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "tests/typing/mypy.ini", "--no-error-summary", "tests/typing/author.py"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (said.stdout, said.stderr, said.returncode) == ("", "", 0)
