"""Bodies as they go out; multipart is read back by a parser that is not ours."""

import base64
import email.policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import msgspec
import pytest

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.model import Body, BodyKind, Schema, Style
from mcp_server.rest.wire import bodies

FORM = "application/x-www-form-urlencoded"
TYPES: dict[BodyKind, str] = {
    "json": "application/json", "form": FORM, "multipart": "multipart/form-data", "text": "text/plain",
    "bytes": "application/octet-stream",
}  # fmt: skip
BINARY: Schema = {"type": "string", "format": "binary"}


def body(kind: BodyKind, media_type: str = "", schema: Schema = True, **encoding: Style) -> Body:
    return Body(kind=kind, media_type=media_type or TYPES[kind], required=True, schema=schema, encoding=encoding)


def content(media_type: str) -> Style:
    return Style(name="content", explode=False, media_type=media_type)


def base64_of(text: bytes) -> str:
    return base64.b64encode(text).decode()


def test_json_is_compact_and_writes_whole_numbers_as_such() -> None:
    value = {"a": [5.0, 1.5, None, True], "b": {"c": 1e15}, "d": "é"}
    sent = '{"a":[5,1.5,null,true],"b":{"c":1000000000000000},"d":"é"}'.encode()
    assert bodies.encode(body("json"), value) == ("application/json", sent)


def test_the_media_type_is_the_documents_unless_it_is_a_range() -> None:
    assert bodies.encode(body("json", "application/merge-patch+json"), {})[0] == "application/merge-patch+json"
    assert bodies.encode(body("json", "*/*"), {})[0] == "application/json"
    assert bodies.encode(body("bytes", "image/*"), "")[0] == "application/octet-stream"
    assert bodies.encode(body("text", "text/*"), "")[0] == "text/plain"


def test_scalars_and_lists_are_json_bodies_too() -> None:
    values: list[Any] = [[], "a", 1, None]
    assert [bodies.encode(body("json"), one)[1] for one in values] == [b"[]", b'"a"', b"1", b"null"]


def test_a_form_repeats_lists_and_writes_objects_as_json() -> None:
    value = {"a": "b c&d=e", "n": 5.0, "l": [1, None, "x"], "o": {"k": "v"}, "none": None, "yes": True}
    expected = b"a=b%20c%26d%3De&n=5&l=1&l=x&o=%7B%22k%22%3A%22v%22%7D&yes=true"
    assert bodies.encode(body("form"), value) == (FORM, expected)


def test_a_form_goes_by_the_encoding_of_each_property() -> None:
    """Fragment 7 of the design: a list, and an object nested in `deepObject`."""
    made = body(
        "form",
        metadata=Style(name="deepObject", explode=True),
        ids=Style(name="form", explode=False),
        tags=Style(name="pipeDelimited", explode=False),
        rows=content("application/json"),
    )
    value = {
        "metadata": {"a": {"b": 1}, "c": ["x"]},
        "ids": [1, 2],
        "tags": ["p q", "r"],
        "rows": [{"a": 1}, None, "t"],
    }
    assert bodies.encode(made, value)[1].decode().split("&") == [
        "metadata%5Ba%5D%5Bb%5D=1",
        "metadata%5Bc%5D%5B0%5D=x",
        "ids=1,2",
        "tags=p%20q%7Cr",
        "rows=%7B%22a%22%3A1%7D",
        "rows=%22t%22",
    ]


def test_text_names_its_charset_where_it_has_to() -> None:
    assert bodies.encode(body("text"), "abc") == ("text/plain", b"abc")
    assert bodies.encode(body("text"), "é") == ("text/plain; charset=utf-8", "é".encode())
    assert bodies.encode(body("text", "text/csv; charset=UTF-8"), "é") == ("text/csv; charset=UTF-8", "é".encode())
    assert bodies.encode(body("text"), 5)[1] == b"5"


