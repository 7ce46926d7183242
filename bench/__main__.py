"""`python -m bench`: all targets in one run, the servers on one core, the load on the other."""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bench.aims import aims
from bench.issuer import issuer_url, issuing
from bench.measure import Run, build
from bench.paths import RESULTS
from bench.processes import LOAD_CORE
from bench.report import keep, show
from bench.targets import AUDIT, NAMES, OURS, Target, audience, named
from bench.tokens import issuer_key, prepare
from bench.versions import versions

TOKENS_PER_SECOND = 35_000


def main() -> int:
    """Measure and report; 1 when a target failed, or with --strict when an aim was missed."""
    options = _options()
    lacking = [tool for tool in ("wrk", "taskset", "chrt") if shutil.which(tool) is None]
    if lacking or (os.cpu_count() or 1) < 2:
        print(f"needs {' and '.join(lacking)}" if lacking else "needs two cores")
        return 1
    signal.signal(signal.SIGTERM, _terminated)
    RESULTS.mkdir(parents=True, exist_ok=True)
    chosen = named(options.only, options.port, options.before)
    run = _run(options, chosen)
    found = run.found
    path = RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"
    about = {"rounds": options.rounds, "seconds": options.seconds, "versions": versions()}
    keep(path, found, about)
    show(found, chosen, versions())
    missed = options.strict and not all(aim.met for aim in aims(found))
    return 1 if found.failures or missed else 0


def _run(options: argparse.Namespace, chosen: Sequence[Target]) -> Run:
    key = issuer_key()
    count = options.tokens or max(1, options.seconds) * TOKENS_PER_SECOND
    tokens = prepare(key, issuer_url(options.port), audience(options.port), count)
    _drop_audit()
    with ExitStack() as stack:
        run = Run(tokens, stack)
        built = build(chosen, run.found)
        os.sched_setaffinity(0, {LOAD_CORE})
        stack.enter_context(issuing(options.port, key))
        run.bring_up(built)
        run.measure(options.rounds, options.seconds, renew=options.renew)
        run.soak(options.soak, options.seconds)
    if OURS not in run.found.failures:
        _drop_audit()
    return run


def _drop_audit() -> None:
    """Remove the audit files of ours and those it rotated away: they are large and of no use later."""
    for path in RESULTS.glob(f"*{AUDIT.name.removeprefix(OURS)}*"):
        path.unlink()


def _terminated(number: int, _frame: FrameType | None) -> None:
    """Leave through the exits, which end the servers."""
    sys.exit(128 + number)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=_positive, default=5, help="rounds of each cell")
    parser.add_argument("--seconds", type=_positive, default=3, help="seconds of a round")
    parser.add_argument("--renew", action="store_true", help="each round with processes of its own")
    parser.add_argument("--only", help=f"some of {','.join(NAMES)}, separated by commas")
    parser.add_argument("--before", type=_tree, help="another tree of this project, with .venv: the target ours-before")
    parser.add_argument("--soak", type=int, default=0, help="requests to send to ours afterwards")
    parser.add_argument("--tokens", type=_positive, help="how many different tokens to have")
    parser.add_argument("--port", type=_positive, default=18700, help="the first of twenty free ports")
    parser.add_argument("--strict", action="store_true", help="a missed aim fails the run too")
    return parser.parse_args()


def _tree(text: str) -> Path:
    tree = Path(text).resolve()
    if not (tree / ".venv" / "bin" / "mcp-server").exists():
        raise argparse.ArgumentTypeError("has no .venv with the server")
    return tree


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
