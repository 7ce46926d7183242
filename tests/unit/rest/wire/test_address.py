"""Where calls go: bases, templates, and that no value moves a call elsewhere."""

import unicodedata
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.model import Answer, Body, CallValues, Fault, Operation, Place, Surroundings, WireRequest
from mcp_server.rest.wire import address
from mcp_server.rest.wire.address import Base, base_of, document_base, operation_base, request
from tests.kit.operations import BASE, operation, parameter

JSON = Body(kind="json", media_type="application/json", required=True, schema=True)


def call(made: Operation, base: Base = BASE, body: Any = msgspec.UNSET, **values: Any) -> WireRequest:
    """A call by the names of parameters."""
    given = {(one.place, one.name): values[one.name] for one in made.parameters if one.name in values}
    return request(made, CallValues(parameters=given, body=body), base)


def test_a_request_is_whole() -> None:
    made = operation(
        parameter("id", "path"), parameter("filter[status]"), parameter("$top"), parameter("X-Request-ID", "header"),
        parameter("session", "cookie"), path="/orders/{id}", method="post", body=JSON,
    )  # fmt: skip
    values: dict[str, Any] = {"id": 7, "filter[status]": "open", "$top": 5.0, "X-Request-ID": "r 1", "session": "s;t"}
    assert call(made, body={"id": 8}, **values) == WireRequest(
        method="POST",
        url="https://api.example.test/v2/orders/7?filter%5Bstatus%5D=open&%24top=5",
        headers=(
            ("accept", "*/*"),
            ("x-request-id", "r 1"),
            ("cookie", "session=s%3Bt"),
            ("content-type", "application/json"),
        ),
        body=b'{"id":8}',
    )


def test_absent_and_null_parameters_are_not_sent() -> None:
    made = operation(parameter("a"), parameter("b"), parameter("X-C", "header"), parameter("d", "cookie"))
    sent = call(made, a=None)
    assert (sent.url, sent.headers, sent.body) == ("https://api.example.test/v2/orders", (("accept", "*/*"),), b"")


def test_accept_names_what_the_document_promises() -> None:
    answers = tuple(
        Answer(status="200", media_type=one, schema=True) for one in ("text/csv", "application/json", "text/csv")
    )
    made = Operation(method="get", path="/x", pointer="", about=operation().about, answers=answers)
    assert dict(call(made).headers)["accept"] == "text/csv, application/json, */*;q=0.1"


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("https://a.test", "/x", "https://a.test/x"),
        ("https://a.test/", "/x", "https://a.test/x"),
        ("https://a.test/v2", "/x", "https://a.test/v2/x"),
        ("https://a.test/v2/", "/x", "https://a.test/v2/x"),
        ("https://a.test/v2", "x", "https://a.test/v2/x"),
        ("https://a.test/v2", "/", "https://a.test/v2/"),
        ("http://a.test:8100/a b", "/x y", "http://a.test:8100/a%20b/x%20y"),
        ("https://a.test:443/v2", "/x/", "https://a.test/v2/x/"),
        ("https://[2001:db8::1]:8443", "/x", "https://[2001:db8::1]:8443/x"),
        ("https://bücher.test", "/x", "https://xn--bcher-kva.test/x"),
        ("https://a.test", "/?Action=List#v2", "https://a.test/?Action=List"),
        ("https://a.test", "/x#Qualifier", "https://a.test/x"),
    ],
)
def test_the_base_path_is_joined_once(base: str, path: str, expected: str) -> None:
    assert call(operation(path=path), base_of(base)).url == expected


def test_a_query_of_the_template_comes_first() -> None:
    assert call(operation(parameter("a"), path="/x?b=1"), a=2).url == "https://api.example.test/v2/x?b=1&a=2"


@pytest.mark.parametrize(
    "url",
    [
        "", "/v2", "ftp://a.test", "https://", "https://u:p@a.test", "https://a.test?x=1", "https://a.test#x", "https://[x",
        "https://a.test/..;/x", "https://a.test/.;x/", "https://a.test/%2e%2e%3b/x", "https://a.test:99999", "https://a.test:x", "https://a.test/../x", "https://a.test/%2e%2e/x", "https://a\\b.test", "https://127.1", "https://2130706433", "https://0x7f.0.0.1", "https://a.0x1",
        "https://a.test\\b", "https://a b.test", "https://-.test:1", "file:///etc/passwd", f"https://{'x' * 70}.test",
    ],
)  # fmt: skip
def test_what_is_no_base_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|no address"):
        base_of(url)


