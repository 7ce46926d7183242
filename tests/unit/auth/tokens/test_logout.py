"""Logout tokens and what Keycloak pushes: the one that is right, and each way to be wrong."""

import time
from typing import Any

import pytest

from mcp_server.auth.refusals import AccessDeniedError, DenialReason
from mcp_server.auth.tokens import logout, profile, push
from mcp_server.auth.tokens.logout import EVENT, Logout
from mcp_server.auth.tokens.push import NotBeforePush
from tests.kit.issuers import ISSUER, RESOURCE, Paper, policy, signed
from tests.kit.tokens import OUT

PAPER = Paper()
POLICY = policy(logout_clients=frozenset({"portal", "server"}))
NOW = int(time.time())
HEADER = {"alg": "ES256", "typ": "logout+jwt", "kid": "k"}


def claims(**changed: Any) -> dict[str, Any]:
    usual = {
        "iss": ISSUER, "aud": "portal", "iat": NOW, "exp": NOW + 120, "jti": "j", "sub": "user", "sid": "s",
        "typ": "Logout", "events": {EVENT: {}},
    }  # fmt: skip
    return {name: value for name, value in (usual | changed).items() if value is not OUT}


def read(header: dict[str, Any] | None = None, **changed: Any) -> Logout:
    token = signed({**HEADER, **(header or {})}, claims(**changed), PAPER.key).encode()
    opened = profile.open_token(token, {ISSUER: POLICY}, logout.MAX_TOKEN, logout=True)
    return logout.verify(opened, _key(), now=NOW)


def _key() -> Any:
    return PAPER.key


@pytest.mark.parametrize(
    ("changed", "sid", "subject"),
    [({}, "s", "user"), ({"sid": OUT}, "", "user"), ({"sub": OUT}, "s", ""), ({"typ": OUT}, "s", "user")],
)
def test_a_right_one_says_whose_sessions_are_over(changed: dict[str, Any], sid: str, subject: str) -> None:
    found = read(**changed)
    assert (found.issuer, found.client, found.sid, found.subject, found.issued_at) == (
        ISSUER, "portal", sid, subject, NOW,
    )  # fmt: skip


@pytest.mark.parametrize("typ", ["application/logout+jwt", "LOGOUT+JWT", "JWT"])
def test_its_type_may_be_said_in_other_words(typ: str) -> None:
    assert read({"typ": typ}).sid == "s"


def test_of_several_audiences_ours_is_the_client() -> None:
    assert read(aud=["another", "server"]).client == "server"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"aud": "another"}, DenialReason.WRONG_AUDIENCE),
        ({"aud": OUT}, DenialReason.WRONG_AUDIENCE),
        ({"aud": ["portal", 1]}, DenialReason.WRONG_AUDIENCE),
        ({"exp": OUT}, DenialReason.MALFORMED_CLAIMS),
        ({"exp": NOW - 31}, DenialReason.EXPIRED),
        ({"iat": NOW - 700, "exp": NOW + 99999}, DenialReason.EXPIRED),
        ({"iat": NOW + 31}, DenialReason.ISSUED_IN_FUTURE),
        ({"iat": True}, DenialReason.MALFORMED_CLAIMS),
        ({"events": OUT}, DenialReason.WRONG_TYPE),
        ({"events": [EVENT]}, DenialReason.WRONG_TYPE),
        ({"events": {"http://schemas.openid.net/event/other": {}}}, DenialReason.WRONG_TYPE),
        ({"events": {EVENT: None}}, DenialReason.WRONG_TYPE),
        ({"nonce": "n"}, DenialReason.WRONG_TYPE),
        ({"nonce": None}, DenialReason.WRONG_TYPE),
        ({"typ": "ID"}, DenialReason.WRONG_TYPE),
        ({"typ": "Bearer"}, DenialReason.WRONG_TYPE),
        ({"jti": OUT}, DenialReason.MALFORMED_CLAIMS),
        ({"jti": ""}, DenialReason.MALFORMED_CLAIMS),
        ({"jti": "j" * 257}, DenialReason.MALFORMED_CLAIMS),
        ({"sid": 1}, DenialReason.MALFORMED_CLAIMS),
        ({"sub": ""}, DenialReason.MALFORMED_CLAIMS),
        ({"sub": OUT, "sid": OUT}, DenialReason.MALFORMED_CLAIMS),
        ({"iss": "https://other"}, DenialReason.UNKNOWN_ISSUER),
    ],
)
def test_a_wrong_one_is_refused(changed: dict[str, Any], reason: DenialReason) -> None:
    with pytest.raises(AccessDeniedError) as refused:
        read(**changed)
    assert refused.value.refusal.reason is reason


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"typ": "at+jwt"}, DenialReason.WRONG_TYPE),
        ({"typ": None}, DenialReason.WRONG_TYPE),
        ({"alg": "none"}, DenialReason.WRONG_ALGORITHM),
        ({"jku": "https://x"}, DenialReason.FORBIDDEN_HEADER),
        ({"kid": ""}, DenialReason.UNKNOWN_KEY),
    ],
)
def test_a_wrong_header_is_refused(header: dict[str, Any], reason: DenialReason) -> None:
    with pytest.raises(AccessDeniedError) as refused:
        read(header)
    assert refused.value.refusal.reason is reason


