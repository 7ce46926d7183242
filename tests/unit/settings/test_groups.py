"""What each group makes of its settings."""

from pathlib import Path

import pytest

from mcp_server import settings
from mcp_server.identity import ScopeRules
from mcp_server.limits.ledger import Batch, Settled
from mcp_server.limits.rule import Bounds
from mcp_server.settings import SettingsError
from mcp_server.settings.groups.engine import random_key
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


def test_stated_limits_are_read_and_every_one_that_is_wrong_is_named() -> None:
    stated = '{"*": ["500/s"], "refund_order": ["5/m per principal", "2 at once"]}'
    limits = settings.load({**GOOD, "MCP_LIMITS": stated}).limits
    assert limits.unknown(["refund_order"]) == frozenset()
    assert limits.unknown(["other"]) == {"refund_order"}
    assert limits.pipeline(1).rate is not None
    assert limits.pipeline(1, ledger=Away()).rate is None, "it is counted with the others"
    wrong = problems(issuer="https://a", limits='{"*": ["500/y", "3/s"], "a": ["x"], "b": 5}')
    assert [one.partition(":")[0] for one in wrong] == ["MCP_LIMITS[*][0]", "MCP_LIMITS[a][0]", "MCP_LIMITS[b]"]
    assert all("'30/m'" in one for one in wrong[:2])
    assert any("MCP_LIMITS" in one and "JSON" in one for one in problems(issuer="https://a", limits="{"))


def test_costs_are_tools_and_fit_into_quotas() -> None:
    stated = '{"*": ["500/s", "10/day"], "dear": ["cost 11"], "fair": ["cost 10"]}'
    limits = settings.load({**GOOD, "MCP_LIMITS": stated}).limits
    tools = {"dear": Bounds(), "fair": Bounds(), "author": Bounds((), 12), "plain": Bounds()}
    assert list(limits.unaffordable(tools)) == [("dear", 11, "10/day"), ("author", 12, "10/day")]
    for wrong in ('{"*": ["cost 2"]}', '{"a": ["cost 2", "1/day"]}', '{"a": ["cost 2", "cost 3"]}'):
        assert any("MCP_LIMITS" in one and "cost" in one for one in problems(issuer="https://a", limits=wrong))


class Away:
    """A ledger that says nothing."""

    async def settle(self, batch: Batch) -> Settled | None:
        return None


def test_several_issuers_have_audiences_and_algorithms_of_their_own() -> None:
    listed = '["https://a.example", {"issuer": "https://b.example", "audiences": ["other"], "algorithms": "PS256", "fetch_url": "http://b:80"}]'
    first, second = (
        settings.load({**GOOD, "MCP_ISSUER": listed, "MCP_AUDIENCES": "more"}).auth.config(ScopeRules()).issuers
    )
    assert first.audiences == {"https://x.example/mcp", "more"}
    assert (set(second.audiences), set(second.algorithms)) == ({"other"}, {"PS256"})
    assert second.fetch_url == "http://b:80"
    assert any("MCP_ISSUER[0][nonsense]" in one for one in problems(issuer='[{"issuer": "https://a", "nonsense": 1}]'))


@pytest.mark.parametrize("below", ["/.well-known/openid-configuration", "/protocol/openid-connect/token"])
def test_what_lies_below_an_issuer_is_none(below: str) -> None:
    (told,) = problems(issuer=f"https://a.example/realms/b{below}")
    assert told.startswith("MCP_ISSUER: must end before /")
    (told,) = problems(issuer="https://a.example", issuer_fetch_url=f"http://a{below}")
    assert told.startswith("MCP_ISSUER_FETCH_URL: must end before /")


@pytest.mark.parametrize("name", ["client_secret", "access_token"])
def test_a_secret_is_one_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"first\nsecond\n")
    (told,) = problems(issuer="https://a.example", **{f"{name}_file": str(file)})
    assert told == f"MCP_{name.upper()}: must be one line, without control characters"
    file.write_bytes(b"one\r\n")
    found = settings.load({"MCP_ISSUER": "https://a.example", f"MCP_{name.upper()}_FILE": str(file)})
    assert getattr(found.auth, name).get_secret_value() == "one"


