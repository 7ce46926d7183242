import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mcp_server.identity import Credential, ScopeRules, missing
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
