"""Which texts are one address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.registry.uri import normalized


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("config://admin", "config://admin"),
        ("config://%61dmin", "config://admin"),
        ("CONFIG://ADMIN", "config://admin"),
        ("config://User@Admin/Path", "config://User@admin/Path"),
        ("config://admin?A=%7e#F", "config://admin?A=~#F"),
        ("config://%41dmin/%41", "config://admin/A"),
        ("a://b/%2f%c3%a9", "a://b/%2F%C3%A9"),
        ("a://b/%00%zz%", "a://b/%00%zz%"),
        ("URN:Ab:%43", "urn:Ab:C"),
        ("nothing", "nothing"),
        ("a://", "a://"),
        ("a:///Path", "a:///Path"),
    ],
)
def test_an_address_has_one_form(written: str, same: str) -> None:
    assert normalized(written) == same


PIECES = ["a", "A", "%61", "%41", "%2f", "%25", "%C3", "é", ":", "/", "//", "?", "#", "@"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_a_normal_form_is_its_own(uri: str) -> None:
    once = normalized(uri)
    assert normalized(once) == once
    assert "%61" not in once
