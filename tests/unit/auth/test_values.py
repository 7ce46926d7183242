"""The pure parts of authentication: policies, keys, discovery, introspection, challenges, the cache."""

import base64
from typing import Any
from urllib.parse import unquote

import pytest
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from mcp_server.auth import metadata
from mcp_server.auth.challenge import Challenger
from mcp_server.auth.issuer import discovery, keys
from mcp_server.auth.issuer.discovery import IssuerMetadata
from mcp_server.auth.issuer.keys import Hit, Keys, Miss, RefetchBudget
from mcp_server.auth.metadata import ResourceDescription
from mcp_server.auth.policy import IssuerPolicy, KeyPolicy
from mcp_server.auth.refusals import AccessDenied, AccessDeniedError, DenialReason
from mcp_server.auth.tokens import bearer, introspection, profile
from mcp_server.auth.tokens.cache import TokenCache
from mcp_server.auth.tokens.introspection import IntrospectionClient
from tests.kit.principals import verified
from tests.kit.tokens import b64

POLICY = IssuerPolicy(
    issuer="https://kc/realms/mcp", audiences=frozenset({"https://x/mcp"}), algorithms=frozenset({"RS256"})
)
RSA = RSAKey.generate_key(2048, {"kid": "r"}).as_dict(private=False)
EC = ECKey.generate_key("P-256", {"kid": "e"}).as_dict(private=False)


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": ""}, {"audiences": frozenset()}, {"audiences": frozenset({""})}, {"algorithms": frozenset()},
        {"algorithms": frozenset({"HS256"})}, {"algorithms": frozenset({"none"})}, {"leeway_s": 121}, {"leeway_s": -1},
    ],
)  # fmt: skip
def test_a_policy_that_would_let_anything_pass_cannot_be_made(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        IssuerPolicy(**({"issuer": "i", "audiences": frozenset({"a"}), "algorithms": frozenset({"RS256"})} | changed))


@pytest.mark.parametrize(
    ("entry", "uses"),
    [
        (RSA, {("r", a) for a in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")}),
        (RSA | {"alg": "RS256"}, {("r", "RS256")}),
        (RSA | {"alg": ["RS256"]}, set()),
        (RSA | {"alg": "RSA-OAEP"}, set()),
        (RSA | {"use": "enc"}, set()),
        (RSA | {"key_ops": ["sign"]}, set()),
        (RSA | {"key_ops": "verify"}, set()),
        (RSA | {"kid": 5}, set()),
        (RSA | {"n": "AQAB"}, set()),
        (RSA | {"n": 7}, set()),
        (RSA | {"n": "w" * 171}, set()),
        (EC, {("e", "ES256")}),
        (EC | {"crv": "P-999"}, set()),
        (EC | {"x": "AA"}, set()),
        (OKPKey.generate_key("Ed25519", {"kid": "o"}).as_dict(private=False), {("o", "EdDSA"), ("o", "Ed25519")}),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "s"}, set()),
        ({"kty": "LMS", "kid": "l"}, set()),
        ("text", set()),
    ],
)
def test_a_key_is_bound_to_what_it_may_verify_and_an_unusable_one_is_skipped(
    entry: Any, uses: set[tuple[str, str]]
) -> None:
    other = ECKey.generate_key("P-384", {"kid": "other"}).as_dict(private=False)
    parsed = keys.parse({"keys": [entry, other]}, fetched_at=1.0)
    assert isinstance(parsed, Keys)
    assert set(parsed.by_use) == uses | {("other", "ES384")}


def rsa(modulus: int, exponent: int = 65537, padding: int = 0) -> dict[str, Any]:
    size = (modulus.bit_length() + 7) // 8 + padding
    return {"kty": "RSA", "kid": "r", "n": b64(modulus.to_bytes(size)), "e": b64(exponent.to_bytes(40).lstrip(b"\0"))}


@pytest.mark.parametrize(
    ("entry", "usable"),
    [
        (rsa(2**2048 - 1), True),
        (rsa(2**2047 + 1), True),
        (rsa(2**2048 - 1, padding=300), True),
        (rsa(2**8192 - 1), True),
        (rsa(2**8192 + 1), False),
        (rsa(2**100_000 - 1), False),
        (rsa(2**2047 - 1), False),
        (rsa(2**1024 - 1), False),
        (rsa(2**1024 - 1, padding=1024), False),
        (rsa(2**2048 - 2), False),
        (rsa(2**2048 - 1, 1), False),
        (rsa(2**2048 - 1, 3), False),
        (rsa(2**2048 - 1, 65536), False),
        (rsa(2**2048 - 1, 65539), True),
        (rsa(2**2048 - 1, 2**32 + 1), False),
        (rsa(2**2048 - 1, 2**256 + 1), False),
        (rsa(2**2048 - 1) | {"n": "\u00e9" * 400}, False),
        (rsa(2**2048 - 1) | {"e": None}, False),
        (OKPKey.generate_key("Ed448", {"kid": "o"}).as_dict(private=False), False),
        (OKPKey.generate_key("X25519", {"kid": "o"}).as_dict(private=False), False),
        (ECKey.generate_key("secp256k1", {"kid": "o"}).as_dict(private=False), False),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "o"}, False),
    ],
)
def test_a_key_is_measured_as_what_it_is(entry: dict[str, Any], *, usable: bool) -> None:
    try:
        keys.import_public(entry)
    except (JoseError, ValueError, TypeError):
        assert not usable
    else:
        assert usable
    assert isinstance(keys.parse({"keys": [entry]}, fetched_at=0), Keys) is usable


