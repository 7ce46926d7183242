"""Each record of a decision says when, whether it stands, what follows from it, and when to look at it again."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_is_whole(path: Path) -> None:
    text = path.read_text("utf-8")
    title, _, dated = text.split("\n")[:3]
    assert re.fullmatch(r"# \d+\. .+", title)
    assert re.fullmatch(
        r"Date: \d{4}-\d\d-\d\d(, revised \d{4}-\d\d-\d\d)? · Status: (accepted|superseded by \d+)", dated
    )
    for part in ("Context", "Choice", "Consequences"):
        assert f"\n**{part}.**" in text
    assert "\n**Revisit when** " in text


def test_they_are_numbered_without_a_gap() -> None:
    numbers = [(int(path.name[:4]), int(path.read_text("utf-8")[2:].partition(".")[0])) for path in RECORDS]
    assert numbers == [(number, number) for number in range(1, len(RECORDS) + 1)]


def test_the_index_has_each_of_them() -> None:
    rows = []
    for path in RECORDS:
        title, _, dated = path.read_text("utf-8").split("\n")[:3]
        number, _, name = title.removeprefix("# ").partition(". ")
        date, _, status = dated.removeprefix("Date: ").partition(" · Status: ")
        rows.append(f"| {number} | [{name}]({path.name}) | {date} | {status} |")
    assert (FOLDER / "README.md").read_text("utf-8").splitlines()[-len(rows) :] == rows
