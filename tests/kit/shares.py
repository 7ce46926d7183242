"""Which tests `make test` runs in one process, and in which order: what shares a server stays together.

xdist has groups for it (`--dist loadgroup`), which its release 3.8 writes where pytest 9.2 no longer reads them.
"""

import re
from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[2]
FIRST = ("keycloak", "compose")
"""What takes longest begins first, so that all processes end at about the same time."""
WHOLE = {"tests/live/test_browser_client.py": "keycloak"}
"""Modules that would meet themselves in the other process: the client's page has a fixed port."""
_PARAMETER = re.compile(r"[\[-]keycloak[-\]]")
_FIXTURE = re.compile(r"\b(keycloak|ordinary): Keycloak\b|\bempty: Admin\b")


class Shares(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types here
    """Hands out shares where xdist hands out modules."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)


def share_of(nodeid: str) -> str:
    """All that use the run's Keycloaks; all that use the compose file's ports and images; else the module."""
    module = nodeid.partition("::")[0]
    if module.startswith("tests/compose/"):  # before the parameters: one names a service `keycloak`
        return "compose"
    if module.startswith("tests/architecture/"):  # they read every module of the project once, all together
        return "architecture"
    if module in WHOLE:
        return WHOLE[module]
    if _names_keycloak(module) or _PARAMETER.search(nodeid):
        return "keycloak"
    return module


@cache
def _names_keycloak(module: str) -> bool:
    return _FIXTURE.search((ROOT / module).read_text()) is not None


def place_of(item: pytest.Item) -> int:
    """Where its share comes; those of equal place stay in their order."""
    share = share_of(item.nodeid)
    return FIRST.index(share) if share in FIRST else len(FIRST)