@pytest.mark.parametrize("document", [None, [], {}, {"keys": "x"}, {"keys": {}}, {"keys": []}, {"keys": [{}]}])
def test_a_document_without_keys_is_refused(document: Any) -> None:
    assert isinstance(keys.parse(document, fetched_at=0), str)


def test_only_an_unknown_kid_earns_a_fetch() -> None:
    parsed = keys.parse({"keys": [EC]}, fetched_at=1.0)
    assert isinstance(parsed, Keys)
    assert isinstance(keys.look_up(parsed, "e", "ES256", allowed_to_fetch=False), Hit)
    assert keys.look_up(parsed, "e", "RS256", allowed_to_fetch=True) == Miss("reject")
    assert keys.look_up(parsed, "new", "ES256", allowed_to_fetch=True) == Miss("fetch")
    assert keys.look_up(parsed, "new", "ES256", allowed_to_fetch=False) == Miss("reject")


def test_the_allowance_is_two_a_cooldown() -> None:
    allowance, policy = RefetchBudget(), KeyPolicy(cooldown_s=30)
    spent = []
    for now in range(0, 90, 10):
        if allowance.left(policy, now):
            allowance.spend(now)
            spent.append(now)
    assert spent == [0, 10, 30, 40, 60, 70]


DOCUMENT = {
    "issuer": POLICY.issuer,
    "jwks_uri": "https://kc/realms/mcp/certs",
    "introspection_endpoint": "https://kc/realms/mcp/i",
}
INNER = IssuerPolicy(
    issuer=POLICY.issuer,
    audiences=POLICY.audiences,
    algorithms=POLICY.algorithms,
    fetch_url="http://kc:8080/realms/mcp",
)


@pytest.mark.parametrize(
    ("document", "policy", "jwks_uri"),
    [
        (DOCUMENT, POLICY, "https://kc/realms/mcp/certs"),
        (DOCUMENT, INNER, "http://kc:8080/realms/mcp/certs"),
        (DOCUMENT | {"jwks_uri": "http://kc:8080/c"}, INNER, "http://kc:8080/c"),
        (DOCUMENT | {"jwks_uri": "https://cdn/keys"}, POLICY, "https://cdn/keys"),
        (DOCUMENT | {"jwks_uri": "http://kc/realms/mcp/certs"}, POLICY, None),
        (DOCUMENT | {"jwks_uri": "file:///etc/passwd"}, POLICY, None),
        (DOCUMENT | {"jwks_uri": 5}, POLICY, None),
        (DOCUMENT | {"issuer": POLICY.issuer + "/"}, POLICY, None),
        ([], POLICY, None),
    ],
)
def test_metadata_is_taken_from_the_exact_issuer_alone(
    document: Any, policy: IssuerPolicy, jwks_uri: str | None
) -> None:
    parsed = discovery.parse(document, policy)
    assert (parsed.jwks_uri if isinstance(parsed, IssuerMetadata) else None) == jwks_uri


def test_both_places_of_the_metadata() -> None:
    assert discovery.locations("https://kc/realms/mcp/") == (
        "https://kc/realms/mcp/.well-known/openid-configuration",
        "https://kc/.well-known/oauth-authorization-server/realms/mcp",
    )