HOSTILE = [
    "..", ".", "", "a/b", "../x", "%2e%2e", "..%2f", "%2e%2e%2f", "a\\b", "x?y#z", "//evil", "@evil", ":80", ";", "\\", "a\r\nb",
    "a\0b", "\uff0e\uff0e\uff0fx", "\u2215x", "\u560d\u560aX: y", "x" * 1_000_000, "?a=1", "#", "&b=2", "=",
]  # fmt: skip


@pytest.mark.parametrize("template", ["/files/{v}.json", "/{v}-{v}", "/a/{v}", "/{v}", "/a/{v}/b"])
@pytest.mark.parametrize("value", HOSTILE)
def test_a_path_value_is_refused_or_stays_in_its_place(template: str, value: str) -> None:
    """Fragment 6 of the design."""
    made = operation(parameter("v", "path"), path=template)
    try:
        url = call(made, v=value).url
    except BadArguments:
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("https", "api.example.test", "", "")
    assert parts.path.startswith("/v2/")
    assert parts.path.count("/") == template.count("/") + 1
    literal, *_ = template.replace("{v}", "\0").split("\0")
    assert unquote(parts.path).startswith("/v2" + literal + value)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_elsewhere_reaches_no_other_key_or_header(value: str) -> None:
    made = operation(
        parameter("q"), parameter("r", allow_reserved=True), parameter("X-A", "header"), parameter("c", "cookie")
    )
    for name in ("q", "r", "X-A", "c"):
        try:
            sent = call(made, **dict[str, Any]({name: value}))
        except BadArguments:
            continue
        query = parse_qsl(urlsplit(sent.url).query, keep_blank_values=True)
        assert [key for key, _ in query] == ([name] if name in ("q", "r") else [])
        assert all(found == value for key, found in query if key == "q")
        assert {key for key, _ in sent.headers} <= {"accept", "x-a", "cookie"}
        assert "\r" not in str(sent.headers) + sent.url
        cookies = dict(sent.headers).get("cookie", "c=").split("; ")
        assert [one.partition("=")[0] for one in cookies] == ["c"]


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_moves_a_call(first: str, second: str) -> None:
    made = operation(parameter("a", "path"), parameter("b", "path", "label"), parameter("q"), path="/x/{a}/{b}/y")
    try:
        url = call(made, a=first, b=second, q=first).url
    except BadArguments:
        return
    parts = urlsplit(url)
    head, x, a, b, y = parts.path.removeprefix("/v2").split("/")
    assert (parts.netloc, head, x, unquote(a), unquote(b), y) == ("api.example.test", "", "x", first, "." + second, "y")
    assert parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) == [("q", first)]


def readings(path: str) -> set[tuple[str, ...]]:
    """The segments of a path as servers read it: decoded up to three times, `;x` cut off first, last or never."""
    found, spelling = set(), path
    for _ in range(4):
        for one in (spelling, spelling.replace("\\", "/"), unicodedata.normalize("NFKC", spelling)):
            found.add(tuple(one.split("/")))
            found.add(tuple(segment.partition(";")[0].rstrip() for segment in one.split("/")))
        spelling = unquote(spelling)
    return found


PIECES = st.sampled_from([".", "..", ";", "/", "\\", "%2e", "%2E", "%2f", "%3b", "%25", "%", "a", " ", "v=1", "\uff0e", "\uff0f", "\uff1b", "\u2025", "%00"])  # fmt: skip
ODD = st.lists(PIECES, max_size=6).map("".join)


@given(
    ODD,
    ODD,
    st.sampled_from(["simple", "label", "matrix"]),
    st.sampled_from(["/x/{a}/{b}/y", "/x/{a}{b}", "/x/.{a}/y", "/x/{a}.{b}/y"]),
)
def test_no_server_reads_a_way_out_of_what_is_sent(first: str, second: str, style: str, template: str) -> None:
    """Java's read `..;` as `..`, proxies decode once more, Windows drops blanks: in no reading is a segment one of dots."""
    made = operation(parameter("a", "path", style), parameter("b", "path"), path=template)
    try:
        url = call(made, a=first, b=second).url
    except BadArguments:
        return
    path = urlsplit(url).path
    assert path.count("/") == template.count("/") + 1
    assert not any(segment in (".", "..") for segments in readings(path) for segment in segments)


