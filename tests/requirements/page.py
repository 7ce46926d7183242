"""`docs/conformance.md` out of the requirements and the tests that prove them: `python -m tests.requirements.page`."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PAGE = ROOT / "docs" / "conformance.md"
MARK = re.compile(r"@pytest\.mark\.requirement\(([^)]*)\)")

INTRODUCTION = """# Conformance

Generated from `tests/requirements/*.toml` and the tests' marks by `python -m tests.requirements.page`; a test compares.

The official suite, `@modelcontextprotocol/conformance` 0.2.0-alpha.12, runs in `make test`, and alone with
`make conformance`: every set against `mcp-server serve` with authorization on, with one worker and with four that share
a Redis. It says at the end of each line how many checks passed, failed or warned; none may fail or warn, nothing is
left out, and nothing is expected to fail. `tasks-status-notifications` is skipped by the suite itself, and has tests of
our own.

Scenarios of servers that wait there for a release are made again from the specification, in both eras, with neighbours,
and run in `make test`; read on 2026-11-26, as they stood then:

| there | asks | here |
|---|---|---|
| issue 480, pull request 481 (2026-08-31) | one challenge with all scopes of the call: tool, resource, prompt, and a template by its variable | `tests/conformance/test_scopes_of_a_call.py` |
| issue 78 | the audience, with an issuer that has RFC 8414's document only, keys fetched when needed, or introspection | `tests/conformance/test_audience.py` |
| issue 116 | malformed headers, garbage, unsigned, `alg: none`, signed by itself | `tests/conformance/test_baseline.py` |
| pull request 395 | DPoP proofs, good, broken and replayed | `tests/conformance/test_proofs.py` |

A requirement without a test has its reason in the last column.
"""


def chapters() -> list[dict[str, Any]]:
    """The requirements as they are written, chapter by chapter."""
    return [tomllib.loads(path.read_text()) for path in sorted(FOLDER.glob("*.toml"))]


def marked() -> dict[str, list[str]]:
    """Which tests prove a requirement, by its id."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").glob("**/test_*.py")):
        if "node_modules" in path.parts:
            continue
        text = path.read_text()
        for mark in MARK.finditer(text):
            name = re.compile(r"def (test_\w+)").search(text, mark.end())
            assert name, path
            for one in re.findall(r'"([\d.]+)"', mark[1]):
                found.setdefault(one, []).append(f"{path.relative_to(ROOT)}::{name[1]}")
    return found


def render(chapters: Sequence[Mapping[str, Any]], proved: Mapping[str, Sequence[str]]) -> str:
    """The page."""
    every = [one for chapter in chapters for one in chapter["requirement"]]
    tested = sum(one["id"] in proved for one in every)
    musts = [one for one in every if one["level"] == "MUST"]
    summary = (
        f"{len(every)} requirements, {tested} of them proved by a test; of {len(musts)} MUSTs "
        f"{sum(one['id'] in proved for one in musts)} by a test, the others have a reason.\n"
    )
    return "\n".join([INTRODUCTION, summary, *(_chapter(chapter, proved) for chapter in chapters)])


def _chapter(chapter: Mapping[str, Any], proved: Mapping[str, Sequence[str]]) -> str:
    rows = [
        f"| {one['id']} | {one['level']} | {one['text']} | {_proof(one, proved)} |" for one in chapter["requirement"]
    ]
    head = [f"## {chapter['chapter']}", "", f"Source: {chapter['where']}.", ""]
    return "\n".join([*head, "| id | level | requirement | proof |", "|---|---|---|---|", *rows, ""])


def _proof(requirement: Mapping[str, str], proved: Mapping[str, Sequence[str]]) -> str:
    tests = proved.get(requirement["id"], ())
    if not tests:
        return requirement.get("reason", "")
    return ", ".join(f"`{name.rpartition('::')[2]}`" for name in tests)


if __name__ == "__main__":
    PAGE.write_text(render(chapters(), marked()))
