import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mcp_server import identity
from mcp_server.identity import Credential, Principal, ScopeRules, missing
from tests.kit.principals import principal


@pytest.mark.requirement("25.14")
def test_implications_are_followed_to_the_end_and_circles_end() -> None:
    rules = ScopeRules(
        implies={"admin": frozenset({"write"}), "write": frozenset({"read"}), "read": frozenset({"admin"})},
        role_scopes={"boss": frozenset({"write"})},
    )
    assert rules.held({"x"}, ["boss", "nobody"]) == {"x", "write", "read", "admin"}


def test_a_stranger_lacks_everything() -> None:
    assert missing(frozenset({"a"}), None) == {"a"}
    assert missing(frozenset({"a", "b"}), principal(scopes={"a"})) == {"b"}


def test_the_key_tells_issuers_apart() -> None:
    assert principal(issuer="https://a").key != principal(issuer="https://b").key


def test_the_key_tells_a_client_from_a_person_of_its_name() -> None:
    person = principal(subject="client")
    itself = msgspec.structs.replace(person, kind="client")
    assert (person.key, itself.key) == ("https://issuer\nuser\nclient", "https://issuer\nclient\nclient")
    assert msgspec.structs.replace(itself, subject="another account").key == itself.key
    assert (
        msgspec.structs.replace(person, subject="another").key == "https://issuer\nuser\nanother"
    )  # not the old one's


NOW = 1_000_000.0


def logged_in(age: float | None, acr: str = "1", leeway_s: int = 0, kind: str = "user") -> Principal:
    at = None if age is None else NOW - age
    return msgspec.structs.replace(principal(), auth_time=at, acr=acr, leeway_s=leeway_s, kind=kind)


@pytest.mark.parametrize(
    ("caller", "fresh_s", "acr", "stale"),
    [
        (logged_in(None, ""), None, (), False),  # nothing is demanded
        (logged_in(60), 60, (), False),
        (logged_in(60.5), 60, (), True),
        (logged_in(90, leeway_s=30), 60, (), False),  # the issuer's clock may be behind: it would not ask again
        (logged_in(91, leeway_s=30), 60, (), True),
        (logged_in(0), 0, (), False),
        (logged_in(None), 60, (), True),  # not told is not recent
        (logged_in(-30, leeway_s=30), 60, (), False),
        (logged_in(-31, leeway_s=30), 60, (), True),  # nobody logs in tomorrow
        (logged_in(NOW - NOW * 1000), 60, (), True),  # milliseconds
        (logged_in(float("nan")), 60, (), True),
        (logged_in(0, "2"), None, ("2",), False),
        (logged_in(0, "2"), None, ("gold", "2"), False),
        (logged_in(0, "1"), None, ("2",), True),
        (logged_in(0, "3"), None, ("2",), True),  # ways have no order
        (logged_in(0, "22"), None, ("2",), True),
        (logged_in(0, ""), None, ("2",), True),
        (logged_in(61, "2"), 60, ("2",), True),
        (logged_in(10, "2"), 60, ("2",), False),
        (logged_in(10, "1"), 60, ("2",), True),
        (logged_in(None, "2"), None, ("2",), False),
        (logged_in(0, "2", kind="client"), 60, ("2",), True),  # it has never logged in, whatever a mapper wrote
        (logged_in(0, "2", kind="client"), None, (), False),
    ],
)
def test_a_login_that_is_too_old_or_of_another_kind_is_stale(
    caller: Principal, fresh_s: int | None, acr: tuple[str, ...], stale: bool
) -> None:
    assert identity.stale(caller, fresh_s, acr, NOW) is stale


@pytest.mark.parametrize("written", [repr, str, "{}".format, "{!r:>40}".format, lambda one: f"{[one]} {vars}"])
def test_no_text_of_a_credential_has_the_token(written: Callable[[Any], str]) -> None:
    assert "s3cret" not in written(Credential(b"s3cret", principal()))


@pytest.mark.parametrize(
    "out",
    [
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        json.dumps,
        msgspec.json.encode,
        msgspec.msgpack.encode,
        bytes,
        vars,
        iter,
    ],
)
def test_a_credential_cannot_be_encoded_copied_or_looked_through(out: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        out(Credential(b"s3cret", principal()))
