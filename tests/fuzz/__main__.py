"""Every target for a while, one after the other: `python -m tests.fuzz [--seconds N] [NAME...]`; `make fuzz`.

What is new in an input's way through the product is kept in `--found`, where the next run begins; an input that breaks a
promise is written there as well. Those that are worth it go into the corpus by hand: it is run in every test.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import CORPUS, TARGETS

TIMEOUT_S = 10
"""An input of 16 KiB that takes as long is a finding: something grows with the square of what a stranger sends."""
MEMORY_MB = 2048
MAX_BYTES = 16 * 1024


def main() -> int:
    """Run them; the exit code is how many of them found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", type=_target, metavar="NAME", help=f"these alone: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--found", type=Path, default=Path(".fuzz"), help="where inputs are kept")
    given = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:  # each target would have "found" that
        parser.error("atheris is not installed: `make fuzz` does that")
    failed = [name for name in given.names or TARGETS if not _run(name, given)]
    print(f"{len(failed)} of {len(given.names or TARGETS)} targets found something: {', '.join(failed) or 'none'}")
    return len(failed)


def _target(name: str) -> str:
    """Argparse's `choices` would be asked about the empty list, too, where no name is given."""
    if name not in TARGETS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(TARGETS)}")
    return name


def _run(name: str, given: argparse.Namespace) -> bool:
    found = given.found / name
    inputs, broken = found / "inputs", found / "broken"
    for folder in (inputs, broken):
        folder.mkdir(parents=True, exist_ok=True)
    options = [
        f"-timeout={TIMEOUT_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-max_len={MAX_BYTES}",
        f"-artifact_prefix={broken}/",
    ]
    options += [f"-max_total_time={given.seconds}", "-use_value_profile=1", str(inputs), str(CORPUS / name)]
    log = found / "log"
    with log.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.run", name, *options], stdout=file, stderr=file, check=False
        )
    text = log.read_text("utf-8", "replace")
    runs = re.findall(r"Done (\d+) runs|^#(\d+)\t", text, re.MULTILINE)
    print(
        f"{name}: {''.join(runs[-1]) if runs else 0} runs, {'clean' if not done.returncode else f'see {log}'}",
        flush=True,
    )
    return not done.returncode


if __name__ == "__main__":
    sys.exit(main())
