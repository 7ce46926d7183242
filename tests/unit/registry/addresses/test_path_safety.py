"""What an address must not smuggle into a handler, and the one spelling of its octets."""

import pytest

from mcp_server.registry.addresses.path_safety import MAX_URI, normalised, why_unsafe
from mcp_server.registry.addresses.uri_template import UriTemplate


@pytest.mark.parametrize(
    ("value", "within", "alone"),
    [
        ("a", "", ""),
        ("a/b", "", ""),
        ("1.0..2.0", "", ""),
        ("...", "", ""),
        (".hidden", "", ""),
        ("", "", ""),
        ("k:v", "", ""),
        ("a\x00b", "NUL", "NUL"),
        ("..", "dot segments", "dot segments"),
        (".", "dot segments", "dot segments"),
        ("../a", "dot segments", "dot segments"),
        ("a/..", "dot segments", "dot segments"),
        ("a/../b", "dot segments", "dot segments"),
        ("a\\..\\b", "dot segments", "dot segments"),
        ("a/./b", "dot segments", "dot segments"),
        ("/etc/passwd", "an absolute path", ""),
        ("\\\\host\\share", "an absolute path", ""),
        ("C:\\a", "an absolute path", ""),
        ("c:/a", "an absolute path", ""),
    ],
)
def test_a_value_that_leaves_its_folder_is_unsafe(value: str, within: str, alone: str) -> None:
    assert (why_unsafe(value, relative=True), why_unsafe(value, relative=False)) == (within, alone)


@pytest.mark.parametrize(
    ("template", "relative"),
    [
        ("x://{id}", {"id"}),
        ("x://a{/seg*}{?q,r}{#part}", {"seg"}),
        ("x://a{.ext}{;p}", {"ext", "p"}),
        ("x://a?b=c{&d}", set()),
        ("file:///{+path}", {"path"}),
        ("file://{+path}", set()),
        ("file:///a/{+path}{?q}", {"path"}),
    ],
)
def test_which_variables_stand_within_a_path(template: str, relative: set[str]) -> None:
    assert UriTemplate(template).relative == relative


@pytest.mark.parametrize(
    ("uri", "spelled"),
    [
        ("config://admin", "config://admin"),
        ("config://%61dmin", "config://admin"),
        ("config://%61%64m%69n%2e%7E", "config://admin.~"),
        ("config://a%2fb", "config://a%2Fb"),
        ("config://a%2Fb", "config://a%2Fb"),
        ("config://a/b", "config://a/b"),
        ("config://ü b", "config://%C3%BC%20b"),
        ("config://%c3%bc", "config://%C3%BC"),
        ("config://%2561dmin", "config://%2561dmin"),
        ("config://%zz%", "config://%zz%"),
        ("CONFIG://Admin", "config://admin"),
        ("\ud800", "%ED%A0%80"),
        ("%61" * MAX_URI, "%61" * MAX_URI),
    ],
)
def test_octets_have_one_spelling(uri: str, spelled: str) -> None:
    assert normalised(uri) == spelled
    assert normalised(spelled) == spelled
