"""What looks like a secret, or stands behind a secret's name, is not logged; the rest is."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.observe import redaction
from mcp_server.observe.redaction import MAX_TEXT, REDACTED, is_secret, redact, redact_field
from tests.kit.effort import spent

S = "hunter2secret"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl"

HIDDEN = {
    "URL password": f"https://user:{S}@api.example/x",
    "URL password alone": f"redis://:{S}@redis:6379/0",
    "URL password with an at": f"postgres://user:{S}@{S}@db/x",
    "header": f"x-api-key: {S}",
    "header in capitals": f"X-API-KEY: {S}",
    "form": f"a=b&api_key={S}&c=d",
    "form escaped": f"access_token%3D{S}",
    "JSON": f'{{"api_token": "{S}", "a": 1}}',
    "JSON, escaped in JSON": f'{{\\"password\\": \\"{S} {S}\\", \\"a\\": 1}}',
    "JSON, a list": f'{{"secrets": ["{S}", "{S}"]}}',
    "session state": f'{{"session_state": "{S}"}}',
    "session id": f"Mcp-Session-Id: {S}",
    "cookie": f"cookie: SESSION={S}; b={S}",
    "set-cookie": f"set-cookie: a={S}; Path=/",
    "passwd": f"passwd={S}",
    "pwd": f"pwd={S}",
    "blanks in quotes": f'{{"client_secret": "two {S} words"}}',
    "escaped quotes": f'{{"password": "two \\" {S} words"}}',
    "a quote that never ends": f'password="two {S} words',
    "any scheme": f"Authorization: Token {S}",
    "any scheme in JSON": f'{{"authorization": "Digest a={S}, b={S}"}}',
    "ASGI headers": f"[(b'host', b'x'), (b'authorization', b'ApiKey {S}')]",
    "a scheme in small letters": f"authorization: bearer {S}",
    "a cookie in quotes": f'Cookie: a="x"; b={S}',
    "a cookie's quotes": f"Cookie: a=b; c='{S}'",
    "a header that begins with quotes": f'Cookie: "x"; b={S}',
    "Digest": f'Authorization: Digest username="u", response="{S}"',
    "Digest in Python's repr": f"{{'Authorization': 'Digest username=\"u\", response=\"{S}\"'}}",
    "a folded line": f"set-cookie: a=1\r\n b={S}\r\n\tc={S}\r\nhost: x",
    "keys with a comma": f"MCP_STATE_KEYS=aaaa,{S}",
    "keys with commas and blanks": f"state_keys: aaaa, {S} , {S}",
    "keys with a blank": f"MCP_STATE_KEYS=aaaa {S} MCP_PORT=3",
    "keys in Base64": f"MCP_STATE_KEYS=aaaa=,{S}=,{S}==",
    "tokens that begin with digits": f"tokens: 17, {S}",
    "nested objects": f'{{"credentials": {{"a": {{"b": "x"}}, "c": "{S}"}}, "d": 1}}',
    "nested lists": f'{{"tokens": ["a", ["b"], "{S}"]}}',
    "nested tuples": f"passwords: [('db', ('u', 'x')), '{S}']",
    "a bracket in quotes": f'{{"credentials": {{"a": "}}", "c": "{S}"}}}}',
    "a bracket in quotes, escaped": f'\\"credentials\\": {{\\"a\\": \\"}}\\", \\"c\\": \\"{S}\\"}}',
    "brackets that never close": f"credentials: {{a: [1], b: {S}",
    "an object's repr": f"credentials=Basic(user='u', inner=Inner(x='{S}'))",
    "a set": f"secrets=frozenset({{'{S}'}})",
    "a URL password with a slash": f"postgresql://u:{S}/x@h/db",
    "a URL password behind a slash": f"postgresql://u:x/{S}@h/db",
    "a URL password with marks": f"amqp://u:?#{S}@h",
    "a URL user with an at": f"postgres://u@corp:{S}@h/db",
    "a URL password behind a port": f"http://h:80/?to=redis://:{S}@h",
    "a URL password that begins with digits": f"redis://:8000{S}@h",
    "code": f"?code={S}&state=x",
    "device code": f"device_code={S}",
    "user code": f'"user_code": "{S}"',
    "bytes": f"b'access_token': b'{S}'",
    "Python's repr": f"Config(name='x', password='{S} {S}', other=1)",
    "nested": repr({"a": {"clientSecret": S, "b": [{"refresh_token": S}]}}),
    "camel case": f"accessToken: {S}",
    "state": f"requestState: {S}",
    "PEM": f"x\n-----BEGIN RSA PRIVATE KEY-----\n{S}\n{S}\n-----END RSA PRIVATE KEY-----\ny",
    "PEM cut off": f"-----BEGIN PRIVATE KEY-----\n{S}",
    "environment": f"AWS_SECRET_ACCESS_KEY={S}",
    "keys": f"MCP_STATE_KEYS={S}",
    "any key": f"STRIPE_KEY={S}",
    "assertion": f"client_assertion={S}",
    "one-time password": f"otp={S}",
    "arrow": f"password => {S}",
    "bearer": f"sent Bearer {S}",
    "a JWT": f"token {JWT.replace('eyJz', S)}",
    "a JWT behind an escape": f"%22{JWT.replace('eyJz', S)}%22",
    "an encrypted JWT without a key": f"eyJhbGciOiJkaXIifQ..{S}.{S}.{S}",
    "a detached signature": f"eyJhbGciOiJkaXIifQ..{S}",
    "a JWT behind a short part": f"eyJ.a.{JWT.replace('eyJz', S)}",
    "a JWT in a file's name": f"cache.{JWT.replace('eyJz', S)}.json",
}


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN)
def test_no_secret_is_left(text: str) -> None:
    assert S not in redact(text)
    assert REDACTED in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "the code is fine, token is a word",
        "status code: 200, exit code=3",
        '{"code": -32602, "message": "Invalid params"}',
        "token_endpoint=https://issuer/token token_type=Bearer",
        "token_digest=0123456789abcdef",
        "mcp_server.web.exchange: keyJson.parse failed",
        "https://issuer.example:8443/realms/x?a=b@c",
        "tool=list_orders client_id=cli keyboard=de",
        "http://[::1]:8000/x@y and http://host:80, mail to a@b",
        "tokens: 17",
        "input_tokens=12, output_tokens=3",
        "{'max_tokens': 4096, 'x': 1}",
        '{"max_tokens":4096}',
        "eyJ.eyJ.eyJhbG.x",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text


def test_what_stands_round_a_secret_stays() -> None:
    assert redact('{"password": "a b", "name": "bob"}') == '{"password": [redacted], "name": "bob"}'
    assert redact("x-api-key: abc\nhost: b") == "x-api-key: [redacted]\nhost: b"
    assert redact("redis://user:pw@host:1/0") == "redis://user:[redacted]@host:1/0"
    assert redact("password=") == "password="
    assert redact("MCP_STATE_KEYS=a,b MCP_PORT=3") == "MCP_STATE_KEYS=[redacted] MCP_PORT=3"
    assert redact('{"tokens": [["a"], "b"], "c": 1}') == '{"tokens": [redacted], "c": 1}'
    assert redact('Cookie: a="b"\r\nhost: c') == "Cookie: [redacted]\r\nhost: c"
    assert redact("Config(cookie='a', name='b')") == "Config(cookie=[redacted], name='b')"
    assert redact("postgresql://u:a/b@h:1/db") == "postgresql://u:[redacted]@h:1/db"


@pytest.mark.parametrize("name", ["password", "X-Api-Key", "apiKey", "MCP_STATE_KEYS", "set_cookie", "sid", "dpop"])
def test_a_name_says_that_its_value_is_a_secret(name: str) -> None:
    assert is_secret(name)
    assert redact_field(name, {"any": "value"}) == REDACTED


@pytest.mark.parametrize("name", ["key", "kid", "token_endpoint", "token_digest", "client_id", "method", "state"])
def test_other_names_do_not(name: str) -> None:
    assert not is_secret(name)
    assert redact_field(name, 5) == "5"


def test_a_number_of_tokens_is_no_secret_and_a_token_is_one() -> None:
    assert redact_field("max_tokens", 4096) == "4096"
    assert redact_field("tokens", S) == REDACTED
    assert redact_field("password", 4096) == REDACTED


def test_a_long_text_is_cut_before_anything_else() -> None:
    """The cut leaves no half of a secret: what is before a secret's name stays with it."""
    found = redact("x" * (MAX_TEXT - 20) + f" password='{S * 5}'")
    assert S not in found
    assert found.endswith("characters more]") or REDACTED in found
    assert len(found) < MAX_TEXT + 100


