"""`python -m tests.operate`: all sections, the peers, and `docs/operate-report.md`; 1 when a promise was broken.

It runs in a network and a mount namespace of its own where the kernel lets it, so that no port and no disk of the
machine is touched. `--short` is a rehearsal of a few minutes.
"""

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.kit.served import ROOT
from tests.operate import machine, report, section
from tests.operate.around import Around, ports
from tests.operate.load import Shape
from tests.operate.peers import rolling
from tests.operate.section import Plan, Seen
from tests.operate.sections import ALL

REPORT: Final = ROOT / "docs" / "operate-report.md"
PEERS: Final = "peers"
INSIDE: Final = "OPERATE_INSIDE"
FULL: Final = Shape(rate=100, longest_s=8, listeners=500, sessions=30, tasks=60)
SHORT: Final = Shape(rate=50, longest_s=3, listeners=60, sessions=9, tasks=20)


class Book:
    """The report, written anew after each section: a run that is cut short leaves what it has seen."""

    def __init__(self, shape: Shape, times: int, file: Path) -> None:
        self._about, self._shape, self.times, self._file = machine.described(), shape, times, file
        self.seen: list[Seen] = []
        self.more: list[str] = []

    def write(self) -> str:
        """What there is by now."""
        text = report.page(self._about, self._shape, self.times, self.seen, self.more)
        self._file.write_text(text)
        return text

    @property
    def fine(self) -> bool:
        """Whether every promise held."""
        return bool(self.seen) and all(one.held for one in self.seen)


def main() -> int:
    """Run what was asked for."""
    options = _options()
    apart(sys.argv[1:], "tests.operate")
    shape = SHORT if options.short else FULL
    shape = msgspec.structs.replace(shape, rate=options.rate or shape.rate)
    plans = [one for one in ALL if not options.only or one.name in options.only.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="operate-"))
    kept = options.report or not (options.short or options.only)
    book = Book(shape, options.times or (1 if options.short else 3), REPORT if kept else folder / "report.md")
    asyncio.run(_all(book, plans, shape, folder, times=book.times, peers_too=not options.only or PEERS in options.only))
    print(book.write())
    if options.keep or not book.fine:
        print(f"what the servers wrote is in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return 0 if book.fine else 1


def apart(arguments: Sequence[str], module: str) -> None:
    """Begin anew in namespaces of our own; where that is not allowed, and once there, go on as we are."""
    if INSIDE in os.environ:
        return
    inside = {**os.environ, INSIDE: "1", "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    enter = ("unshare", "--net", "--mount", "--")
    if shutil.which("unshare") is None or subprocess.run((*enter, "true"), capture_output=True, check=False).returncode:
        os.environ.update(inside)
        return
    up = 'ip link set lo up && sysctl -qw net.ipv4.tcp_migrate_req=1; exec "$0" "$@"'
    os.execvpe("unshare", [*enter, "sh", "-c", up, sys.executable, "-m", module, *arguments], inside)


async def _all(book: Book, plans: Sequence[Plan], shape: Shape, folder: Path, *, times: int, peers_too: bool) -> None:
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # what was started ends with us
    async with Around(folder, ports()).running() as around:
        for plan in plans:
            print(f"{plan.name}: {plan.about}", file=sys.stderr, flush=True)
            try:
                found = await section.run(plan, around, shape, folder / plan.name, times=times)
            except Exception as error:  # noqa: BLE001 - the others are run all the same
                traceback.print_exc()
                found = section.broken(plan, shape, type(error).__name__)
            book.seen.append(found)
            book.write()
            print(report.judgements(found.judged), f"{found.took_s:.0f} s", file=sys.stderr, flush=True)
            await around.forget()
    if peers_too:
        ours = next((one for one in book.seen if one.plan.name == "haproxy"), None)
        book.more.append(await rolling.run(shape, folder, ours))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.operate", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a rehearsal: fewer of everything, no page in docs")
    parser.add_argument("--only", default="", help=f"some of {','.join(one.name for one in ALL)},{PEERS}")
    parser.add_argument("--report", action="store_true", help="write the page of a short or partial run to docs, too")
    parser.add_argument("--rate", type=float, default=0, help="calls a second")
    parser.add_argument("--times", type=int, default=0, help="how often each process is restarted")
    parser.add_argument("--keep", action="store_true", help="keep what the servers wrote")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
