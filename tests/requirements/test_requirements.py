"""Every line of the protocol that binds a server is written down, and each MUST has its test or its reason."""

from typing import Any

import msgspec
import pytest

from tests.requirements import page
from tests.requirements.page import PAGE, chapters, marked


class Requirement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    level: str
    text: str
    reason: str = ""


def requirements() -> list[Requirement]:
    return [msgspec.convert(one, Requirement) for chapter in chapters() for one in chapter["requirement"]]


def test_ids_are_their_own_and_levels_are_the_specifications() -> None:
    known = [one.id for one in requirements()]
    assert len(set(known)) == len(known) >= 281
    assert {one.level for one in requirements()} <= {"MUST", "SHOULD", "MAY"}
    assert all(one.text.endswith(".") for one in requirements())


def test_every_must_has_a_test_or_a_reason_and_not_both() -> None:
    proved = marked()
    for one in requirements():
        if one.level == "MUST":
            assert (one.id in proved) is not bool(one.reason), one


def test_every_mark_names_a_requirement() -> None:
    known = {one.id for one in requirements()}
    assert set(marked()) <= known


def test_the_page_is_what_the_data_says() -> None:
    assert PAGE.read_text() == page.render(chapters(), marked()), "run: python -m tests.requirements.page"


@pytest.mark.parametrize("chapter", chapters(), ids=lambda one: one["chapter"])
def test_a_chapter_says_where_it_comes_from(chapter: dict[str, Any]) -> None:
    assert chapter["where"]
