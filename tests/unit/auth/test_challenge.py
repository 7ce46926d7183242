"""Challenges: what a refusal says in WWW-Authenticate."""

import pytest

from mcp_server.auth.challenge import Advertised, Challenger
from mcp_server.auth.refusals import AccessDenied, DenialReason


@pytest.mark.requirement("25.6", "25.13")
def test_a_challenge_never_names_offline_access_and_503_has_none() -> None:
    challenger = Challenger("https://x/meta", lambda: Advertised(frozenset({"offline_access", "b", "a"})))
    assert (challenger.header(AccessDenied(reason=DenialReason.EXPIRED)) or b"").endswith(b'scope="a b"')
    assert challenger.header(AccessDenied(reason=DenialReason.ISSUER_AWAY)) is None
    assert b"scope" not in (challenger.header(AccessDenied(reason=DenialReason.MALFORMED_HEADER)) or b"")
    assert (
        Challenger("https://x/m", lambda: Advertised(frozenset())).header(
            AccessDenied(reason=DenialReason.NO_CREDENTIALS)
        )
        == b'Bearer resource_metadata="https://x/m"'
    )
