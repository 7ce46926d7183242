"""Every section of an RFC that the code cites exists, is in the map, and has a test that holds what is said of it."""

import re

from tests.architecture.source import ROOT
from tests.docs import rfc_map


def test_the_map_is_what_the_code_says() -> None:
    assert rfc_map.PAGE.read_text("utf-8") == rfc_map.page(), "run: python -m tests.docs.rfc_map"


def test_every_cited_section_exists() -> None:
    """One that does not is a slip of the code, or a section to be looked up and added to tests/docs/rfcs.toml."""
    table = rfc_map.known()
    found = {(one.rfc, one.section) for one in rfc_map.citations()}
    assert {number for number, _ in found} == table.keys(), "titles stand in tests/docs/rfcs.toml"
    sections = {number: set(about.get("sections", "").split()) for number, about in table.items()}
    assert sorted((number, one) for number, one in found if one and one not in sections[number]) == []


def test_every_cited_section_has_a_test_that_is_there() -> None:
    table = rfc_map.known()
    cited = {(one.rfc, one.section) for one in rfc_map.citations() if one.section}
    tested = {
        (number, section): name for number, about in table.items() for section, name in about.get("tests", {}).items()
    }
    assert cited == tested.keys()
    for name in tested.values():
        path, _, function = name.partition("::")
        text = (ROOT / path).read_text("utf-8")
        assert not function or re.search(rf"def {function}\(", text), name


def test_citations_are_read_as_they_are_written() -> None:
    text = "RFC 6750 §3, 9728 §5.1 and §5.2; it says more, §9 is another's. RFC 9110 §4.2.4, OpenID §7. In RFC 7517, RFC 7515 §F."
    found = [(one.rfc, one.section) for one in rfc_map._cited("a.py", text)]
    assert found == [(6750, "3"), (9728, "5.1"), (9728, "5.2"), (9110, "4.2.4"), (7517, ""), (7515, "F")]
    assert rfc_map._sentence("One. The §2 | of it; `a` b.", 9, 11) == "The §2 \\| of it"
