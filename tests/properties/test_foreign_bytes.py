"""No bytes of a stranger make anything but a value."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_server.auth.issuer import discovery, keys
from mcp_server.auth.policy import IssuerPolicy
from mcp_server.auth.refusals import AccessDeniedError
from mcp_server.auth.tokens import bearer, profile
from mcp_server.auth.tokens.claims import scope_of
from mcp_server.observe.tracing import read
from mcp_server.protocol import headers, inbound, jsonrpc, meta
from mcp_server.protocol.errors import RpcError
from mcp_server.web.incoming import request_guard
from tests.kit import wire

POLICY = IssuerPolicy(issuer="https://i", audiences=frozenset({"a"}), algorithms=frozenset({"RS256"}))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
VERSIONS = st.sampled_from([b"2026-07-28", b"2025-11-25", b"2025-03-26", b"1900-01-01", b""]) | st.binary(max_size=12)
FIELDS = st.dictionaries(
    st.sampled_from([headers.VERSION, headers.METHOD, headers.NAME, headers.SESSION]), VERSIONS | st.just(b"tools/call")
)


@settings(max_examples=300)
@given(FIELDS, st.binary(max_size=200))
def test_any_bytes_are_classified(fields: dict[bytes, bytes], body: bytes) -> None:
    found = inbound.classify(fields, body)
    if isinstance(found, RpcError):
        assert found.status in (200, 400)
        assert found.code in (-32700, -32600, -32602, -32020, -32022)


@settings(max_examples=300)
@given(FIELDS, st.data())
def test_any_member_of_the_envelope_may_be_anything(fields: dict[bytes, bytes], data: st.DataObject) -> None:
    message: Any = wire.modern("tools/call", {"name": "t", "arguments": {}})
    place = data.draw(
        st.sampled_from(["jsonrpc", "id", "method", "params", "_meta", "version", "capabilities", "name"])
    )
    target = {
        "_meta": message["params"],
        "name": message["params"],
        "version": message["params"]["_meta"],
        "capabilities": message["params"]["_meta"],
    }
    key = {"version": meta.PROTOCOL_VERSION, "capabilities": meta.CLIENT_CAPABILITIES}.get(place, place)
    target.get(place, message)[key] = data.draw(JSON)
    inbound.classify(fields, msgspec.json.encode(message))
    inbound.classify(fields, msgspec.json.encode([message] * 2))


@given(st.text("AQgw-_z01", max_size=9).map(str.encode))
def test_base64url_is_taken_in_the_one_spelling_that_it_encodes_to(part: bytes) -> None:
    try:
        decoded = profile.decode_part(part)
    except AccessDeniedError:
        padded = part + b"=" * (-len(part) % 4)
        assert len(part) % 4 == 1 or not part or base64.urlsafe_b64encode(base64.urlsafe_b64decode(padded)) != padded
    else:
        assert base64.urlsafe_b64encode(decoded).rstrip(b"=") == part


@given(st.text(max_size=50))
def test_a_header_value_comes_back_from_its_sentinel(text: str) -> None:
    encoded = b"=?base64?" + base64.b64encode(text.encode("utf-8", "replace")) + b"?="
    assert headers.decode_value(encoded) == text.encode("utf-8", "replace").decode()


@given(st.binary(max_size=60))
def test_any_header_value_is_decoded_or_refused(value: bytes) -> None:
    try:
        headers.decode_value(value)
    except headers.Undecodable:
        return


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b" a ", "a"),
        (b"\ta\t", "a"),
        (b"=?base64?SGVsbG8=?=", "Hello"),
        (b"=?base64?SGVsbG8=", "=?base64?SGVsbG8="),
        (b"SGVsbG8=?=", "SGVsbG8=?="),
        (b"=?base64?=", "=?base64?="),
        (b"", ""),
    ],
)
def test_markers_are_exact(raw: bytes, text: str) -> None:
    assert headers.decode_value(raw) == text


@pytest.mark.parametrize(
    "raw",
    [
        b"a\x00b",
        b"\xff",
        b"a\nb",
        b"=?base64?SGVsbG8?=",
        b"=?base64?SGVs!!!bG8=?=",
        b"=?base64?//8=?=",
        b"=?base64?SGVsbG9=?=",
    ],
)
def test_characters_and_base64_are_strict(raw: bytes) -> None:
    with pytest.raises(headers.Undecodable):
        headers.decode_value(raw)


@given(
    st.binary(max_size=300) | st.lists(st.binary(max_size=40).map(base64.urlsafe_b64encode), max_size=4).map(b".".join)
)
def test_any_bytes_are_no_token(raw: bytes) -> None:
    bearer.read(raw)
    bearer.token_in_query(raw)
    with pytest.raises(AccessDeniedError):
        profile.open_token(raw, {"https://i": POLICY})


@given(
    st.dictionaries(st.sampled_from(["alg", "typ", "kid", "jku", "crit"]), JSON),
    st.dictionaries(st.sampled_from(["iss", "aud", "exp"]), JSON),
)
def test_any_header_and_payload_is_refused_or_opened(header: dict[str, Any], payload: dict[str, Any]) -> None:
    parts = [base64.urlsafe_b64encode(msgspec.json.encode(one)).rstrip(b"=") for one in (header, payload)]
    try:
        profile.open_token(b".".join([*parts, b"AAAA"]), {"https://i": POLICY})
    except AccessDeniedError:
        return


CLAIMS = {
    "iss": "https://i",
    "aud": "a",
    "exp": 2000,
    "iat": 900,
    "sub": "s",
    "sid": "s",
    "azp": "c",
    "typ": "Bearer",
    "cnf": {},
    "nbf": 1,
    "scope": "x",
    "client_id": "c",
}


@settings(max_examples=300)
@given(st.sampled_from(sorted(CLAIMS)), JSON)
def test_any_claim_may_be_anything(name: str, value: Any) -> None:
    try:
        claims = profile.check_claims(CLAIMS | {name: value}, b"{}", POLICY, now=1000, rfc9068=False)
    except AccessDeniedError:
        return
    assert claims.expires_at > 1000


@given(
    st.text() | st.lists(st.sampled_from(["mcp:admin", "mcp:read", " ", "\t", "\u2003", "\x1c", '"', ","])).map("".join)
)
def test_a_scope_is_held_only_where_spaces_alone_set_it_apart(text: str) -> None:
    held = scope_of({"scope": text})
    assert held <= set(text.split(" "))
    assert all(one.isascii() and one.isprintable() and not set(one) & set(' "\\') for one in held)
    assert ("mcp:admin" in held) == ("mcp:admin" in text.split(" "))


@given(
    JSON,
    st.dictionaries(
        st.sampled_from(["kty", "kid", "use", "alg", "n", "e", "crv", "x", "y", "key_ops"]),
        JSON | st.sampled_from(["RSA", "EC", "AQAB", "P-256"]),
    ),
)
def test_any_document_of_an_issuer_is_a_value(document: Any, key: dict[str, Any]) -> None:
    keys.parse(document, fetched_at=0)
    keys.parse({"keys": [key, document]}, fetched_at=0)
    discovery.parse(document, POLICY)
    discovery.parse({"issuer": "https://i", "jwks_uri": document}, POLICY)


@given(st.text(max_size=150) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.?"), st.text())
def test_any_trace_is_read(text: str, state: str) -> None:
    found = read(text, state)
    assert found is None or (len(found.trace_id), len(found.span_id), len(found.header)) == (32, 16, 55)
    assert found is None or (found.state.isprintable() and len(found.state) <= 512)


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b"text/event-stream", b"application/json", b";", b"q=", b",", b"0.5", b"1", b" "])).map(
        b"".join
    )
)
def test_any_accept_is_read(accept: bytes) -> None:
    preferred = request_guard.prefers_stream({b"accept": accept})
    assert not preferred or b"text/event-stream" in accept.lower()


def test_too_deep_is_refused_at_each_place() -> None:
    deep = b"[" * 5000 + b"]" * 5000
    for body in (
        deep,
        b'{"jsonrpc":' + deep + b"}",
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":' + deep + b"}}",
    ):
        found = inbound.classify({headers.VERSION: b"2025-03-26"}, body)
        assert isinstance(found, RpcError)
        assert found.code == -32600
    assert isinstance(jsonrpc.parse_batch(b"[1, 2"), RpcError)