def test_bytes_are_base64_or_a_file() -> None:
    assert bodies.encode(body("bytes"), base64_of(b"\0\xff"))[1] == b"\0\xff"
    assert bodies.encode(body("bytes"), {"content": base64_of(b"\0\xff")})[1] == b"\0\xff"
    assert bodies.encode(body("bytes"), {"text": "é"})[1] == "é".encode()


def read(sent: tuple[str, bytes]) -> list[EmailMessage]:
    """The parts, by Python's own parser."""
    parser: BytesParser[EmailMessage] = BytesParser(policy=email.policy.HTTP)
    whole = parser.parsebytes(b"Content-Type: " + sent[0].encode() + b"\r\n\r\n" + sent[1])
    return [part for part in whole.iter_parts() if isinstance(part, EmailMessage)]


def seen(sent: tuple[str, bytes]) -> list[tuple[Any, ...]]:
    """Name, file name, media type and bytes of each part."""
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in read(sent)
    ]


def test_multipart_has_each_property_with_its_type() -> None:
    """Fragment 7 of the design: two files, a JSON part, a list with a type of its own."""
    schema: Schema = {
        "type": "object",
        "properties": {
            "picture": BINARY,
            "notes": {"$ref": "#/$defs/File"},
            "more": {"type": "array", "items": BINARY},
            "meta": {"type": "object"},
            "rows": {"type": "array", "items": {"type": "object"}},
            "id": {"type": "integer"},
        },
    }
    value = {
        "picture": {"content": base64_of(b"\x89PNG\r\n"), "filename": "a b.png", "media_type": "image/png"},
        "notes": {"text": "hello"},
        "more": [base64_of(b"1"), {"content": base64_of(b"2")}],
        "meta": {"content": "not a file", "text": "neither"},
        "rows": [{"a": 1}, None, {"a": 2.0}],
        "id": 5.0,
        "gone": None,
    }
    made = body(
        "multipart", schema=schema, rows=content("application/vnd.row+json"), more=content("image/*, image/gif")
    )
    assert seen(bodies.encode(made, value, {"File": BINARY})) == [
        ("picture", "a b.png", "image/png", b"\x89PNG\r\n"),
        ("notes", "file", "text/plain", b"hello"),
        ("more", "file", "image/gif", b"1"),
        ("more", "file", "image/gif", b"2"),
        ("meta", None, "application/json", b'{"content":"not a file","text":"neither"}'),
        ("rows", None, "application/vnd.row+json", b'{"a":1}'),
        ("rows", None, "application/vnd.row+json", b'{"a":2}'),
        ("id", None, "text/plain", b"5"),
    ]


def test_a_file_is_known_by_its_schema_behind_references_and_compositions() -> None:
    file = {"content": base64_of(b"x")}
    circle: dict[str, Schema] = {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}
    for schema, is_file in (
        ({"properties": {"f": BINARY}}, True),
        ({"properties": {"f": {"contentMediaType": "image/png"}}}, True),
        ({"properties": {"f": {"type": "string", "contentMediaType": "image/png", "contentEncoding": "binary"}}}, True),
        (
            {"properties": {"f": {"type": "string", "contentMediaType": "image/png", "contentEncoding": "base64"}}},
            False,
        ),
        ({"properties": {"f": {"type": "string", "contentMediaType": "application/json"}}}, False),
        ({"properties": {"f": {}}}, True),
        ({"allOf": [{"properties": {"f": BINARY}}]}, True),
        ({"properties": {"f": {"$ref": "#/$defs/A"}}}, True),
        ({"properties": {"f": {"type": "object"}}}, False),
        ({"properties": {"f": {"properties": {"content": {}}}}}, False),
    ):
        name, filename, _, _ = seen(bodies.encode(body("multipart", schema=schema), {"f": file}, circle))[0]
        assert (name, filename is not None) == ("f", is_file), schema


def test_a_file_has_the_media_type_of_its_schema_unless_another_is_said() -> None:
    made = body("multipart", schema={"properties": {"f": {"contentMediaType": "image/png"}}})
    (sent, _, media_type, _), *_ = seen(bodies.encode(made, {"f": {"content": base64_of(b"x")}}))
    assert (sent, media_type) == ("f", "image/png")
    (_, _, media_type, _), *_ = seen(bodies.encode(made, {"f": {"text": "x", "media_type": "image/svg+xml"}}))
    assert media_type == "image/svg+xml"


