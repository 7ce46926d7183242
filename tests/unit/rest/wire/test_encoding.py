"""The table of styles of OAS 3.2 §4.12.4, in each place, and values that mean harm."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.model import Parameter
from mcp_server.rest.wire import encoding, values
from tests.kit.operations import parameter

LIST, OBJECT = ["blue", "black", "brown"], {"R": 100, "G": 200, "B": 150}

PATHS = [
    ("matrix", False, ";color=blue", ";color=blue,black,brown", ";color=R,100,G,200,B,150"),
    ("matrix", True, ";color=blue", ";color=blue;color=black;color=brown", ";R=100;G=200;B=150"),
    ("label", False, ".blue", ".blue,black,brown", ".R,100,G,200,B,150"),
    ("label", True, ".blue", ".blue.black.brown", ".R=100.G=200.B=150"),
    ("simple", False, "blue", "blue,black,brown", "R,100,G,200,B,150"),
    ("simple", True, "blue", "blue,black,brown", "R=100,G=200,B=150"),
]
QUERIES = [
    ("form", False, "color=blue", "color=blue,black,brown", "color=R,100,G,200,B,150"),
    ("form", True, "color=blue", "color=blue&color=black&color=brown", "R=100&G=200&B=150"),
    ("spaceDelimited", False, "color=blue", "color=blue%20black%20brown", "color=R%20100%20G%20200%20B%20150"),
    ("pipeDelimited", False, "color=blue", "color=blue%7Cblack%7Cbrown", "color=R%7C100%7CG%7C200%7CB%7C150"),
    ("pipeDelimited", True, "color=blue", "color=blue&color=black&color=brown", "R=100&G=200&B=150"),
    ("tabDelimited", False, "color=blue", "color=blue%09black%09brown", "color=R%09100%09G%09200%09B%09150"),
    ("deepObject", True, "color=blue", "color%5B0%5D=blue&color%5B1%5D=black&color%5B2%5D=brown", "color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150"),
]  # fmt: skip
COOKIES = [
    ("form", False, "color=blue", "color=blue,black,brown", "color=R,100,G,200,B,150"),
    ("form", True, "color=blue", "color=blue; color=black; color=brown", "R=100; G=200; B=150"),
    ("cookie", False, "color=blue", "color=blue,black,brown", "color=R,100,G,200,B,150"),
    ("cookie", True, "color=blue", "color=blue; color=black; color=brown", "R=100; G=200; B=150"),
]


def query(one: Parameter, value: Any) -> str:
    return "&".join(encoding.in_query(one, value))


def cookie(one: Parameter, value: Any) -> str:
    return "; ".join(encoding.in_cookie(one, value))


@pytest.mark.parametrize(("style", "explode", "scalar", "listed", "mapped"), PATHS)
def test_a_path_has_each_style(style: str, explode: bool, scalar: str, listed: str, mapped: str) -> None:
    one = parameter("color", "path", style, explode)
    assert [encoding.in_path(one, value) for value in ("blue", LIST, OBJECT)] == [scalar, listed, mapped]


@pytest.mark.parametrize(("style", "explode", "scalar", "listed", "mapped"), QUERIES)
def test_a_query_has_each_style(style: str, explode: bool, scalar: str, listed: str, mapped: str) -> None:
    one = parameter("color", "query", style, explode)
    assert [query(one, value) for value in ("blue", LIST, OBJECT)] == [scalar, listed, mapped]


@pytest.mark.parametrize(("explode", "mapped"), [(False, "R,100,G,200,B,150"), (True, "R=100,G=200,B=150")])
def test_a_header_has_its_style(explode: bool, mapped: str) -> None:
    one = parameter("color", "header", "simple", explode)
    assert [encoding.in_header(one, value) for value in ("blue", LIST, OBJECT)] == ["blue", "blue,black,brown", mapped]


@pytest.mark.parametrize(("style", "explode", "scalar", "listed", "mapped"), COOKIES)
def test_a_cookie_has_each_style(style: str, explode: bool, scalar: str, listed: str, mapped: str) -> None:
    one = parameter("color", "cookie", style, explode)
    assert [cookie(one, value) for value in ("blue", LIST, OBJECT)] == [scalar, listed, mapped]


ODD = "a b/c,d&é"
ODD_ENCODED = "a%20b%2Fc%2Cd%26%C3%A9"


@pytest.mark.parametrize("style", ["matrix", "label", "simple"])
def test_a_path_encodes_all_but_unreserved_characters(style: str) -> None:
    assert ODD_ENCODED in encoding.in_path(parameter("x", "path", style), ODD)


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("form", f"x={ODD_ENCODED}&x=2"),
        ("tabDelimited", f"x={ODD_ENCODED}%092"),
        ("pipeDelimited", f"x={ODD_ENCODED}%7C2"),
    ],
)
def test_a_query_encodes_all_but_unreserved_characters(style: str, expected: str) -> None:
    assert query(parameter("x", "query", style), [ODD, 2]) == expected


@pytest.mark.parametrize("value", [["a", "b{}c"], {"a": "b{}c"}, {"b{}c": "a"}])
@pytest.mark.parametrize(
    ("place", "style", "delimiter"),
    [
        ("query", "spaceDelimited", " "),
        ("query", "pipeDelimited", "|"),
        ("query", "tabDelimited", "\t"),
        ("header", "simple", ","),
        ("reserved", "form", ","),
    ],
)
def test_an_item_that_holds_what_separates_items_is_refused(
    place: Any, style: str, delimiter: str, value: list[str] | dict[str, str]
) -> None:
    one = parameter("x", "query" if place == "reserved" else place, style, False, allow_reserved=place == "reserved")
    held = json.loads(json.dumps(value).replace("{}", json.dumps(delimiter)[1:-1]))
    with pytest.raises(BadArguments, match="between items"):
        encoding.in_header(one, held) if place == "header" else query(one, held)


def test_names_and_members_are_encoded_as_values_are() -> None:
    assert query(parameter("filter[status]"), "a") == "filter%5Bstatus%5D=a"
    assert query(parameter("$top"), 5) == "%24top=5"
    assert query(parameter("x"), {"a=1&b": "c"}) == "a%3D1%26b=c"
    assert query(parameter("x", style="form", explode=False, allow_reserved=True), {"a&b": "c"}) == "x=a%26b,c"


def test_headers_are_not_percent_encoded_and_cookies_of_the_form_style_are() -> None:
    assert encoding.in_header(parameter("X-Name", "header"), ODD) == ODD
    assert cookie(parameter("x", "cookie"), ODD) == f"x={ODD_ENCODED}"
    assert cookie(parameter("x", "cookie", allow_reserved=True), "a/b;c,d") == "x=a/b%3Bc%2Cd"
    assert cookie(parameter("x", "cookie", "cookie"), "a%20b/") == "x=a%20b/"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-7, "-7"),
        (5.0, "5"),
        (1e21, "1000000000000000000000"),
        (1e-7, "0.0000001"),
        (1.50, "1.5"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        ("", ""),
    ],
)
def test_a_scalar_is_written_without_exponents(value: Any, expected: str) -> None:
    assert values.text(value, "x") == expected


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**2000, {"a": "\ud800"}])
def test_a_value_that_has_no_bounded_text_is_an_argument_error(value: Any) -> None:
    with pytest.raises(BadArguments, match=r"^x: "):
        values.text(value, "x")


@pytest.mark.parametrize("empty", [None, [], {}, [None], {"a": None}])
def test_what_has_nothing_in_it_is_not_sent(empty: Any) -> None:
    assert query(parameter("x"), empty) == ""
    assert query(parameter("x", style="deepObject"), empty) == ""
    assert cookie(parameter("x", "cookie"), empty) == ""
    assert encoding.in_header(parameter("x", "header"), empty) is None
    with pytest.raises(BadArguments, match="x: must not be empty"):
        encoding.in_path(parameter("x", "path"), empty)


def test_nulls_among_others_are_left_out() -> None:
    assert query(parameter("x"), ["a", None, "b"]) == "x=a&x=b"
    assert query(parameter("x", style="deepObject"), {"a": None, "b": {"c": None, "d": 1}}) == "x%5Bb%5D%5Bd%5D=1"


def test_an_empty_text_is_a_value() -> None:
    assert query(parameter("x"), "") == "x="
    assert query(parameter("x"), ["", "a"]) == "x=&x=a"


def test_a_deep_object_is_nested_with_indices_and_to_a_bound() -> None:
    one = parameter("f", style="deepObject")
    assert query(one, {"a": {"b": ["x", {"c": 1}]}}) == "f%5Ba%5D%5Bb%5D%5B0%5D=x&f%5Ba%5D%5Bb%5D%5B1%5D%5Bc%5D=1"
    endless: Any = "x"
    for _ in range(200):
        endless = {"a": endless}
    with pytest.raises(BadArguments, match="too deeply"):
        query(one, endless)


def test_reserved_characters_pass_where_asked_but_those_that_part_a_query() -> None:
    one = parameter("x", allow_reserved=True)
    assert query(one, "a:/?@!$'()*,b") == "x=a:/?@!$'()*,b"
    assert query(one, "a&b=c#d[e]+f;g h%i%2f") == "x=a%26b%3Dc%23d%5Be%5D%2Bf%3Bg%20h%25i%2f"
    path = parameter("x", "path", allow_reserved=True)
    assert encoding.in_path(path, "a:b@c,d/e?f#g;h%2Fi") == "a:b@c,d%2Fe%3Ff%23g%3Bh%252Fi"


@pytest.mark.parametrize(
    ("media_type", "value", "expected"),
    [
        ("application/json", {"a": [], "b": None}, "x=%7B%22a%22%3A%5B%5D%2C%22b%22%3Anull%7D"),
        ("application/geo+json", "t", "x=%22t%22"),
        ("text/plain", "a b", "x=a%20b"),
        ("application/x-www-form-urlencoded", {"a": "1 2", "b": [1, 2]}, "x=a%3D1%25202%26b%3D1%26b%3D2"),
    ],
)
def test_a_content_parameter_goes_by_its_media_type(media_type: str, value: Any, expected: str) -> None:
    assert query(parameter("x", style="content", explode=False, media_type=media_type), value) == expected


def test_content_in_the_other_places() -> None:
    json: dict[str, Any] = {"style": "content", "explode": False, "media_type": "application/json"}
    assert encoding.in_header(parameter("x", "header", **json), {"a": "é"}) == '{"a":"é"}'
    assert cookie(parameter("x", "cookie", **json), {"a": 1}) == "x=%7B%22a%22%3A1%7D"
    assert encoding.in_path(parameter("x", "path", **json), {"a": 1}) == "%7B%22a%22%3A1%7D"
    text = json | {"media_type": "text/plain"}
    assert cookie(parameter("x", "cookie", **text), "a%20b") == "x=a%20b"
    with pytest.raises(BadArguments, match="over"):
        encoding.in_header(parameter("x", "header", **json), {"a": "x" * 100_000})


def test_the_whole_query_is_one_parameters() -> None:
    form = parameter("q", "querystring", media_type="application/x-www-form-urlencoded")
    assert (
        encoding.whole_query(form, {"a": "b c", "d": [1, 2], "e": None, "f": {"g": 1}})
        == "a=b%20c&d=1&d=2&f=%7B%22g%22%3A1%7D"
    )
    json = parameter("q", "querystring", media_type="application/json")
    assert encoding.whole_query(json, {"a": "&b=1#"}) == "%7B%22a%22%3A%22%26b%3D1%23%22%7D"
    with pytest.raises(BadArguments, match="object"):
        encoding.whole_query(form, "a=b")


WAYS_OUT = [
    "..", ".", "", "../x", "a/../b", "a/..", "..\\x", "%2e%2e", "%2e%2e%2f", "..%2f", "%252e%252e%252fx", "..%5c",
    "..;", "..;/x", ".;x", "a/..;v=1/b", "..;a\\b", "%2e%2e;", "..%3b", "%2e%2e%3bx", "%252e%252e%253b", ".. ", ". ;x", "..%00", "..\uff1bx",
    "\uff0e\uff0e", "\uff0e\uff0e\uff0fx", "\u2025", "x" * 1_000_000, "a\0", "a\r\nb", "a\x7f",
]  # fmt: skip


@pytest.mark.parametrize("style", ["simple", "label", "matrix"])
@pytest.mark.parametrize("value", WAYS_OUT)
def test_a_way_out_of_the_path_is_an_argument_error(style: str, value: str) -> None:
    for whole in (value, [value], ["a", value], {"a": value}):
        with pytest.raises(BadArguments, match=r"^x: (must|over)"):
            encoding.in_path(parameter("x", "path", style), whole)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a/b", "a%2Fb"),
        ("a\\b", "a%5Cb"),
        ("x?y#z", "x%3Fy%23z"),
        ("//evil", "%2F%2Fevil"),
        ("@evil", "%40evil"),
        ("a;b", "a%3Bb"),
        ("a..;b", "a..%3Bb"),
        ("...;b", "...%3Bb"),
        (".well-known", ".well-known"),
        ("..a", "..a"),
        (";..", "%3B.."),
        ("100%", "100%25"),
        ("...", "..."),
        ("a..b", "a..b"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
    ],
)
def test_what_looks_odd_and_stays_in_its_place_is_encoded(value: str, expected: str) -> None:
    assert encoding.in_path(parameter("x", "path"), value) == expected


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\rb", "a\0", "a\x1b", "a\ud800"])
def test_a_header_and_a_raw_cookie_take_no_control_characters(value: str) -> None:
    for whole in (value, [value], {"a": value}, {value: "a"}, "x" * 1_000_000):
        with pytest.raises(BadArguments):
            encoding.in_header(parameter("X-A", "header"), whole)
    with pytest.raises(BadArguments):
        cookie(parameter("x", "cookie", "cookie"), value)


@pytest.mark.parametrize("value", ["a;b", "a b", 'a"b', "a,b", "a\\b", "é"])
def test_a_raw_cookie_takes_what_a_cookie_may_have(value: str) -> None:
    with pytest.raises(BadArguments, match="cookie"):
        cookie(parameter("x", "cookie", "cookie"), value)


@given(st.text(max_size=50))
def test_no_text_ends_its_pair_or_its_segment(value: str) -> None:
    for style in ("form", "spaceDelimited", "pipeDelimited", "deepObject"):
        for reserved in (False, True):
            found = query(parameter("x", style=style, allow_reserved=reserved), value)
            assert set(found[2:]).isdisjoint("&#[]=+; \r\n\0")
    try:
        segment = encoding.in_path(parameter("x", "path"), value)
    except BadArguments:
        return
    assert set(segment).isdisjoint("/?#\\;@:")
    assert segment not in {"", ".", ".."}
