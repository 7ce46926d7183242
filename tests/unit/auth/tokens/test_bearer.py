"""The Authorization header."""

import pytest

from mcp_server.auth.refusals import AccessDenied, DenialReason
from mcp_server.auth.tokens import bearer


@pytest.mark.parametrize("header", [b"bearer abc", b"BEARER abc==", b" Bearer   abc ", b"DPoP abc"])
def test_schemes_are_read_in_any_case(header: bytes) -> None:
    found = bearer.read(header)
    assert isinstance(found, bearer.Credentials)
    assert found.bound is header.startswith(b"DPoP")


def test_an_authorization_header_beyond_the_cap_is_not_parsed() -> None:
    found = bearer.read(b"Bearer " + b"a" * (bearer.MAX_TOKEN + 10))
    assert isinstance(found, AccessDenied)
    assert found.reason is DenialReason.TOKEN_TOO_LARGE


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"Basic abc", DenialReason.UNKNOWN_SCHEME),
        (b"Negotiate", DenialReason.UNKNOWN_SCHEME),
        (b"Bearer", DenialReason.MALFORMED_HEADER),
        (b"Bearer a b", DenialReason.MALFORMED_HEADER),
        (b"DPoP a,b", DenialReason.MALFORMED_HEADER),
        (b"", DenialReason.MALFORMED_HEADER),
        (b"\xff", DenialReason.MALFORMED_HEADER),
    ],
)
def test_what_is_no_token_is_told_apart(header: bytes, reason: DenialReason) -> None:
    found = bearer.read(header)
    assert isinstance(found, AccessDenied)
    assert found.reason is reason


@pytest.mark.parametrize(
    ("query", "there"),
    [
        (b"", False),
        (b"a=1", False),
        (b"access_token=x", True),
        (b"a=1&access%5Ftoken=x", True),
        (b"b_access_token=x", False),
    ],
)
def test_a_token_in_the_query_is_seen(query: bytes, *, there: bool) -> None:
    assert bearer.token_in_query(query) is there