@pytest.mark.parametrize("value", [".", ";x", ";", " "])
def test_a_dot_segment_of_the_template_or_of_a_label_is_refused(value: str) -> None:
    with pytest.raises(BadArguments):
        call(operation(parameter("a", "path", "label"), path="/x/{a}"), a=value)
    for path in ("/x/../y", "/x/..;/y", "/x/%2e%2e;v=1/y", "/x/.;/y"):
        with pytest.raises(BadArguments, match="do not fit"):
            call(operation(path=path))


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Authorization",
        "Cookie",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Proxy-Authorization",
        "Proxy-Anything",
        "DPoP",
        "Content-Encoding",
        "HTTP2-Settings",
    ],
)
def test_no_parameter_says_where_a_request_goes_or_ends_or_as_whom(name: str) -> None:
    with pytest.raises(BadArguments, match="not for a caller"):
        call(operation(parameter(name, "header")), **dict[str, Any]({name: "x"}))


def test_a_fixed_accept_stands_alone() -> None:
    assert call(operation(parameter("Accept", "header")), Accept="text/csv").headers == (("accept", "text/csv"),)


def test_a_template_without_its_value_is_an_argument_error() -> None:
    with pytest.raises(BadArguments, match=r"^id: must not be empty"):
        call(operation(parameter("id", "path"), path="/orders/{id}"))


@pytest.mark.parametrize("place", ["query", "cookie"])
def test_a_member_of_an_exploded_object_cannot_pass_for_another_parameter(place: Place) -> None:
    made = operation(parameter("free", place), parameter("api-version", place))
    with pytest.raises(BadArguments, match=r"^free.api-version: is another parameter's name"):
        call(made, free={"api-version": "2", "x": 1})
    both = operation(parameter("free", place), parameter("other", place))
    with pytest.raises(BadArguments, match=r"^other.x: is another parameter's name"):
        call(both, free={"x": 1}, other={"y": 2, "x": 3})
    deep = operation(parameter("free", "query", "deepObject"), parameter("api-version"))
    assert call(deep, free={"api-version": "2"}).url.endswith("?free%5Bapi-version%5D=2")


def test_an_address_and_a_header_are_bounded() -> None:
    with pytest.raises(BadArguments, match="too long"):
        call(operation(parameter("q")), q="x" * 1_000_000)
    with pytest.raises(BadArguments, match="cookies: over"):
        call(operation(parameter("c", "cookie")), c="x" * 1_000_000)
    with pytest.raises(BadArguments, match="X: over"):
        call(operation(parameter("X", "header")), X=["x" * 5000] * 5)


def test_a_query_string_parameter_is_the_query() -> None:
    made = operation(parameter("q", "querystring", media_type="application/x-www-form-urlencoded"), method="query")
    sent = call(made, q={"a": [1, 2], "b": "c d"})
    assert (sent.method, urlsplit(sent.url).query) == ("QUERY", "a=1&a=2&b=c%20d")


# Fragment 12 of the design: servers.

FETCHED = "https://docs.example.test/apis/orders.yaml"


@pytest.mark.parametrize(
    ("servers", "more", "expected"),
    [
        (("https://a.test/v2/",), {}, ("https://a.test", "/v2", False)),
        (("https://a.test/v2", "https://a.test/v2/"), {}, ("https://a.test", "/v2", False)),
        (("/v2",), {"fetched_from": FETCHED}, ("https://docs.example.test", "/v2", True)),
        (("v2",), {"fetched_from": FETCHED}, ("https://docs.example.test", "/apis/v2", True)),
        ((), {"fetched_from": FETCHED}, ("https://docs.example.test", "", True)),
        (("/v2",), {"fetched_from": "http://localhost:8100/openapi.json"}, ("http://localhost:8100", "/v2", True)),
        (("https://a.test", "http://b.test", "https://{r}.c.test"), {}, ("https://a.test", "", False)),
        (("https://a.test", "https://b.test"), {"configured": "http://10.0.0.1/x"}, ("http://10.0.0.1", "/x", True)),
    ],
)
def test_a_document_has_one_base(servers: tuple[str, ...], more: dict[str, str], expected: tuple[Any, ...]) -> None:
    base = document_base(servers, **more)
    assert isinstance(base, Base)
    assert (base.origin, base.path, base.private) == expected


