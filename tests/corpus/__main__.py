"""`make openapi-directory`: every document of the corpora; the report is printed and kept. Ends with 1 where one fails."""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import msgspec

from tests.corpus import cache, largest, report
from tests.corpus.job import Result, imported

KEPT = Path(".devstack")


def main() -> int:
    """Run the job; what it found is in `.devstack/corpus.txt` and, a document a line, in `.devstack/corpus.jsonl`."""
    asked = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    asked.add_argument("--processes", type=int, default=2)
    asked.add_argument("--no-calls", action="store_true", help="Import alone.")
    asked.add_argument("--every", type=int, default=1, metavar="N", help="Each Nth document alone.")
    asked.add_argument("--largest", action="store_true", help="What the largest cost a server, alone.")
    options = asked.parse_args()
    if options.largest:
        return _largest()
    paths = [*cache.documents(), *cache.github()][:: options.every]
    calls = not options.no_calls
    KEPT.mkdir(exist_ok=True)
    results: list[Result] = []
    with ProcessPoolExecutor(options.processes) as pool, (KEPT / "corpus.jsonl").open("wb") as kept:
        for done in as_completed(pool.submit(_one, path, calls) for path in paths):
            one = done.result()
            results.append(one)
            kept.write(msgspec.json.encode(one) + b"\n")
            kept.flush()
    results.sort(key=lambda one: one.name)
    by_name = {_name(path): path for path in paths}
    why = {one.name: report.opinion(by_name[one.name].read_bytes()) for one in results if one.refused}
    told = "\n".join(report.lines(results, why))
    print(told)
    (KEPT / "corpus.txt").write_text(told + "\n")
    return int(any(one.crashed or one.broken or one.calls.wrong for one in results))


def _largest() -> int:
    costs = [largest.measured(path) for path in largest.documents()]
    print("\n".join(largest.lines(costs)))
    return int(any(isinstance(one, str) or not one.kept for one in costs))


def _one(path: Path, calls: bool) -> Result:
    return imported(_name(path), path.read_bytes(), calls=calls)


def _name(path: Path) -> str:
    return "/".join(path.parts[path.parts.index("api") + 1 :]) if "api" in path.parts else f"github/{path.name}"


if __name__ == "__main__":
    sys.exit(main())
