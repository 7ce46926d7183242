"""The one report: each problem has a line of its own, whatever else is wrong, and none shows what was given."""

import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from devstack.realm import model as realm
from mcp_server import McpServer, create_app, settings
from mcp_server.settings import SettingsError, catalogue, report
from mcp_server.settings.catalogue import Row
from mcp_server.settings.values import MIN_KEY

GOOD = {"MCP_ISSUER": "https://kc.example/realms/mcp", "MCP_RESOURCE": "https://x.example/mcp"}
NO_ISSUER = "MCP_ISSUER: is required: the URL of the issuer, such as https://keycloak.example.com/realms/NAME"
ROWS = catalogue.rows()
SECRETS = sorted(catalogue.secrets())
BAD_SCOPES = {
    "a quote": 'a"b',
    "the end of a line": "a\r\nSet-Cookie: x=y",
    "a backslash": "a\\b",
    "a blank": "a b",
    "not ASCII": "lesen:ä",
    "nothing": "",
}


def problems(given: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as found:
        settings.load(given)
    return found.value.problems


def named(given: dict[str, str]) -> set[str]:
    """The settings that the report has lines for."""
    return {line.partition(":")[0].partition("[")[0] for line in problems({**GOOD, **given})}


def test_every_problem_is_named_at_once() -> None:
    """Those of values, of names, of pairs in one group and in two, though other settings of the groups are wrong."""
    found = named(
        {
            "MCP_ISSURE": "x",
            "MCP_LEEWAY_S": "500",
            "MCP_ALGORITHMS": "HS256",
            "MCP_SCOPE_IMPLIES": "{",
            "MCP_TOTALLY_OTHER": "1",
            "MCP_WORKERS": "0",
            "MCP_JWKS_TTL_S": "3600",
            "MCP_JWKS_STALE_S": "600",
            "MCP_PORT": "9000",
            "MCP_ADMIN_PORT": "9000",
            "MCP_AUDIT_KEEP": "many",
            "MCP_PATH": "/metrics",
        }
    )
    assert found == {
        "MCP_ISSURE",
        "MCP_LEEWAY_S",
        "MCP_ALGORITHMS",
        "MCP_SCOPE_IMPLIES",
        "MCP_TOTALLY_OTHER",
        "MCP_WORKERS",
        "MCP_JWKS_STALE_S",
        "MCP_ADMIN_PORT",
        "MCP_AUDIT_KEEP",
        "MCP_PATH",
    }


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MCP_PORT", "x", "must be a whole number"),
        ("MCP_PORT", "99999", "must be at most 65535"),
        ("MCP_MAX_TOKEN_BYTES", "1.5", "must be a whole number"),
        ("MCP_LEEWAY_S", "-1", "must be at least 0"),
        ("MCP_JWKS_TTL_S", "often", "must be a number"),
        ("MCP_JWKS_TTL_S", "0", "must be more than 0"),
        ("MCP_JWKS_TTL_S", "inf", "must be a number that is not infinite"),
        ("MCP_LIST", "grant", "must be 'all' or 'granted'"),
        ("MCP_PARAMETERIZED_SCOPES", "maybe", "must be true or false"),
        ("MCP_ROLE_SCOPES", "[1]", "must be a JSON object"),
        ("MCP_UPSTREAM_SECRETS", '{"a": [1]}', "must be a text"),
        ("MCP_SERVICE_CLIENTS", "[1]", "must be a text"),
        ("MCP_ALGORITHMS", "[]", "must name one at least"),
        ("MCP_STATE_KEYS", ",", "must name one at least"),
        ("MCP_AUDIT_CHAIN", ",", "must name one at least"),
        ("MCP_AUDIT_CHAIN", "[]", "must name one at least"),
        ("MCP_OTLP_HEADERS", "api-key=x,Content-Length=3", "content-length belongs to each request"),
        ("MCP_STATE_KEYS", '["\\ud800' + "k" * 40 + '"]', "must be UTF-8"),
        ("MCP_AUDIT_CHAIN", "\udcff" + "k" * 40, "must be UTF-8"),
        ("MCP_ACCESS_TOKEN", "\udcff" + "k" * 40, "must be UTF-8"),
        ("MCP_CLIENT_SECRET", "\udcff" + "k" * 40, "must be UTF-8"),
    ],
)
def test_a_problem_is_told_in_our_words_and_alone(name: str, value: str, said: str) -> None:
    (line,) = problems({"MCP_ISSUER": GOOD["MCP_ISSUER"], name: value})
    assert (line.partition(":")[0].partition("[")[0], line.rpartition(": ")[2]) == (name, said)


