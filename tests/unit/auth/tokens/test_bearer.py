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