@pytest.mark.parametrize(
    ("servers", "more", "named"),
    [
        (("https://a.test", "https://b.test"), {}, "https://a.test, https://b.test"),
        (("https://{region}.x.test",), {}, "https://{region}.x.test, has a variable"),
        (("http://a.test",), {}, "http://a.test, is not https"),
        (("http://localhost:9000",), {}, "if it is the right one, set base_url to it"),
        (("/v2",), {}, "/v2, is no whole https address"),
        (("https://[x",), {}, "https://[x, is no whole https address"),
        ((), {}, "names no server: set base_url"),
        (("https://a.test",), {"configured": "nonsense"}, "base_url: 'nonsense'"),
    ],
)
def test_a_choice_is_asked_for(servers: tuple[str, ...], more: dict[str, str], named: str) -> None:
    fault = document_base(servers, **more)
    assert isinstance(fault, Fault)
    assert named in fault.text


def with_servers(*servers: str) -> Operation:
    return Operation(
        method="get",
        path="/x",
        pointer="/paths/~1x/get",
        about=operation().about,
        surroundings=Surroundings(servers=servers),
    )


def test_an_operations_own_server_changes_the_path_on_the_same_host_only() -> None:
    inner = base_of("http://10.0.0.1:81/v2", private=True)
    assert operation_base(BASE, with_servers()) is BASE
    same = operation_base(inner, with_servers("http://10.0.0.1:81/uploads/"))
    assert same == base_of("http://10.0.0.1:81/uploads", private=True)
    assert operation_base(BASE, with_servers("/uploads"), fetched_from="https://api.example.test/d.json") == base_of(
        "https://api.example.test/uploads"
    )
    refused = operation_base(BASE, with_servers("https://other.test/x", "https://{v}.test", "https://[x"))
    assert isinstance(refused, Fault)
    assert refused.pointer == "/paths/~1x/get"
    assert "allow_hosts" in refused.text
    assert isinstance(operation_base(BASE, with_servers("http://other.test"), allow=["other.test"]), Fault)


@pytest.mark.parametrize("allowed", ["other.test", "Other.Test:8443"])
def test_another_host_is_called_where_it_is_named(allowed: str) -> None:
    base = operation_base(BASE, with_servers("https://other.test:8443/x"), allow=[allowed])
    assert base == base_of("https://other.test:8443/x")


@pytest.mark.parametrize(
    ("document", "operations"),
    [
        ("//cluster.local", "https://cluster.local"),
        ("https://cluster.local/v1/", "https://cluster.local/v1"),
        ("/", "/"),
    ],
)
def test_a_documents_server_named_again_is_what_stands_in_its_place(document: str, operations: str) -> None:
    assert operation_base(BASE, with_servers(operations), replaced=("https://x.test", document)) is BASE


@pytest.mark.parametrize("other", ["https://cluster.local/v2", "https://other.test/v1", "https://[x"])
def test_another_path_or_host_is_no_server_named_again(other: str) -> None:
    found = operation_base(BASE, with_servers(other), replaced=("https://cluster.local/v1",))
    assert isinstance(found, Fault)


def test_a_pin_holds_whatever_was_encoded_before() -> None:
    """The comparison itself, where no encoder stands before it."""
    for url in (
        "http://api.example.test/v2/x", "https://api.example.test.evil/v2/x", "https://api.example.test:444/v2/x",
        "https://u@api.example.test/v2/x", "https://api.example.test/v3/x", "https://api.example.test/v2/x/y",
        "https://api.example.test/v2/..", "https://api.example.test/v2/%2E", "https://api.example.test/v2/x#y",
        "https://api.example.test/v2", "https://api.example.test/v2x/", "https://api.example.test/v2?/x",
        "https://api.example.test/v2/x?y#z", "https://api.example.test/v2/\uff0e\uff0e",
    ):  # fmt: skip
        with pytest.raises(BadArguments, match="do not fit"):
            address._pinned(url, BASE.origin + BASE.path, 1)
    address._pinned("https://api.example.test/v2/x?y=/", BASE.origin + BASE.path, 1)