def test_problems_of_an_issuers_object_are_told_in_our_words() -> None:
    told = [line.rpartition(": ")[2] for line in problems({"MCP_ISSUER": '[{"x": 1}, 5]'})]
    assert sorted(told) == ["is no member that is known here", "is required", "must be a JSON object"]


def test_a_pair_is_not_judged_by_what_could_not_be_read() -> None:
    assert named({"MCP_JWKS_TTL_S": "x", "MCP_JWKS_STALE_S": "600"}) == {"MCP_JWKS_TTL_S"}
    assert named({"MCP_ISSUER_FETCH_URL": "http://[x"}) == {"MCP_ISSUER_FETCH_URL"}
    assert named({"MCP_ISSUER_FILE": "/nowhere", "MCP_ISSUER": ""}) == {"MCP_ISSUER_FILE"}


def test_a_misspelt_name_brings_the_nearest_right_one() -> None:
    assert "MCP_ISSURE: no such setting; did you mean MCP_ISSUER?" in problems({"MCP_ISSURE": "x"})
    assert "MCP_QQQQQQ: no such setting" in problems({"MCP_QQQQQQ": "x"})


def test_what_is_required_is_said_to_be() -> None:
    assert problems({}) == [NO_ISSUER]
    assert problems({"MCP_ISSUER": "[]"}) == [NO_ISSUER]


def test_who_gives_the_server_what_is_for_devstack_learns_it() -> None:
    said = problems({"STACK_URL": "https://x", "DEVSTACK_ISSUER": "https://y"})
    assert said == [
        NO_ISSUER,
        "DEVSTACK_ISSUER, STACK_URL: for devstack and docker compose; mcp-server reads MCP_... alone",
    ]
    (line,) = problems({**GOOD, "MCP_RESOURCE_URL": "https://x/mcp", "STACK_URL": "https://x"})
    assert line == "MCP_RESOURCE_URL: no such setting: a variable of devstack's realm; the server's is MCP_RESOURCE"
    (line,) = problems({**GOOD, "MCP_SSL_REQUIRED": "none"})
    assert line == "MCP_SSL_REQUIRED: no such setting: a variable of devstack's realm"


def test_the_variables_of_devstack_that_are_known_are_those_of_its_realm() -> None:
    text = realm.REALM_FILE.read_text()
    placeholders = {one.partition(":")[0] for one in text.split("${MCP_")[1:]}
    assert {f"MCP_{name}" for name in placeholders} == set(report.DEVSTACKS)


def _beyond(row: Row) -> Iterator[str]:
    """Numbers that are just out of bounds."""
    if row.least is not None:
        yield str(int(row.least) - 1)
    if row.above is not None:
        yield str(int(row.above))
    if row.most is not None:
        yield str(int(row.most) + 1)


@pytest.mark.parametrize("row", [row for row in ROWS if row.takes == "number"], ids=lambda row: row.name)
def test_a_number_is_held_to_its_bounds(row: Row) -> None:
    bounds = list(_beyond(row))
    assert bounds, "a number without a bound"
    for text in [*bounds, "x", "1e", "nan", "inf", "-inf"]:
        assert named({row.name: text}) == {row.name}
    for bound in (row.least, row.most):
        if bound is not None and row.name != "MCP_JWKS_STALE_S":
            settings.load({**GOOD, row.name: f"{bound:g}" if bound < 1 else str(int(bound))})


@pytest.mark.parametrize("row", [row for row in ROWS if row.choices], ids=lambda row: row.name)
def test_a_choice_is_one_of_its_words(row: Row) -> None:
    assert named({row.name: "neither"}) == {row.name}
    for choice in row.choices:
        settings.load({**GOOD, row.name: choice})


@pytest.mark.parametrize("row", [row for row in ROWS if "scope" in row.takes], ids=lambda row: row.name)
def test_what_is_no_scope_token_is_refused_wherever_scopes_stand(row: Row) -> None:
    for scope in BAD_SCOPES.values():
        given = scope if row.takes == "scope" else msgspec.json.encode([scope]).decode()
        if given:  # an empty setting counts as none
            assert named({row.name: given}) == {row.name}


@pytest.mark.parametrize("bad", BAD_SCOPES)
@pytest.mark.parametrize("setting", ["MCP_SCOPE_IMPLIES", "MCP_ROLE_SCOPES"])
def test_what_is_no_scope_token_is_refused_in_maps(setting: str, bad: str) -> None:
    assert named({setting: msgspec.json.encode({"known": [BAD_SCOPES[bad]]}).decode()}) == {setting}
    backwards = msgspec.json.encode({BAD_SCOPES[bad]: ["known"]}).decode()
    if setting == "MCP_SCOPE_IMPLIES":
        assert named({setting: backwards}) == {setting}
    else:
        settings.load({**GOOD, setting: backwards})  # a role may be called as anybody likes


