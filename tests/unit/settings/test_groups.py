"""What each group makes of its settings."""

import pytest

from mcp_server import settings
from mcp_server.identity import ScopeRules
from mcp_server.settings import SettingsError
from mcp_server.web.incoming.request_guard import origin_allowed

GOOD = {"MCP_ISSUER": "https://kc.example/realms/mcp", "MCP_RESOURCE": "https://x.example/mcp"}


def problems(**given: str) -> list[str]:
    with pytest.raises(SettingsError) as found:
        settings.load({f"MCP_{name.upper()}": value for name, value in given.items()})
    return found.value.problems


@pytest.mark.parametrize(
    "url", ["http://kc.example/realms/mcp", "ftp://x", "kc.example", "https://x?a=1", "https://x#f"]
)
def test_an_unsafe_issuer_or_resource_is_refused(url: str) -> None:
    assert any("MCP_ISSUER" in one for one in problems(issuer=url))
    assert any("MCP_RESOURCE" in one for one in problems(issuer="https://a", resource=url))


def test_several_issuers_have_audiences_and_algorithms_of_their_own() -> None:
    listed = '["https://a.example", {"issuer": "https://b.example", "audiences": ["other"], "algorithms": "PS256", "fetch_url": "http://b:80"}]'
    first, second = (
        settings.load({**GOOD, "MCP_ISSUER": listed, "MCP_AUDIENCES": "more"}).auth.config(ScopeRules()).issuers
    )
    assert first.audiences == {"https://x.example/mcp", "more"}
    assert (set(second.audiences), set(second.algorithms)) == ({"other"}, {"PS256"})
    assert second.fetch_url == "http://b:80"
    assert any("MCP_ISSUER[0][nonsense]" in one for one in problems(issuer='[{"issuer": "https://a", "nonsense": 1}]'))


def test_how_people_are_known_and_which_clients_call_for_themselves_is_said_for_each_issuer() -> None:
    listed = (
        '["https://a.example", {"issuer": "https://b.example", "persons": "rfc9068", "service_clients": "nightly"}]'
    )
    first, second = (
        settings.load({**GOOD, "MCP_ISSUER": listed, "MCP_SERVICE_CLIENTS": "x y"}).auth.config(ScopeRules()).issuers
    )
    assert (first.persons, sorted(first.service_clients)) == ("keycloak", ["x", "y"])
    assert (second.persons, sorted(second.service_clients)) == ("rfc9068", ["nightly"])
    (lock,) = settings.load(GOOD).auth.config(ScopeRules()).issuers
    assert (lock.persons, lock.service_clients) == ("keycloak", frozenset())
    wrong = problems(issuer='[{"issuer": "https://a", "persons": "any"}]')
    assert any("MCP_ISSUER[0][persons]" in one for one in wrong)


def test_the_bound_on_a_token_is_bounded() -> None:
    for size in ("4095", "65537"):
        assert any("MCP_MAX_TOKEN_BYTES" in one for one in problems(issuer="https://a", max_token_bytes=size))
    for bound in (4096, 65536):
        assert settings.load({**GOOD, "MCP_MAX_TOKEN_BYTES": str(bound)}).auth.config(ScopeRules()).max_token == bound


def test_of_several_issuers_one_is_asked_about_opaque_tokens() -> None:
    both = '["https://a.example", {"issuer": "https://b.example"%s}]'
    told = 'MCP_CLIENT_SECRET: of several issuers exactly one must say "opaque_tokens": true'
    assert problems(issuer=both % "", resource="https://x.example", client_secret="s") == [told]
    chosen = settings.load(
        {**GOOD, "MCP_ISSUER": both % ', "opaque_tokens": true', "MCP_CLIENT_SECRET": "s"}
    ).auth.config(ScopeRules())
    assert [one.introspects for one in chosen.issuers] == [False, True]
    assert [one.introspects for one in settings.load(GOOD).auth.config(ScopeRules()).issuers] == [True]


def test_hosts_and_origins_include_our_own() -> None:
    policy = settings.load(
        {**GOOD, "MCP_ALLOWED_ORIGINS": "https://App.example", "MCP_ALLOWED_HOSTS": '["inner"]'}
    ).http.policy(GOOD["MCP_RESOURCE"])
    assert policy.hosts >= {b"x.example", b"localhost", b"inner"}
    assert policy.origins == {b"https://x.example", b"https://app.example"}


def test_challenge_scopes_may_be_left_empty_or_named() -> None:
    assert settings.load(GOOD).scopes.challenge_scopes is None
    assert settings.load({**GOOD, "MCP_CHALLENGE_SCOPES": "a,b c"}).scopes.challenge_scopes == frozenset("abc")
    assert (
        settings.load({**GOOD, "MCP_CHALLENGE_SCOPES": ""}).scopes.challenge_scopes is None
    )  # empty counts as not set


@pytest.mark.parametrize(
    ("resource", "allowed"), [("https://x.example/mcp", False), ("http://localhost:8000/mcp", True)]
)
def test_loopback_origins_are_for_a_loopback_resource(resource: str, allowed: bool) -> None:
    policy = settings.load({**GOOD, "MCP_RESOURCE": resource}).http.policy(resource)
    for origin in (b"http://localhost:6274", b"http://[::1]:1", b"http://[::1]", b"https://127.0.0.1"):
        assert origin_allowed(origin, policy) is allowed
    assert not origin_allowed(b"http://localhost.evil.example", policy)
    assert not origin_allowed(b"file://localhost", policy)


def test_a_secret_of_development_guards_nothing_that_others_reach() -> None:
    told = problems(
        **{name.removeprefix("MCP_").lower(): value for name, value in GOOD.items()}, client_secret="dev-only-x"
    )
    assert told == ["MCP_CLIENT_SECRET: is a secret of development (dev-only-...): make another"]
    local = {**GOOD, "MCP_RESOURCE": "https://localhost:8443/mcp", "MCP_CLIENT_SECRET": "dev-only-x"}
    assert settings.load(local).auth.client_secret


def test_the_setting_adds_to_what_the_server_implies() -> None:
    known = settings.load({**GOOD, "MCP_SCOPE_IMPLIES": '{"a": ["c"], "d": ["a"]}'})
    held = known.scopes.rules({"a": frozenset({"b"})}).held
    assert held({"a"}, ()) == {"a", "b", "c"}
    assert held({"d"}, ()) == {"a", "b", "c", "d"}
    assert settings.load(GOOD).scopes.rules({"a": frozenset({"b"})}).held({"a"}, ()) == {"a", "b"}
