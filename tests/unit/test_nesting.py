"""Depth of JSON: the same on every Python, whatever stands in texts, and in little time."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server import nesting
from mcp_server.nesting import MAX_DEPTH, too_deep

PARTS = st.recursive(
    st.none() | st.integers() | st.text('[]{}"\\a\u00e9', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('[]{}"\\a', max_size=4), inner, max_size=4),
    max_leaves=40,
)


def depth_of(value: Any) -> int:
    inner = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"]":', b"}]"), (b'["\\"",', b"]")]
)
def test_the_bound_is_exact(opening: bytes, closing: bytes) -> None:
    times = MAX_DEPTH // depth_of(msgspec.json.decode(opening + b"1" + closing))
    whole = opening * times + b"1" + closing * times
    assert not too_deep(whole)
    assert not too_deep(b"[" + b",".join([opening + b"1" + closing] * 5000) + b"]")
    assert too_deep(b"[" + whole + b"]")


@given(PARTS, st.integers(0, 6))
def test_it_is_what_a_reader_counts(value: Any, most: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nesting, "MAX_DEPTH", most)
        patched.setattr(nesting, "_PIECE", 3)
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
            assert too_deep(text.encode()) == (depth_of(value) > most)


@given(st.binary(max_size=60) | st.text('[]{}"\\', max_size=60).map(str.encode))
def test_of_what_is_no_json_it_says_something(data: bytes) -> None:
    assert too_deep(data * 40) in (True, False)