def test_a_place_is_told_where_there_are_several() -> None:
    assert problems(issuer="a.example")[0].startswith("MCP_ISSUER: ")
    assert problems(issuer='["https://a.example", "b"]')[0].startswith("MCP_ISSUER[1][issuer]: ")
    assert problems(allowed_hosts="a/b")[0].startswith("MCP_ALLOWED_HOSTS: ")
    assert problems(allowed_hosts="a, b/c")[0].startswith("MCP_ALLOWED_HOSTS[1]: ")


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


@pytest.mark.parametrize(
    "url",
    [
        "redis://:S3cr3t/abc@localhost:6379/0",
        "redis://:S3cr3t#x@localhost",
        "redis://:S3cr3t?x@localhost",
        "redis://user:S3cr3t@",
        "redis://:S3cr3t@host:port",
        "redis://host:6379/S3cr3t",
        "redis://host?db=S3cr3t:x",
        "redis://host?db=S3cr3t",
        "redis://host?protocol=9",
        "redis://S3cr3t@host:99999/0",
        "redis://S3cr3t@host:0/0",
        "redis://host?unknown=S3cr3t",
        "rediss://host name:6379",
    ],
)
def test_a_redis_url_that_cannot_be_read_is_refused_and_not_repeated(url: str) -> None:
    told = problems(**_good(), redis_url=url)
    assert len(told) == 1
    assert told[0].startswith("MCP_REDIS_URL: must be redis://")
    assert "S3cr3t" not in told[0]


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/0",
        "rediss://user:p%2Fw%40%23@cache.example:6380/2",
        "redis://[::1]:6379",
        "rediss://host?ssl_cert_reqs=required&protocol=3",
        "unix:///run/redis.sock",
        "unix://:password@/run/redis.sock?db=1",
    ],
)
def test_a_redis_url_that_can_be_read_is_taken(url: str) -> None:
    assert settings.load({**GOOD, "MCP_REDIS_URL": url}).store.redis_url


@pytest.mark.parametrize("name", ["trusted_proxies", "allowed_hosts", "allowed_origins"])
def test_what_is_refused_is_not_repeated(name: str) -> None:
    (told,) = problems(**_good(), **{name: "https://u:S3cr3tVa1ue@x/"})
    assert "S3cr3t" not in told


@pytest.mark.parametrize(
    ("given", "resource"),
    [
        ({}, "http://localhost:8000/mcp"),
        ({"MCP_PORT": "8001"}, "http://localhost:8001/mcp"),
        ({"MCP_PATH": "/api"}, "http://localhost:8000/api"),
        ({"MCP_PORT": "8001", "MCP_PATH": "/api"}, "http://localhost:8001/api"),
        ({"MCP_PORT": "8001", "MCP_RESOURCE": "https://x.example/mcp"}, "https://x.example/mcp"),
        ({"MCP_PORT": "0"}, "http://localhost:8000/mcp"),
    ],
)
def test_the_public_url_follows_port_and_path_unless_it_is_given(given: dict[str, str], resource: str) -> None:
    assert settings.load({"MCP_ISSUER": "https://kc.example", **given}).auth.resource == resource


def _good() -> dict[str, str]:
    return {name.removeprefix("MCP_").lower(): value for name, value in GOOD.items()}


def test_whether_the_state_keys_outlive_this_start_is_known() -> None:
    assert not settings.load(GOOD).engine_config().keys_stated
    assert not settings.load(GOOD, presumed={"MCP_STATE_KEYS": random_key()}).engine_config().keys_stated
    stated = {**GOOD, "MCP_STATE_KEYS": "k" * 32}
    assert settings.load(stated, presumed={"MCP_STATE_KEYS": random_key()}).engine_config().keys_stated
