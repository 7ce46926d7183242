"""Which tokens a person stands behind: the claims are those that a Keycloak 26.7.4 wrote, and neighbours of them."""

from typing import Any

import pytest

from mcp_server.auth.persons import client_only_reason

PERSON = {"jti": "onrtac:1", "sid": "s", "sub": "u", "auth_time": 1, "preferred_username": "alice", "azp": "c"}
SERVICE = {"jti": "trrtcc:1", "sub": "u", "preferred_username": "service-account-c", "client_id": "c", "azp": "c"}
OUT = object()


def changed(claims: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {name: value for name, value in (claims | more).items() if value is not OUT}


@pytest.mark.parametrize(
    "claims",
    [
        PERSON,
        changed(PERSON, jti="ofrtac:1"),
        changed(PERSON, jti="onrtrt:1"),
        changed(PERSON, jti="ntrtte:1"),
        changed(PERSON, jti="onltac:1", preferred_username=OUT, auth_time=OUT),
        changed(PERSON, jti="onrtrt:1", preferred_username=OUT),
        changed(PERSON, jti="onrtrt:1", auth_time=OUT),
        changed(PERSON, jti="5d78cc00-01d7-113e-e914-f9a9af2f4336", auth_time=OUT, preferred_username=OUT),
        changed(PERSON, jti=OUT),
        changed(PERSON, jti=5),
        changed(PERSON, client_id="c", username="alice"),
        changed(PERSON, preferred_username=5),
    ],
)
def test_a_persons_token_is_known_on_keycloak(claims: dict[str, Any]) -> None:
    assert client_only_reason(claims, "c", "keycloak") is None


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        (SERVICE, "jti says"),
        (changed(SERVICE, jti="onrtcc:1", sid="s"), "jti says"),
        (changed(SERVICE, sid="s", auth_time=1795702345194, preferred_username="alice"), "jti says"),
        (changed(SERVICE, jti="onltcc:1", sid="s", preferred_username=OUT), "jti says"),
        (changed(SERVICE, jti="onrtrt:1", sid="s"), "service account's username"),
        (changed(SERVICE, jti="onrtrt:1", sid="s", preferred_username=OUT), "without auth_time and a name"),
        (changed(SERVICE, jti="ntrtte:1", sid="s", preferred_username=OUT), "without auth_time and a name"),
        (changed(SERVICE, jti="1", sid="s"), "service account's username"),
        (changed(SERVICE, jti="1", sid="s", preferred_username=OUT, username="service-account-c"), "service account's"),
        (changed(SERVICE, jti="1", preferred_username=OUT), "no sid"),
        (changed(PERSON, sid=OUT), "no sid"),
        (changed(PERSON, sid=""), "no sid"),
        (changed(PERSON, sid=None), "no sid"),
        (changed(PERSON, sid=["s"]), "no sid"),
    ],
)
def test_a_clients_own_token_is_known_on_keycloak_whatever_a_mapper_writes(claims: dict[str, Any], why: str) -> None:
    assert why in (client_only_reason(claims, "c", "keycloak") or "")


@pytest.mark.parametrize(
    ("claims", "client", "person"),
    [
        ({"sub": "u", "client_id": "c"}, "c", True),
        ({"sub": "c", "client_id": "c"}, "c", False),
        ({"sub": "u", "client_id": "c", "sid": "s"}, "c", True),
        ({"sub": "c", "client_id": "c", "sid": "s"}, "c", False),
        ({"sub": "u"}, "", False),
        ({"sub": "c", "client_id": "other", "azp": "c"}, "other", False),
        ({"sub": "c", "client_id": "c", "azp": "other"}, "c", False),
        ({"sub": "u", "client_id": "c", "azp": ["u"]}, "c", True),
        ({"sub": "c@clients", "azp": "c"}, "c", False),
        ({"sub": "d@clients", "azp": "c"}, "c", True),
        ({"sub": "oid", "azp": "c", "idtyp": "app"}, "c", False),
        ({"sub": "oid", "azp": "c", "idtyp": "user"}, "c", True),
    ],
)
def test_a_subject_that_is_not_the_client_is_a_person_by_rfc9068(
    claims: dict[str, Any], client: str, *, person: bool
) -> None:
    assert (client_only_reason(claims, client, "rfc9068") is None) is person