ACTIVE = {
    "active": True,
    "aud": "https://x/mcp",
    "exp": 2000,
    "iat": 900,
    "sub": "u",
    "sid": "s",
    "client_id": "c",
    "scope": "a b",
}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ACTIVE, None),
        (ACTIVE | {"iss": POLICY.issuer}, None),
        ({k: v for k, v in ACTIVE.items() if k != "iat"}, None),
        ({"active": False}, DenialReason.INACTIVE),
        ({"active": "true"}, DenialReason.INACTIVE),
        ([], DenialReason.INACTIVE),
        (ACTIVE | {"iss": "https://other"}, DenialReason.UNKNOWN_ISSUER),
        (ACTIVE | {"aud": "other"}, DenialReason.WRONG_AUDIENCE),
        (ACTIVE | {"exp": 900}, DenialReason.EXPIRED),
        (ACTIVE | {"typ": "Refresh"}, DenialReason.NOT_AN_ACCESS_TOKEN),
        (ACTIVE | {"typ": {}}, None),
        (ACTIVE | {"sid": ""}, DenialReason.NO_PERSON),
        ({k: v for k, v in ACTIVE.items() if k != "sub"}, DenialReason.NO_SUBJECT),
        (ACTIVE | {"token_type": "DPoP", "cnf": {"jkt": "x"}}, None),
        (ACTIVE | {"token_type": "DPoP"}, DenialReason.UNSUPPORTED_BINDING),
        (ACTIVE | {"token_type": "dpop"}, DenialReason.UNSUPPORTED_BINDING),
        (ACTIVE | {"typ": "DPoP"}, DenialReason.UNSUPPORTED_BINDING),
        (ACTIVE | {"typ": "DPoP", "cnf": None}, DenialReason.UNSUPPORTED_BINDING),
    ],
)
def test_an_introspected_token_passes_the_same_steps(answer: Any, reason: DenialReason | None) -> None:
    if reason is None:
        assert introspection.accept(answer, POLICY, now=1000).scope == {"a", "b"}
        return
    with pytest.raises(AccessDeniedError) as refused:
        introspection.accept(answer, POLICY, now=1000)
    assert refused.value.refusal.reason is reason


def test_the_log_says_which_audience_was_expected_and_the_caller_is_not_told() -> None:
    with pytest.raises(AccessDeniedError) as refused:
        introspection.accept(ACTIVE | {"aud": "other"}, POLICY, now=1000)
    assert refused.value.refusal.detail == "aud 'other', expected https://x/mcp"
    assert "https://x/mcp" not in DenialReason.WRONG_AUDIENCE.public


def test_a_url_client_id_is_percent_encoded_before_basic() -> None:
    sent = IntrospectionClient("http://localhost:8000/mcp", "s:ü").basic()
    user, secret = base64.b64decode(sent.removeprefix("Basic ")).decode().split(":")
    assert (unquote(user), unquote(secret)) == ("http://localhost:8000/mcp", "s:ü")


@pytest.mark.requirement("25.6", "25.13")
def test_a_challenge_never_names_offline_access_and_503_has_none() -> None:
    challenger = Challenger("https://x/meta", frozenset({"offline_access", "b", "a"}))
    assert (challenger.header(AccessDenied(DenialReason.EXPIRED)) or b"").endswith(b'scope="a b"')
    assert challenger.header(AccessDenied(DenialReason.ISSUER_AWAY)) is None
    assert b"scope" not in (challenger.header(AccessDenied(DenialReason.MALFORMED_HEADER)) or b"")
    assert (
        Challenger("https://x/m", frozenset()).header(AccessDenied(DenialReason.NO_CREDENTIALS))
        == b'Bearer resource_metadata="https://x/m"'
    )


@pytest.mark.requirement("25.2", "25.5")
def test_the_document_says_what_is_known_and_nothing_else() -> None:
    bare = metadata.document(
        ResourceDescription(resource="https://x/mcp", issuers=("https://i",), scopes=frozenset(), name="n")
    )
    assert b"introspection" not in bare
    assert b"dpop" not in bare
    full = ResourceDescription(
        resource="https://x/mcp", issuers=("https://i",), scopes=frozenset(), name="n",
        documentation="https://d", introspection_endpoint="https://i/x", dpop_algorithms=("ES256",),
    )  # fmt: skip
    assert b'"resource_documentation":"https://d"' in metadata.document(full)
    assert metadata.url("https://x/") == "https://x/.well-known/oauth-protected-resource"


