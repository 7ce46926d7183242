import msgspec
import pytest

from mcp_server.identity import ScopeRules, missing
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