def test_one_that_another_key_has_signed_is_refused() -> None:
    token = signed(HEADER, claims(), Paper().key).encode()
    opened = profile.open_token(token, {ISSUER: POLICY}, logout=True)
    with pytest.raises(AccessDeniedError) as refused:
        logout.verify(opened, _key(), now=NOW)
    assert refused.value.refusal.reason is DenialReason.BAD_SIGNATURE


def test_an_access_token_is_no_logout_token_and_the_other_way_round() -> None:
    for header, said, as_logout in (
        ({**HEADER, "typ": "JWT"}, PAPER.claims(aud="portal"), True),
        (HEADER, claims(), False),
        ({**HEADER, "typ": "JWT"}, claims(aud=RESOURCE, typ="Bearer"), False),
    ):
        token = signed(header, said, PAPER.key).encode()
        judge = logout.verify if as_logout else profile.verify
        with pytest.raises(AccessDeniedError):
            judge(profile.open_token(token, {ISSUER: POLICY}, logout=as_logout), _key(), now=NOW)


def pushed(action: str = "PUSH_NOT_BEFORE", header: dict[str, Any] | None = None, **changed: Any) -> NotBeforePush:
    usual = {"id": "i", "expiration": NOW + 30, "resource": "portal", "action": action, "notBefore": NOW - 5}
    said = {name: value for name, value in (usual | changed).items() if value is not OUT}
    token = signed({"alg": "ES256", "typ": "JWT", "kid": "k", **(header or {})}, said, PAPER.key).encode()
    return push.verify(profile.open_unnamed(token, POLICY), _key(), action, now=NOW)


def test_what_is_pushed_is_a_time_before_which_tokens_are_over() -> None:
    found = pushed()
    assert (found.client, found.action_id) == ("portal", "i")
    assert NOW - 6 < found.before < NOW - 5  # Keycloak takes a token of that very second
    assert pushed("LOGOUT").before == NOW - 5


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"action": "LOGOUT"}, DenialReason.WRONG_TYPE),
        ({"iss": ISSUER}, DenialReason.WRONG_TYPE),
        ({"keycloakSessionIds": ["s"]}, DenialReason.WRONG_TYPE),
        ({"notBefore": OUT}, DenialReason.WRONG_TYPE),
        ({"resource": "another"}, DenialReason.WRONG_AUDIENCE),
        ({"id": ""}, DenialReason.MALFORMED_CLAIMS),
        ({"id": 5}, DenialReason.MALFORMED_CLAIMS),
        ({"expiration": NOW - 31}, DenialReason.EXPIRED),
        ({"expiration": NOW + 700}, DenialReason.EXPIRED),
        ({"expiration": "x"}, DenialReason.MALFORMED_CLAIMS),
        ({"notBefore": NOW + 31}, DenialReason.NOT_YET_VALID),
    ],
)
def test_a_wrong_push_is_refused(changed: dict[str, Any], reason: DenialReason) -> None:
    with pytest.raises(AccessDeniedError) as refused:
        pushed(**changed) if "action" not in changed else _as_other_action()
    assert refused.value.refusal.reason is reason


def _as_other_action() -> None:
    said = {"id": "i", "expiration": NOW + 30, "resource": "portal", "action": "LOGOUT", "notBefore": NOW}
    token = signed({"alg": "ES256", "typ": "JWT", "kid": "k"}, said, PAPER.key).encode()
    push.verify(profile.open_unnamed(token, POLICY), _key(), "PUSH_NOT_BEFORE", now=NOW)


def test_a_push_is_read_as_strictly_as_a_token() -> None:
    for header, reason in (
        ({"typ": "logout+jwt"}, DenialReason.WRONG_TYPE),
        ({"alg": "none"}, DenialReason.WRONG_ALGORITHM),
    ):
        with pytest.raises(AccessDeniedError) as refused:
            pushed(header=header)
        assert refused.value.refusal.reason is reason
    with pytest.raises(AccessDeniedError) as refused:
        profile.open_unnamed(b"x" * 20, POLICY, 10)
    assert refused.value.refusal.reason is DenialReason.TOKEN_TOO_LARGE
