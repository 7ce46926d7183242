"""Fixtures of the tests that run real programs."""

from collections.abc import Iterator

import pytest

from devstack.realm.apply.admin import Admin
from tests.kit.authorities import Keycloak
from tests.kit.stack import free_port


@pytest.fixture
def empty(keycloak: Keycloak) -> Iterator[Admin]:
    """The administration of a realm that is not there yet."""
    with keycloak.admin(f"empty-{free_port()}") as admin:
        yield admin
        if admin.exists():
            admin.send("DELETE", "")
