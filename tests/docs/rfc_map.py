"""`docs/rfc-map.md`: what the code cites of each RFC, where, and the test that holds it; `python -m tests.docs.rfc_map`.

The sentences are those of the code's comments and docstrings, so the page says what the code says. Titles, existing
sections and tests are in `rfcs.toml`. There are no numbers of lines in it: they would change with every commit.
"""

import ast
import functools
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests.architecture.source import PRODUCT, ROOT, name_of, tree

PAGE = ROOT / "docs" / "rfc-map.md"
KNOWN = Path(__file__).with_name("rfcs.toml")
SECTION = r"§+ ?[A-F\d]+(?:\.\d+)*"
CITED = re.compile(rf"RFC ?(\d{{4}})((?:(?:,| and)? (?:{SECTION}|\d{{4}}(?= §)))*)")
"""`RFC 6750 §3, 9728 §5.1`: the first number and all sections that follow without another word between."""
PART = re.compile(r"(\d{4})(?= §)|§+ ?([A-F\d]+(?:\.\d+)*)")
LONGEST = 240

HEAD = """# RFCs, line by line

Written by `python -m tests.docs.rfc_map` from the comments and docstrings of the code and from
[tests/docs/rfcs.toml](../tests/docs/rfcs.toml); a test compares. A section that is cited must exist, and has a test that
holds what is said of it. What MCP itself asks for is in [conformance.md](conformance.md).
"""


class Citation(msgspec.Struct, frozen=True, order=True):
    """A sentence of the code that names a section of an RFC; no section is the RFC as a whole."""

    rfc: int
    section: str
    place: str
    sentence: str


@functools.cache
def citations() -> list[Citation]:
    """All of the product and of what surrounds it."""
    return sorted({one for path in PRODUCT for text in _texts(path) for one in _cited(name_of(path), text)})


def known() -> dict[int, dict[str, Any]]:
    """The table of RFCs by their numbers."""
    return {int(number): about for number, about in tomllib.loads(KNOWN.read_text("utf-8")).items()}


def page() -> str:
    """The page as the code and the table say it."""
    found, table = citations(), known()
    numbers = sorted({one.rfc for one in found})
    sections = {(one.rfc, one.section) for one in found if one.section}
    summary = f"{len(numbers)} RFCs, {len(sections)} sections of them.\n"
    return "\n".join([HEAD, summary, *(_chapter(number, table[number], found) for number in numbers)])


def _chapter(number: int, about: dict[str, Any], found: list[Citation]) -> str:
    lines = [f"## RFC {number}: {about['title']}"]
    rows = [one for one in found if one.rfc == number and one.section]
    whole = sorted({one.place for one in found if one.rfc == number and not one.section})
    if rows:
        lines += ["", "| § | what the code says | where | test |", "|---|---|---|---|"]
    for section in sorted({one.section for one in rows}, key=_order):
        said: dict[str, list[str]] = {}
        for one in rows:
            if one.section == section:
                said.setdefault(one.sentence, []).append(_link(one.place))
        test = about.get("tests", {}).get(section, "")
        for sentence, places in said.items():
            lines.append(f"| {section} | {sentence} | {', '.join(places)} | {_test(test)} |")
    if whole:
        lines += ["", f"As a whole: {', '.join(map(_link, whole))}."]
    return "\n".join([*lines, ""])


def _order(section: str) -> tuple[object, ...]:
    return tuple((part.isalpha(), part.zfill(4)) for part in section.split("."))


def _link(place: str) -> str:
    return f"[{place.removeprefix('mcp_server/')}](../{place})"


def _test(name: str) -> str:
    path, _, function = name.partition("::")
    return f"[{function or Path(path).stem}](../{path})" if path else ""


def _cited(place: str, text: str) -> Iterator[Citation]:
    for match in CITED.finditer(text):
        number, any_section = int(match[1]), False
        for part in PART.finditer(match[2]):
            if part[1]:
                number = int(part[1])
            else:
                any_section = True
                yield Citation(number, part[2], place, _sentence(text, match.start(), match.end()))
        if not any_section:
            yield Citation(number, "", place, "")


def _sentence(text: str, start: int, end: int) -> str:
    """The sentence around a citation, fit for a cell of a table."""
    begins = max((found.end() for found in re.finditer(r"[.;] (?=[A-Z`])", text[:start])), default=0)
    ends = re.search(r"[.;](?= [A-Z`]|$)", text[end:])
    whole = text[begins : end + ends.start() if ends else len(text)].strip(" :,;")
    if len(whole) > LONGEST:
        whole = whole[:LONGEST].rsplit(" ", 1)[0] + " …"
    return whole.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def _texts(path: Path) -> Iterator[str]:
    """Strings and blocks of comments, their lines joined."""
    if "RFC" not in (source := path.read_text("utf-8")):
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "RFC" in node.value:
            yield " ".join(node.value.split())
    block: list[str] = []
    last = (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if token.start != (last[0] + 1, last[1]):
            yield " ".join(block)
            block = []
        block.append(token.string.lstrip("# ").partition("# noqa")[0])
        last = token.start
    yield " ".join(block)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