UNUSABLE = (
    "http://[x",
    "http://[::1",
    "https://kc:abc/",
    "https://kc:99999/",
    "kc:8080",
    "https://",
    "https:///realms/mcp",
    "https://kc.example/realms/mcp ",
    "https://kc.example/\trealms",
    "https://kc.example/r\u00e4ume",
    "https://user:password@kc.example/",
    "https://user@kc.example/",
    "ftp://kc.example/",
)


@pytest.mark.parametrize("url", UNUSABLE)
@pytest.mark.parametrize("row", [row for row in ROWS if row.takes.startswith("URL")], ids=lambda row: row.name)
def test_a_url_that_cannot_be_opened_is_refused(row: Row, url: str) -> None:
    assert named({row.name: url}) == {row.name}


@pytest.mark.parametrize("url", UNUSABLE)
def test_so_is_that_of_one_issuer_of_several(url: str) -> None:
    listed = [{"issuer": "https://a.example", "fetch_url": url}, "https://b.example"]
    (line,) = problems({**GOOD, "MCP_ISSUER": msgspec.json.encode(listed).decode()})
    assert line.startswith("MCP_ISSUER[0][fetch_url]: ")


@pytest.mark.parametrize(
    "origin",
    [
        *("*", "null", "https://a.example/", "https://a.example/app", "a.example", "https://*.example", "https://"),
        *("https://a.example:443", "http://a.example:80", "https://u@a.example", "https://a.example:", "https://[x"),
        *("https://ä.example", "https://a.example?x", "https://a.example:99999"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    assert named({"MCP_ALLOWED_ORIGINS": f"https://fine.example {origin}"}) == {"MCP_ALLOWED_ORIGINS"}


@pytest.mark.parametrize(
    "origin", ["http://localhost:6274", "https://a.example:80", "vscode-webview://x1", "http://[::1]:1"]
)
def test_an_origin_that_one_sends_is_taken(origin: str) -> None:
    assert settings.load({**GOOD, "MCP_ALLOWED_ORIGINS": origin}).http.allowed_origins == {origin}


@pytest.mark.parametrize(
    "host", ["*", "https://a.example", "a.example/", "::1", "a.example:x", "u@a.example", "ä.example"]
)
def test_a_host_that_no_header_has_is_refused(host: str) -> None:
    assert named({"MCP_ALLOWED_HOSTS": host}) == {"MCP_ALLOWED_HOSTS"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/metrics/x", "/.well-known/mcp", "mcp", "/m cp"])
def test_a_path_of_our_own_is_refused(path: str) -> None:
    assert named({"MCP_PATH": path}) == {"MCP_PATH"}


def test_two_issuers_are_two_and_fetched_from_two_places() -> None:
    a, b = "https://a.example/realms/x", "https://b.example/realms/y"

    def listed(*issuers: object) -> dict[str, str]:
        return {"MCP_ISSUER": msgspec.json.encode(issuers).decode()}

    assert named({**listed(a, b), "MCP_ISSUER_FETCH_URL": "http://inner:8080/realms/x"}) == {"MCP_ISSUER_FETCH_URL"}
    both = [{"issuer": one, "fetch_url": "http://inner/x"} for one in (a, b)]
    assert named(listed(*both)) == {"MCP_ISSUER"}
    assert named(listed(a, {"issuer": b, "fetch_url": f"{a}/"})) == {"MCP_ISSUER"}
    assert named(listed(a, a)) == {"MCP_ISSUER"}
    one_of_its_own = listed(a, {"issuer": b, "fetch_url": "http://inner/y"})
    found = settings.load({**GOOD, **one_of_its_own, "MCP_ISSUER_FETCH_URL": "http://inner/x"})
    assert [one.fetch_url for one in found.auth.issuer] == [None, "http://inner/y"]


@pytest.mark.parametrize(
    ("port", "metrics", "fine"), [("8000", "8000", False), ("", "8000", False), ("8000", "9000", True)]
)
def test_two_servers_have_two_ports(port: str, metrics: str, *, fine: bool) -> None:
    given = {"MCP_PORT": port, "MCP_ADMIN_PORT": metrics}
    if fine:
        assert settings.load({**GOOD, **given}).observe.admin_port == int(metrics)
    else:
        assert named(given) == {"MCP_ADMIN_PORT"}


def test_metrics_without_a_token_are_for_this_machine_unless_told_otherwise() -> None:
    given = {**GOOD, "MCP_HOST": "0.0.0.0", "MCP_ADMIN_PORT": "9000"}
    assert settings.load(given).observe.admin_host == "127.0.0.1"
    assert settings.load({**given, "MCP_ADMIN_HOST": "0.0.0.0"}).observe.admin_host == "0.0.0.0"


def test_a_name_of_before_is_still_known_and_the_new_one_counts() -> None:
    old = {**GOOD, "MCP_METRICS_PORT": "9000", "MCP_METRICS_HOST": "0.0.0.0"}
    found = settings.load(old).observe
    assert (found.admin_port, found.admin_host) == (9000, "0.0.0.0")
    assert settings.load({**old, "MCP_ADMIN_PORT": "9001"}).observe.admin_port == 9001


def test_what_is_wrong_is_told_under_the_name_that_was_written(tmp_path: Path) -> None:
    assert named({"MCP_METRICS_PORT": "x", "MCP_METRICS_HOST": "http://x"}) == {"MCP_METRICS_PORT", "MCP_METRICS_HOST"}
    assert named({"MCP_METRICS_PORT": "8000"}) == {"MCP_METRICS_PORT"}
    assert named({"MCP_METRICS_PORT": "x", "MCP_ADMIN_PORT": "x"}) == {"MCP_ADMIN_PORT"}
    (tmp_path / "empty").touch()
    file = {"MCP_METRICS_PORT_FILE": str(tmp_path / "empty"), "MCP_PORT": "9000"}
    assert problems({**GOOD, **file}) == ["MCP_METRICS_PORT_FILE: the file is empty"]


@pytest.mark.parametrize("path", ["mcp", "/a?b", "/a b"])
def test_a_path_that_is_none_is_told_once(path: str) -> None:
    """The resource that is presumed of it is nothing that an operator wrote."""
    told = "MCP_PATH: must be a path such as /mcp: a slash, then letters, digits and . _ ~ / -"
    assert problems({"MCP_ISSUER": "https://kc.example/realms/mcp", "MCP_PATH": path}) == [told]


def test_a_redis_is_named_by_its_url() -> None:
    for url in ("rediss://:pw@r.example:6380/0", "unix:///run/redis.sock"):
        settings.load({**GOOD, "MCP_REDIS_URL": url})
    (line,) = problems({**GOOD, "MCP_REDIS_URL": "http://:swordfish@r.example"})
    assert line == "MCP_REDIS_URL: must begin with redis://, rediss://, unix://"


SECRET = "the-real-secret-of-production"
assert len(SECRET) < MIN_KEY
TROUBLE = {
    "no trouble of its own": {"MCP_WORKERS": "two"},
    "a key too short": {"MCP_STATE_KEYS": SECRET},
    "several issuers": {"MCP_ISSUER": '["https://i.example/r", "https://j.example/r"]'},
    "a redis that is none": {"MCP_REDIS_URL": f"http://:{SECRET}@redis"},
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_no_secret_is_in_what_an_application_of_ones_own_prints(
    trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, f"{SECRET}-{SECRET}" if name == "MCP_STATE_KEYS" else SECRET)
    monkeypatch.setenv("MCP_REDIS_URL", f"redis://:{SECRET}@redis")
    for name, value in {**GOOD, **TROUBLE[trouble]}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as found:
        create_app(McpServer("s"))
    shown = "".join(traceback.format_exception(found.value, chain=True)) + repr(found.value.problems)
    assert SECRET not in shown
    assert found.value.__cause__ is None
    assert found.value.__context__ is None  # pydantic's error would bring the input into it
    with caplog.at_level(logging.ERROR):
        logging.getLogger("app").error("cannot start", exc_info=found.value)
    assert SECRET not in caplog.text


def test_no_secret_is_in_the_repr_of_anything_that_is_made_of_settings() -> None:
    keys = SECRET * 2
    given = {
        **GOOD,
        **dict.fromkeys(SECRETS, SECRET),
        "MCP_STATE_KEYS": keys,
        "MCP_AUDIT_CHAIN": keys,
        "MCP_REDIS_URL": f"redis://:{SECRET}@redis",
        "MCP_UPSTREAM_SECRETS": json.dumps({"key": SECRET}),
        "MCP_PROXY": f"http://u:{SECRET}@proxy",
        "MCP_OTLP_HEADERS": f"authorization={SECRET}",
    }
    found = settings.load(given)
    assert found.rest.secrets() == {"key": SECRET}
    auth, engine = found.auth.config(found.scopes.rules()), found.engine_config()
    assert auth.introspection is not None
    assert (auth.introspection.secret, engine.state_keys) == (SECRET, (keys.encode(),))
    for value in (
        found,
        auth,
        auth.introspection,
        engine,
        engine.state_keys,
        found.rest.secrets(),
        found.network.route(),
        [auth],
        {"engine": engine},
    ):
        assert SECRET not in repr(value)
        assert SECRET not in f"{value!s}"
    assert auth.introspection.basic()
