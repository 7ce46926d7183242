"""The JSON of tokens and proofs: what one reader after us would read otherwise, or not at all, is no token."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_server.auth.refusals import AccessDeniedError, DenialReason
from mcp_server.auth.tokens.profile import MAX_DEPTH, json_object


def nested(depth: int) -> bytes:
    """An object that so many arrays and objects in one another are, itself among them."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


REFUSED = {
    "half a surrogate as sub": rb'{"sub":"\ud800"}',
    "the other half": rb'{"sub":"x\udfffx"}',
    "the halves turned round": rb'{"sub":"\udc00\ud800"}',
    "half a surrogate in a name": rb'{"\ud800":1}',
    "half a surrogate in a list": rb'{"aud":["a",{"b":"\ud83d"}]}',
    "surrogates as UTF-8": b'{"sub":"\xed\xa0\x80"}',
    "no UTF-8": b'{"sub":"\xff"}',
    "a byte order mark": b'\xef\xbb\xbf{"sub":"u"}',
    "an integer beyond a double": b'{"exp":1' + b"0" * 400 + b"}",
    "a negative one": b'{"iat":-1' + b"0" * 400 + b"}",
    "an integer of 5000 digits": b'{"exp":' + b"9" * 5000 + b"}",
    "a float beyond a double": b'{"exp":1e999}',
    "in a claim that nobody reads": b'{"x":[{"y":-1e999}]}',
    "NaN": b'{"exp":NaN}',
    "Infinity": b'{"exp":Infinity}',
    "two of a name": b'{"a":1,"a":2}',
    "no object": b"[]",
    "nothing": b"",
    "one level too deep": nested(MAX_DEPTH + 1),
    "960 levels": nested(960),
    "100,000 levels": nested(100_000),
    "deep objects": b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
}


@pytest.mark.parametrize("document", REFUSED.values(), ids=REFUSED)
def test_it_is_refused(document: bytes) -> None:
    with pytest.raises(AccessDeniedError) as refused:
        json_object(document)
    assert refused.value.refusal.reason is DenialReason.NOT_A_TOKEN


@pytest.mark.parametrize(
    "document",
    [
        rb'{"sub":"\ud83d\ude00"}',
        b'{"exp":1e308,"iat":-1e308,"big":1' + b"0" * 300 + b"}",
        nested(MAX_DEPTH),
        b'{"roles":[' + b",".join([b'{"a":[]}'] * 200) + b"]}",
        b'{"text":"' + b"[{" * 200 + b'"}',
    ],
    ids=["a whole pair", "large numbers", "as deep as may be", "wide and flat", "brackets in a text"],
)
def test_it_is_read(document: bytes) -> None:
    assert json_object(document) == json.loads(document)


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
            max_leaves=12,
        ),
        max_size=4,
    )
)
def test_what_is_read_can_be_said_again_in_utf8(value: dict[str, object]) -> None:
    try:
        found = json_object(json.dumps(value).encode())
    except AccessDeniedError:
        return
    assert json.dumps(found, ensure_ascii=False).encode("utf-8")