def test_the_cache_is_bounded_and_forgets_with_time_and_with_keys() -> None:
    cache = TokenCache(max_entries=2)
    for name in (b"a", b"b", b"c"):
        cache.put(name, verified())
    assert len(cache) == 2
    assert cache.get(b"a", 0, 0) is None
    assert cache.get(b"b", 999, 0) is not None
    assert cache.get(b"b", 1000, 0) is None
    cache.put(b"d", verified(issuer="https://other"))
    cache.keep_only("https://issuer", frozenset({("k", "RS256", "print")}))
    assert cache.get(b"c", 0, 0) is not None
    cache.keep_only("https://issuer", frozenset({("k", "RS256", "another")}))
    assert cache.get(b"c", 0, 0) is None
    cache.put(b"c", verified(use=None))
    cache.keep_only("https://issuer", frozenset())
    assert cache.get(b"c", 0, 0) is not None
    assert cache.get(b"d", 0, 0) is not None


def test_what_vouches_for_a_token_ends_by_the_monotonic_clock_and_the_token_by_the_wall_clock() -> None:
    cache = TokenCache()
    cache.put(b"a", verified(until=1000, trusted_until=50))
    assert cache.get(b"a", 999, 49) is not None
    assert cache.get(b"a", 0, 50) is None
    assert len(cache) == 0


def test_the_cache_is_bounded_in_bytes_whichever_way_entries_go() -> None:
    cache = TokenCache(max_bytes=100)
    for name in (b"a", b"b", b"c", b"c"):
        cache.put(name, verified(document=b"x" * 40))
    assert [cache.get(name, 0, 0) is not None for name in (b"a", b"b", b"c")] == [False, True, True]
    cache.get(b"b", 1000, 0)
    cache.put(b"d", verified(document=b"x" * 60))
    assert len(cache) == 2
    cache.keep_only("https://issuer", frozenset())
    cache.put(b"e", verified(document=b"x" * 100))
    assert len(cache) == 1
    cache.put(b"f", verified(document=b"x" * 101))
    assert len(cache) == 0


@pytest.mark.parametrize("header", [b"bearer abc", b"BEARER abc==", b" Bearer   abc ", b"DPoP abc"])
def test_schemes_are_read_in_any_case(header: bytes) -> None:
    found = bearer.read(header)
    assert isinstance(found, bearer.Credentials)
    assert found.bound is header.startswith(b"DPoP")


def test_an_authorization_header_beyond_the_cap_is_not_parsed() -> None:
    found = bearer.read(b"Bearer " + b"a" * (bearer.MAX_TOKEN + 10))
    assert isinstance(found, AccessDenied)
    assert found.reason is DenialReason.TOKEN_TOO_LARGE


@pytest.mark.parametrize("part", [b"", b"a", b"abcde", b"ab=="])
def test_base64url_has_one_spelling(part: bytes) -> None:
    with pytest.raises(AccessDeniedError):
        profile.decode_part(part)


def test_a_token_over_the_cap_is_refused_before_it_is_split() -> None:
    with pytest.raises(AccessDeniedError) as refused:
        profile.open_token(b"e" * (bearer.MAX_TOKEN + 1), {})
    assert refused.value.refusal.reason is DenialReason.TOKEN_TOO_LARGE


def test_a_key_that_is_not_of_the_algorithm_verifies_nothing() -> None:
    opened = profile.OpenedToken("ES256", "k", False, b"a.b", b"sig", {}, b"{}", POLICY)
    with pytest.raises(AccessDeniedError) as refused:
        profile.verify(opened, RSAKey.import_key(RSA), now=0)
    assert refused.value.refusal.reason is DenialReason.BAD_SIGNATURE


def test_an_inner_address_is_not_told_to_clients() -> None:
    inner = discovery.parse(DOCUMENT | {"introspection_endpoint": "http://kc:8080/realms/mcp/i"}, INNER)
    assert isinstance(inner, IssuerMetadata)
    assert (inner.introspection_endpoint, inner.public_introspection_endpoint) == ("http://kc:8080/realms/mcp/i", None)
    public = discovery.parse(DOCUMENT, INNER)
    assert isinstance(public, IssuerMetadata)
    assert public.introspection_endpoint == "http://kc:8080/realms/mcp/i"
    assert public.public_introspection_endpoint == "https://kc/realms/mcp/i"
