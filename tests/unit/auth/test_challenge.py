"""Challenges: what a refusal says in WWW-Authenticate."""

import msgspec
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


STALE = AccessDenied(
    reason=DenialReason.INSUFFICIENT_USER_AUTHENTICATION,
    scopes=frozenset({"d"}),
    granted=frozenset({"c", "foreign"}),
    acr_values=("2", "gold"),
    max_age=60,
)
OFFERED = Advertised(frozenset({"a", "b"}), frozenset({"a", "b", "c"}))


@pytest.mark.parametrize(
    ("refusal", "written"),
    [
        (AccessDenied(reason=DenialReason.BAD_PROOF), 'DPoP error="invalid_dpop_proof"'),
        (AccessDenied(reason=DenialReason.UNBOUND_USE), 'algs="ES256 EdDSA"'),
        (AccessDenied(reason=DenialReason.EXPIRED), 'scope="a b"'),
        (
            AccessDenied(
                reason=DenialReason.INSUFFICIENT_SCOPE, scopes=frozenset({"d"}), granted=frozenset({"c", "foreign"})
            ),
            'scope="c d"',
        ),
        (STALE, 'acr_values="2 gold", max_age="60", resource_metadata="https://x/meta", scope="c d"'),
        (
            STALE,
            'Bearer error="insufficient_user_authentication", error_description="A more recent or a stronger login',
        ),
        (msgspec.structs.replace(STALE, max_age=None), 'acr_values="2 gold", resource_metadata='),
        (msgspec.structs.replace(STALE, acr_values=(), max_age=0), 'is required", max_age="0", resource_metadata='),
    ],
)
def test_a_challenge_says_what_would_cure(refusal: AccessDenied, written: str) -> None:
    challenger = Challenger("https://x/meta", lambda: OFFERED, ("ES256", "EdDSA"))
    assert written in (challenger.header(refusal) or b"").decode()


@pytest.mark.parametrize("reason", [one for one in DenialReason if one.status in (429, 431, 503)])
def test_what_no_login_cures_is_not_challenged(reason: DenialReason) -> None:
    assert Challenger("https://x/meta", lambda: OFFERED).header(AccessDenied(reason=reason)) is None


def test_no_scope_helps_a_client_without_a_person() -> None:
    header = Challenger("https://x/meta", lambda: OFFERED).header(AccessDenied(reason=DenialReason.NO_PERSON))
    assert b"scope" not in (header or b"scope")


def test_each_challenge_reads_what_is_offered_now() -> None:
    offered = [OFFERED]
    challenger = Challenger("https://x/meta", lambda: offered[-1])
    offered.append(Advertised(frozenset({"z"})))
    assert b'scope="z"' in (challenger.header(AccessDenied(reason=DenialReason.NO_CREDENTIALS)) or b"")


def test_only_what_a_login_cures_says_how_to_log_in() -> None:
    header = Challenger("https://x/meta", lambda: OFFERED).header(AccessDenied(reason=DenialReason.EXPIRED))
    assert not {b"acr_values", b"max_age"} & set((header or b"").replace(b"=", b" ").split())
