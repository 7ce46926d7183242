"""What `make test` keeps in one process."""

import pytest

from tests.kit.shares import share_of


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
