"""What `make test` keeps in one process."""

import re

import pytest

from tests.kit.shares import ROOT, share_of


@pytest.mark.parametrize(
    ("nodeid", "share"),
    [
        ("tests/compose/test_compose.py::test_a[keycloak-16]", "compose"),
        ("tests/compose/test_image.py::test_a", "compose"),
        ("tests/flows/test_ladder.py::test_a[keycloak]", "keycloak"),
        ("tests/flows/test_ladder.py::test_a[embedded-keycloak]", "keycloak"),
        ("tests/live/test_browser_client.py::test_a[embedded]", "keycloak"),
        ("tests/live/test_realm_apply.py::test_a", "keycloak"),
        ("tests/unit/test_shares.py::test_a", "tests/unit/test_shares.py"),
    ],
)
def test_what_shares_a_server_is_one_share(nodeid: str, share: str) -> None:
    assert share_of(nodeid) == share


def test_what_runs_by_itself_is_listed_where_it_is_run() -> None:
    """`make test` collects those files alone for it: a marked test elsewhere would run never."""
    listed = re.search(r"^ALONE := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"pytest\.mark\.alone\b", path.read_text())
    }
    assert listed and {*listed[1].split()} == marked
