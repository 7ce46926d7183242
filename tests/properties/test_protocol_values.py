"""No text of a stranger makes anything but a value: cursors, states, templates, events, annotated headers."""

import contextlib
import string

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_server.protocol import cursor, inbound, param_headers, sse
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.param_headers import ParamHeader
from mcp_server.protocol.sealed import InvalidSealedValue, SealingKeys
from mcp_server.registry.addresses.uri_template import BadTemplate, UriTemplate
from tests.properties.test_foreign_bytes import JSON

KEYS = SealingKeys([b"s" * 32], "p")
NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=4)
VALUES = st.text(min_size=1, max_size=12)


@given(st.binary(max_size=200), st.lists(st.text(max_size=8), max_size=3), st.binary(min_size=12, max_size=12))
def test_what_is_sealed_opens_again(payload: bytes, bound: list[str], nonce: bytes) -> None:
    text = KEYS.seal(payload, bound, nonce=nonce, expires_at=10)
    assert KEYS.open(text, bound, now=5) == payload
    assert set(text) <= set(string.ascii_letters + string.digits + "-_")


@given(st.data(), st.binary(min_size=1, max_size=50))
def test_a_changed_sealed_text_does_not_open(data: st.DataObject, payload: bytes) -> None:
    text = KEYS.seal(payload, ("a",), nonce=b"n" * 12, expires_at=10)
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from(sorted(set(string.ascii_letters + string.digits + "-_") - {text[at]})))
    changed = text[:at] + letter + text[at + 1 :]
    opened = None
    with contextlib.suppress(InvalidSealedValue):
        opened = KEYS.open(changed, ("a",), now=5)
    assert opened is None


@given(st.text(max_size=80))
def test_any_text_may_come_as_cursor_and_event_id(text: str) -> None:
    assert cursor.read(KEYS, text, ("tools/list", "a"), now=0) is None
    found = sse.parse_id(text)
    assert found is None or str(found).rpartition(".")[0] == found.stream


def read_events(stream: bytes) -> list[tuple[str, str]]:
    """What a client makes of a stream: id and data of each event (WHATWG HTML §9.2.6)."""
    found = []
    for block in stream.decode().split("\n\n")[:-1]:
        lines = [line.partition(":") for line in block.split("\n")]
        fields = {name: value.removeprefix(" ") for name, _, value in lines if name}
        if fields:
            found.append((fields.get("id", ""), fields.get("data", "")))
    return found


@given(st.lists(st.tuples(JSON, st.integers(0, 10**8)), max_size=5))
def test_whatever_is_said_is_one_event_each(messages: list[tuple[object, int]]) -> None:
    encoded = [(msgspec.json.encode(message), str(sse.EventId("w-1", number))) for message, number in messages]
    stream = b"".join(sse.KEEP_ALIVE + sse.event(data, event_id) for data, event_id in encoded)
    assert read_events(stream) == [(event_id, data.decode()) for data, event_id in encoded]
    for _, event_id in encoded:
        assert str(sse.parse_id(event_id)) == event_id


@settings(max_examples=300)
@given(st.sampled_from(["", "+", "#", ".", "/", ";", "?", "&"]), NAMES, VALUES)
def test_an_expanded_template_matches_itself(operator: str, name: str, value: str) -> None:
    template = UriTemplate(f"x://y{{{operator}{name}}}")
    with contextlib.suppress(UnicodeEncodeError):  # a lone surrogate has no UTF-8 form, so no URI
        assert template.match(template.expand({name: value})) == {name: value}


@settings(max_examples=300)
@given(st.text(max_size=40), st.text(max_size=60))
def test_any_template_and_uri_are_judged(text: str, uri: str) -> None:
    with contextlib.suppress(BadTemplate):
        template = UriTemplate(text)
        found = template.match(uri)
        assert found is None or set(found) <= set(template.names)


@given(st.text("{}abc/?,*:.+;", max_size=24), st.text("abc/?=&%20;,.", max_size=40))
def test_templates_of_their_own_characters_are_judged(text: str, uri: str) -> None:
    with contextlib.suppress(BadTemplate):
        UriTemplate(text).match(uri)


@settings(max_examples=300)
@given(JSON, st.none() | st.binary(max_size=30))
def test_any_argument_against_any_header(value: object, header: bytes | None) -> None:
    declared = (ParamHeader(("a",), b"mcp-param-a"),)
    fields = {} if header is None else {b"mcp-param-a": header}
    found = param_headers.check(declared, fields, {"a": value})
    assert found is None or (isinstance(found, RpcError) and found.code == -32020)


@settings(max_examples=300)
@given(st.binary(max_size=120))
def test_any_line_is_classified(line: bytes) -> None:
    inbound.classify_line(line)
