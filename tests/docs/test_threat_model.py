"""The threat model claims what is there: each row names a module and a test, each boundary has every letter of STRIDE."""

import re

import pytest

from tests.architecture.source import ROOT

PAGE = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
ROW = re.compile(r"^\| ([STRIDE]) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")
BOUNDARIES = [part for part in PAGE.split("\n## ")[1:] if ROW.search(part)]


@pytest.mark.parametrize("boundary", BOUNDARIES, ids=lambda part: part.partition("\n")[0])
def test_a_boundary_has_every_letter_and_each_claim_its_module_and_its_test(boundary: str) -> None:
    rows = ROW.findall(boundary)
    assert len(rows) == len(re.findall(r"^\| [A-Z] \|", boundary, re.MULTILINE))
    assert {letter for letter, *_ in rows} == set("STRIDE")
    for _, threat, _, modules, tests in rows:
        assert all((ROOT / path).exists() for _, path in LINK.findall(modules)), threat
        assert LINK.findall(modules), threat
        named = LINK.findall(tests)
        assert named, threat
        for name, path in named:
            assert re.search(rf"def {name}\(", (ROOT / path).read_text("utf-8")), (threat, name)


def test_every_place_where_trust_ends_is_there() -> None:
    """The three network edges of docs/architecture.md, the store, the pipe, the operator, the model, the release."""
    assert len(BOUNDARIES) == 8
    assert {"Clients", "Issuer", "Server", "Texts", "Operator", "Desktop", "Sources"} == {
        part.partition(" ")[0] for part in BOUNDARIES
    }
    assert sum(part.startswith("Server") for part in BOUNDARIES) == 2


@pytest.mark.parametrize(
    ("chapter", "rows"),
    [("OWASP MCP Top 10", [f"MCP{n:02}" for n in range(1, 11)]), ("OWASP ASVS 5.0", [f"V{n}" for n in range(1, 18)])],
)
def test_every_row_of_a_list_has_an_answer(chapter: str, rows: list[str]) -> None:
    (part,) = [part for part in PAGE.split("\n## ") if part.startswith(chapter)]
    cells = [line.strip("| ").split(" | ") for line in part.splitlines() if re.match(r"\| (MCP|V)\d", line)]
    assert [cell[0].split()[0] for cell in cells] == rows
    assert all(len(cell[-1]) >= 4 for cell in cells)


def test_what_is_left_is_said_and_the_readme_leads_there() -> None:
    left = PAGE.partition("## What is left")[2]
    assert left.count("\n- **") >= 5
    readme = (ROOT / "README.md").read_text("utf-8")
    for page in ("threat-model", "rfc-map", "supply-chain"):
        assert f"(docs/{page}.md)" in readme
