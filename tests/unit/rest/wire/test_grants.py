import base64
import json
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from mcp_server.rest.wire import grants
from mcp_server.rest.wire.grants import ClientAuth, Issued, Refusal, Wanted

CLIENT = ClientAuth(client_id="http://localhost:8000/mcp", secret="s%c:r&t")
WANTED = Wanted(audience="orders-api", scopes=frozenset({"orders:write", "orders:read"}))


def read(status: int, said: Any, subject: str = "subject") -> Issued | Refusal:
    body = said if isinstance(said, bytes) else msgspec.json.encode(said)
    return grants.read(status, body, wanted=WANTED, client=CLIENT, now=1000, subject=subject)


def good(**changed: Any) -> dict[str, Any]:
    usual = {
        "access_token": "a.b-c_d~e+f/g==",
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "orders:read orders:write",
    }
    return usual | changed


def test_an_exchange_names_audience_and_scopes() -> None:
    assert parse_qs(grants.exchange_body("a+b&c", WANTED, CLIENT).decode()) == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "subject_token": ["a+b&c"],
        "subject_token_type": ["urn:ietf:params:oauth:token-type:access_token"],
        "requested_token_type": ["urn:ietf:params:oauth:token-type:access_token"],
        "audience": ["orders-api"],
        "scope": ["orders:read orders:write"],
    }


def test_client_credentials_name_them_too() -> None:
    post = msgspec.structs.replace(CLIENT, method="post")
    assert parse_qs(grants.own_body(WANTED, post).decode()) == {
        "grant_type": ["client_credentials"],
        "audience": ["orders-api"],
        "scope": ["orders:read orders:write"],
        "client_id": ["http://localhost:8000/mcp"],
        "client_secret": ["s%c:r&t"],
    }
    assert post.headers() == ()


def test_basic_is_percent_encoded_first() -> None:
    (name, value), *_ = CLIENT.headers()
    pair = base64.b64decode(value.removeprefix("Basic ")).decode()
    assert (name, pair) == ("authorization", "http%3A%2F%2Flocalhost%3A8000%2Fmcp:s%25c%3Ar%26t")
    assert CLIENT.form() == {}


def test_neither_client_nor_token_shows_its_secret() -> None:
    assert "s%c" not in repr(CLIENT)
    assert "a.b" not in repr(read(200, good()))


def test_a_token_is_read_with_its_life_and_what_was_left_out() -> None:
    assert read(200, good()) == Issued("a.b-c_d~e+f/g==", 1300.0)
    assert read(200, good(scope="orders:read other")) == Issued("a.b-c_d~e+f/g==", 1300.0, frozenset({"orders:write"}))
    assert read(200, good(scope="")) == Issued("a.b-c_d~e+f/g==", 1300.0)
    lives: list[tuple[Any, float]] = [
        ("300", 1300.0), (5.5, 1005.5), (0, 1000.0), (-5, 1000.0), (-(10**400), 1000.0), (10**400, 87_400.0), (1e300, 87_400.0),
        (True, 1060.0), (None, 1060.0), ("", 1060.0), ("-5", 1060.0), ("1" * 400, 1060.0), ("٣", 1060.0), ([], 1060.0), ({}, 1060.0),
    ]  # fmt: skip
    for stated, until in lives:
        body = json.dumps(good(expires_in=stated)).encode()
        assert read(200, body) == Issued("a.b-c_d~e+f/g==", until)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"<html>", "unavailable"),
        (b"\xff", "unavailable"),
        (b"[" * 100_000, "unavailable"),
        ([], "unavailable"),
        (good(access_token=None), "unavailable"),
        (good(access_token=""), "unavailable"),
        (good(access_token="a\r\nx: y"), "unavailable"),
        (good(access_token="a" * 20_000), "unavailable"),
        (good(token_type="DPoP"), "refused"),
        (good(token_type=5), "refused"),
        (good(issued_token_type="urn:ietf:params:oauth:token-type:refresh_token"), "refused"),
        (good(access_token="subject"), "refused"),
    ],
)
def test_an_answer_that_holds_no_token_for_the_api(said: Any, kind: str) -> None:
    refusal = read(200, said)
    assert isinstance(refusal, Refusal)
    assert refusal.kind == kind


@pytest.mark.parametrize(
    ("status", "error", "description", "kind", "cure"),
    [
        (403, "access_denied", "Client is not within the token audience", "refused", "add an audience mapper for it to their"),
        (400, "invalid_request", "Requested audience not available: orders-api", "refused", "scopes orders:read, orders:write an audience"),
        (400, "invalid_client", "Audience not found", "refused", "has no client 'orders-api'"),
        (400, "invalid_scope", "Invalid scopes: orders:read", "refused", "'http://localhost:8000/mcp' lacks one of the scopes orders:read"),
        (400, "invalid_scope", "Missing consents for client x", "refused", "requires consent"),
        (400, "invalid_scope", "Scopes [x] not present in the initial access token [y]", "refused", "downscope executor"),
        (400, "invalid_request", "Standard token exchange is not enabled for the requested client", "refused", "switch on"),
        (400, "unsupported_grant_type", "Unsupported grant_type", "refused", "token-exchange-standard"),
        (401, "invalid_client", "Invalid client or Invalid client credentials", "refused", "MCP_CLIENT_SECRET"),
        (401, "unauthorized_client", "Invalid client or Invalid client credentials", "refused", "MCP_CLIENT_SECRET"),
        (400, "invalid_request", "Invalid token", "session_ended", "session has ended"),
        (400, "invalid_token", "", "session_ended", "session has ended"),
        (400, "invalid_grant", "Session not active", "session_ended", "session has ended"),
        (400, "invalid_target", "", "refused", "answered 400 'invalid_target'"),
        (400, "invalid_request", "Multiple audience", "refused", "answered 400"),
        (500, "unknown_error", "", "unavailable", "answered 500"),
        (429, "x", "", "unavailable", "answered 429"),
        (404, "", "", "unavailable", "answered 404"),
    ],
)  # fmt: skip
def test_a_refusal_names_its_cure(status: int, error: str, description: str, kind: str, cure: str) -> None:
    refusal = read(status, {"error": error, "error_description": description})
    assert isinstance(refusal, Refusal)
    assert refusal.kind == kind
    assert cure in refusal.line
    assert f"the issuer answered {status}" in refusal.line


def test_what_the_issuer_says_cannot_fill_the_log() -> None:
    refusal = read(400, {"error": "x" * 100_000, "error_description": ["y"]})
    assert isinstance(refusal, Refusal)
    assert len(refusal.line) < 1000
