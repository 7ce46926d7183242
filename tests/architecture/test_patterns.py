"""Regular expressions mean the same on every Python that the project runs on."""

import importlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.architecture.source import PRODUCT, ROOT

parser: Any = importlib.import_module("re._parser")  # of `re` itself: what a pattern says is not guessed from its text
codes: Any = importlib.import_module("re._constants")
_ONE = frozenset({codes.LITERAL, codes.NOT_LITERAL, codes.IN, codes.ANY})


def repeated_groups(pattern: str, flags: int = 0) -> list[str]:
    """Possessive repetitions of more than a single character's set: before Python 3.11.5 wrong (gh-106052)."""
    return [str(item) for item in _possessive(parser.parse(pattern, flags)) if len(item) != 1 or item[0][0] not in _ONE]


def _possessive(part: Any) -> Iterator[Any]:
    if isinstance(part, parser.SubPattern):
        part = part.data
    if isinstance(part, tuple) and part and part[0] is codes.POSSESSIVE_REPEAT:
        yield part[1][2]
    if isinstance(part, list | tuple):
        for inner in part:
            yield from _possessive(inner)


def patterns() -> Iterator[tuple[str, "re.Pattern[Any]"]]:
    """Each compiled pattern that a module of the product holds."""
    for path in PRODUCT:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if "re.compile(" in path.read_text("utf-8"):
            for attribute, value in vars(importlib.import_module(name)).items():
                if isinstance(value, re.Pattern):
                    yield f"{name}.{attribute}", value


@pytest.mark.parametrize("pattern", [r"(?:a|bc)*+", r"(a)++", r"x(?:(?:ab)?+y)", r"(?:\"(?:[^\"\\]++|\\.)*+\")"])
def test_a_group_that_is_repeated_possessively_is_seen(pattern: str) -> None:
    assert repeated_groups(pattern)


def test_none_is_in_the_product() -> None:
    found = dict(patterns())
    assert len(found) > 50
    assert not {name: wrong for name, one in found.items() if (wrong := repeated_groups(one.pattern, one.flags))}
