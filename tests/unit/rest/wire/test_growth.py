"""What reads the texts of an API takes time in proportion to their length: the worker serves nobody else meanwhile."""

import json
import re
from collections.abc import Callable
from functools import partial

import pytest

from mcp_server.rest.model import WireAnswer
from mcp_server.rest.wire import masks, media, pages, problems
from tests.kit import effort

MODULES = (masks, media, pages, problems)
PATTERNS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": found
    for module in MODULES
    for name, found in vars(module).items()
    if isinstance(found, re.Pattern)
}
PIECES = [
    "\n", "\r\n", " ", "\t ", "a", "a.", "a-", "/", "/a", "ab://", "a:", "::", "1.", '"', '\nFile "', " at x(", "\nat a", "\n#1 a", "\nthread 'a",
    "xn--", "a@", "a:a@", "eyJ.", "token ", "x-a", "x-token-", "host=", "fe80:", "\na", "\n a.go:1", "c:\\a", "<title", 'scope="', "<a>;", '; rel="',
]  # fmt: skip
LONG = 4
"""The longer text is so many times the shorter: the square of it is 16."""


def spent(act: Callable[[], object]) -> float:
    """The least of two."""
    return min(effort.spent(act) for _ in range(2))


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_takes_time_in_proportion_to_the_text(name: str) -> None:
    """A row of what a pattern begins with is looked through once, and not again from each of its places."""
    pattern = PATTERNS[name]
    if isinstance(pattern.pattern, bytes):
        pytest.skip("of one word, compiled for it")
    for piece in PIECES:
        short, long = (spent(partial(pattern.sub, "", (piece * size)[:size] + "\nx")) for size in (1_000, LONG * 1_000))
        assert long < 0.003 or long < 2 * LONG * short, piece


def cleaned(monkeypatch: pytest.MonkeyPatch, body: object) -> int:
    """How many characters of an error are looked through."""
    looked: list[int] = []
    clean = problems.clean

    def counting(text: str) -> str:
        looked.append(len(text) + 16)
        return clean(text)

    with monkeypatch.context() as patched:
        patched.setattr(problems, "clean", counting)
        problems.said(
            WireAnswer(status=422, headers={"content-type": "application/json"}, body=json.dumps(body).encode())
        )
    return sum(looked)


@pytest.mark.parametrize(
    "one",
    [
        {"loc": ["body"], "input": "\n" * 1_999},  # as FastAPI repeats what it was sent
        {"loc": ["body"], "input": "Ab3 " * 499},
        {"a": "b"},
        {"n" * 1_000: 1},
        [["a"] * 20] * 20,
    ],
)
def test_an_error_of_many_texts_is_looked_through_up_to_a_bound(monkeypatch: pytest.MonkeyPatch, one: object) -> None:
    for size in (1, 2, 3):
        assert 0 < cleaned(monkeypatch, {f"n{i}": [one] * 5 for i in range(size)}) <= 2 * problems.MAX_CLEANED


def test_what_comes_first_in_an_error_is_told() -> None:
    errors = [{"msg": "no letter", "input": "\n" * 1_999}] * 14
    body = json.dumps({"detail": errors}).encode()
    said = problems.said(WireAnswer(status=422, headers={"content-type": "application/json"}, body=body))
    assert said.startswith('{"detail":[{"msg":"no letter","input":""},')
    assert json.loads(said)["detail"]


@pytest.mark.parametrize("blank", ["\n", " ", "\r\n", "\n\t ", "\x0b", "\u2028"])
def test_blanks_are_one_before_a_trace_is_looked_for(blank: str) -> None:
    assert problems.clean(f"no{blank * 500}such") == "no such"
    assert problems.clean(f"no order{blank * 400}\n{blank * 400}at com.acme.Orders.find(Orders.java:7)") == "no order"
    assert problems.clean(blank * 5_000) == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://u:pa/ss@db/x?u=http://w:p@db2/y failed", "/y failed"),
        ("http://db/x?u=https://db2:8443/y, or ftp://db3", "/x?u=/y, or"),
        ("see 'http://u:" + "a/b" * 400 + "@db.prod.internal/x'", "see '/x'"),
    ],
)
def test_an_address_is_told_from_its_path_on(text: str, told: str) -> None:
    assert problems.clean(text) == told
