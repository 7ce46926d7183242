"""The index of what is kept for callers, by what an issuer says is over."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from mcp_server.identity import Principal
from mcp_server.store.revocations import EVER, MarksIndex, Revocation
from tests.kit.principals import principal

ALICE = msgspec.structs.replace(principal(subject="alice"), sid="s", issued_at=100.0)
BOB = msgspec.structs.replace(principal(subject="bob"), issued_at=100.0)


def revoked(kind: Any, name: str, **changed: Any) -> Revocation:
    usual: dict[str, Any] = {"issuer": ALICE.issuer, "before": 100.0, "until": EVER}
    return Revocation(kind=kind, name=name, **(usual | changed))


def unasked() -> Iterator[tuple[str, Principal]]:
    raise AssertionError("all that is kept is looked at")


@pytest.fixture
def kept() -> MarksIndex[str]:
    found = MarksIndex[str]()
    for name, who in (("a", ALICE), ("again", ALICE), ("b", BOB)):
        found.add(name, who)
    return found


def test_of_logins_and_persons_nothing_else_is_looked_at(kept: MarksIndex[str]) -> None:
    assert kept.over(revoked("sid", "s"), unasked) == ["a", "again"]
    assert kept.over(revoked("sub", "bob"), unasked) == ["b"]
    assert kept.over(revoked("sub", "carol"), unasked) == []
    for later in ({"before": 99.0}, {"issuer": "https://other"}):
        assert kept.over(revoked("sid", "s", **later), unasked) == []
    kept.remove("a", ALICE)
    assert kept.over(revoked("sid", "s"), unasked) == ["again"]


def test_a_token_without_a_login_is_under_no_name(kept: MarksIndex[str]) -> None:
    assert kept.over(revoked("sid", ""), unasked) == []
    for name, who in (("a", ALICE), ("again", ALICE), ("b", BOB)):
        kept.remove(name, who)
    assert len(kept) == 0


def test_what_operators_name_otherwise_is_looked_for_everywhere(kept: MarksIndex[str]) -> None:
    everything = [("a", ALICE), ("b", BOB)]
    assert kept.over(revoked("issuer", ALICE.issuer), lambda: everything) == ["a", "b"]
    assert kept.over(revoked("jti", "j"), lambda: everything) == []