UNITS = [
    "eyJ", "eyJaaaaa.", "a.", "=", "a=", "a-", "bearer ", "basic" + " " * 50, "code=", "token", "cookie:", "://", "://a:",
    "://:", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "password='", 'password="', 'password=\\"', "password='\\",
    "secret=[", "'", '"', "\\", '"a",', " ", "token\\\\", "://a@", "://a:1/", "://a:1@", "keys=a,", "keys=a ", "keys:",
    "a ", "a, ", "tokens:1,", "tokens:1, a", "secret=a(", "secret=[]", "secret={'", "[", "]", "cookie:\n ", "\n ", "eyJ.",
    "code=[", "aaaaa.",
]  # fmt: skip
STARTS = ["", "eyJ", "password=", "keys=", "secret=[", "cookie: ", "://u:", "-----BEGIN PRIVATE KEY-----", "bearer "]
TAILS = ["", ".a", ".", '"', "]", "@", ":", "=", "!"]


@pytest.mark.parametrize("unit", UNITS)
def test_the_work_grows_no_faster_than_the_text(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """House fault 1: 66 kB of `eyJeyJ...` held a worker for 4.9 s, and later 60 kB of them before `.a` for 2.8 s.

    Whatever each pattern starts with and whatever ends a run: eight times the text would be 64 times the work of a pass
    that looks back; the processor's time is compared, with room for the noise of small figures, and again if it is
    too long, for something else may have had the processor's caches.
    """
    monkeypatch.setattr(redaction, "MAX_TEXT", 10**9)
    for start, tail in itertools.product(STARTS, TAILS):
        short, long = (start + unit * (size // len(unit)) + tail for size in (1_000, 8_000))
        bound = 24 * max(spent(lambda: redact(short)), 0.000_25)  # noqa: B023 - called at once
        assert any(spent(lambda: redact(long)) < bound for _ in range(3)), (start, tail)  # noqa: B023


@given(st.text(st.sampled_from("eyJa.=:'\"\\ -_/@&{}[](),\npasswordtkn%3D"), max_size=200))
def test_any_text_comes_out_as_text_that_can_be_written(text: str) -> None:
    redact(text).encode("utf-8")


NAMES = st.sampled_from(["password", "api_key", "X-Api-Key", "accessToken", "client_secret", "Mcp-Session-Id", "A_KEY"])


@given(NAMES, st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=8, max_size=40))
def test_whatever_a_named_value_is_it_does_not_get_through(name: str, value: str) -> None:
    """In JSON and in Python's `repr`, which quote it, and as a field."""
    marked = f"{value}\u2603{value}"
    for text in (repr({name: marked}), f"{name}={marked!r}", redact_field(name, marked)):
        assert "\u2603" not in redact(text)