def test_a_styled_property_is_a_part_for_each_pair() -> None:
    made = body("multipart", filter=Style(name="deepObject", explode=True), ids=Style(name="form", explode=False))
    assert [
        (name, text) for name, _, _, text in seen(bodies.encode(made, {"filter": {"a b": "c&d"}, "ids": [1, 2]}))
    ] == [
        ("filter[a b]", b"c&d"),
        ("ids", b"1,2"),
    ]


def test_no_content_ends_its_part() -> None:
    made = body("multipart", schema={"properties": {"f": BINARY}})
    media_type, _ = bodies.encode(made, {"f": {"text": "x"}})
    boundary = media_type.partition("boundary=")[2]
    forged = f"\r\n--{boundary}--\r\n--{boundary}\r\nContent-Disposition: form-data; name=admin\r\n\r\ntrue"
    for value in ({"f": {"text": forged}}, {"f": {"text": "x"}, "g": forged}, {forged: "x"}):
        sent = bodies.encode(made, value)
        parts = read(sent)
        assert len(parts) == len(value)
        assert sent[1].count(sent[0].partition("boundary=")[2].encode()) == len(value) + 1


@pytest.mark.parametrize(
    "file",
    [
        {"content": "", "filename": "../../etc/passwd"},
        {"content": "", "filename": "a\\b"},
        {"content": "", "filename": 'a"\r\nContent-Type: text/html'},
        {"content": "", "filename": ".."},
        {"content": "", "filename": 5},
        {"content": "", "media_type": "text/html\r\nX: y"},
        {"content": "", "media_type": "nonsense"},
        {"content": "not base64!"},
        {"content": 5},
        5,
    ],
)
def test_a_file_that_means_harm_or_nothing_is_an_argument_error(file: Any) -> None:
    with pytest.raises(BadArguments, match=r"^f"):
        bodies.encode(body("multipart", schema={"properties": {"f": BINARY}}), {"f": file})


def test_names_are_quoted() -> None:
    sent = bodies.encode(body("multipart"), {'a"b\r\nX: y': "1"})
    assert b'name="a%22b%0D%0AX: y"' in sent[1]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("json", {"a": "x" * bodies.MAX_BODY}),
        ("json", {"a": "\ud800"}),
        ("form", [1]),
        ("form", {"a": "x" * bodies.MAX_BODY}),
        ("form", {"a": "\ud800"}),
        ("form", {"\ud800": "a"}),
        ("multipart", {"\ud800": "a"}),
        ("multipart", "a"),
        ("multipart", {"a": "\ud800"}),
        ("text", "\ud800"),
        ("text", "x" * (bodies.MAX_BODY + 1)),
        ("bytes", "é"),
        ("bytes", ["x"]),
    ],
)
def test_a_body_that_cannot_be_sent_is_an_argument_error(kind: BodyKind, value: Any) -> None:
    with pytest.raises(BadArguments):
        bodies.encode(body(kind), value)


def test_nesting_without_end_is_an_argument_error() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadArguments):
        bodies.encode(body("json"), deep)
    assert msgspec.json.decode(bodies.encode(body("json"), [[[5.0]]])[1]) == [[[5]]]


@pytest.mark.parametrize("name", ["a\\", "a\x00b", "a\x0bb", "\x7f"])
def test_a_part_whose_name_readers_read_differently_is_refused(name: str) -> None:
    """Some undo the backslash: the name's end is none then, and what follows is another field's name."""
    with pytest.raises(BadArguments, match="no backslash"):
        bodies._quoted(name)


def test_no_media_type_of_a_part_has_a_line_end() -> None:
    assert bodies._MEDIA_TYPE.fullmatch("image/png;\r\n\r\nfoo=bar") is None
    assert bodies._MEDIA_TYPE.fullmatch("image/png; a=b") is not None
