import json

import pytest

from mcp_server.rest.document import read, source_of
from mcp_server.rest.document.files.reading import MAX_DEPTH, decode
from mcp_server.rest.model import UnusableDocument
from tests.kit.apis import imported


def refused(data: bytes) -> str:
    with pytest.raises(UnusableDocument) as caught:
        decode(data)
    return str(caught.value)


@pytest.mark.parametrize(
    "word", ["on", "no", "yes", "Off", "y", "0o17", "0x1f", "1:30", "2024-01-01", ".inf", ".NaN", "1_000", "="]
)
def test_what_only_yaml_1_1_takes_for_something_else_is_a_text(word: str) -> None:
    assert decode(f"a: {word}".encode()).value == {"a": word}


@pytest.mark.parametrize(
    ("word", "value"),
    [("1", 1), ("-1", -1), ("+2", 2), ("007", 7), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("true", True), ("False", False), ("null", None), ("~", None), ("", None)],
)  # fmt: skip
def test_the_core_schema_of_yaml_1_2_resolves(word: str, value: object) -> None:
    found = decode(f"a: {word}\n".encode()).value["a"]
    assert found == value
    assert type(found) is type(value)


def test_a_number_too_large_for_json_is_a_text() -> None:
    assert decode(b"[1e999, " + b"9" * 500 + b"]").value == ["1e999", "9" * 500]


def test_keys_are_texts() -> None:
    assert decode(b"on: 1\nno: 2\n200: 3\n1.0: 4\nnull: 5\n&k x: 6\n*k : 7").value == {
        "on": 1, "no": 2, "200": 3, "1.0": 4, "null": 5, "x": 7,
    }  # fmt: skip


def test_merge_keys_are_kept_and_give_way() -> None:
    text = b"a: &a {x: 1, y: 1}\nb: &b {z: 2}\nc: {y: 3, <<: [*a, *b]}\nd: {'<<': 1}\ne: {<<: *a}"
    value = decode(text).value
    assert value["c"] == {"y": 3, "x": 1, "z": 2}
    assert value["d"] == {"<<": 1}
    assert value["e"] == {"x": 1, "y": 1}


def test_tags_resolve_to_core_types_or_to_what_stands_there() -> None:
    assert decode(b"[!!str 1, !!int '2', !Ref x, ! 3, !!python/object:os.system {a: 1}]").value == [
        "1",
        2,
        "x",
        "3",
        {"a": 1},
    ]


def test_texts_that_look_like_numbers_stay_texts_where_a_text_is_meant() -> None:
    document = imported(
        """
        paths:
          /a:
            get:
              parameters:
              - {name: v, in: query, schema: {type: string, enum: [1.10, 1e3, 0o17, no, true, 2], default: 1.10, const: True}}
        """
    )
    assert document.operations[0].parameters[0].schema == {
        "type": "string", "enum": ["1.10", "1e3", "0o17", "no", "true", "2"], "default": "1.10", "const": "True",
    }  # fmt: skip
    assert read(source_of(b"openapi: 3.1.0\ninfo: {version: 1.10}\npaths: {}")).version == "1.10"
    assert read(source_of(b'{"openapi": "3.1.0", "info": {"version": 1.1}, "paths": {}}')).version == "1.1"
    assert read(source_of(b"openapi: 3.1.0\npaths: {}")).version == ""


@pytest.mark.parametrize(
    ("data", "pointer", "text"),
    [
        (b'{"a": {"b": 1, "c": {}, "b": 2}, "x/y": [{"k": 1, "k": 1}]}', {"/a/b", "/x~1y/0/k"}, "more than once"),
        (b'{"a" : 1, "b": {"\\"a": 1, "a": 2}, "a" :3}', {"/a"}, "more than once"),
        (b"a: 1\nb:\n- {k: 1}\n- k: 1\n  k: 2\n", {"/b/1/k"}, "line 5, column 3"),
    ],
)
def test_a_key_that_comes_twice_is_told_and_its_last_value_counts(data: bytes, pointer: set[str], text: str) -> None:
    parsed = decode(data)
    assert {fault.pointer for fault in parsed.faults} == pointer
    assert all(text in fault.text for fault in parsed.faults)


def test_the_last_value_counts_in_both() -> None:
    assert decode(b'{"a": 1, "a": 2}').value == decode(b"a: 1\na: 2").value == {"a": 2}


def test_texts_with_colons_and_quotes_are_no_keys() -> None:
    value = {"a": 'x": y', "b\\": '{"a": 1}', "c": '\\"', "d": "e : f"}
    assert decode(json.dumps(value).encode()).faults == ()
    assert decode(json.dumps(value, indent=2, separators=(",", " : ")).encode()).faults == ()


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b'{"a": 1,\n "b" 2}', "line 2, column 6"),
        (b"a: [1\nb: 2", "line 2, column 2"),
        (b"a: 1\n\tb: 2", "line 2, column 1"),
        (b"a: *nothing", "line 1, column 4"),
        (b"? [a]\n: b", "line 1, column 3"),
        (b"? {a: b}\n: b", "line 1, column 3"),
        (b"a: &l [1]\n? *l\n: b", "line 2, column 3"),
        (b"a: &a [*a]", "line 1, column 8"),
        (b"a: {<<: 1}", "line 1, column 9"),
        (b"a: \x00", "control characters are not allowed"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(data: bytes, place: str) -> None:
    assert place in refused(data)


def test_json_that_only_its_fast_decoder_refuses_is_read() -> None:
    assert decode(b'{"a": 1,} # trailing').value == {"a": 1}


def test_marks_and_foreign_encodings() -> None:
    text = '{"a": "é"}'
    assert decode(text.encode("utf-8-sig")).value == {"a": "é"}
    assert decode(text.encode("utf-16")).value == {"a": "é"}
    parsed = decode(b'{"a":\n "\xe9"}')
    assert parsed.value == {"a": "\ufffd"}
    assert "line 2, column 3" in parsed.faults[0].text


@pytest.mark.parametrize(
    "data", [b"[" * 1_000_000, b'{"a":' * 100_000, b"- " * 100_000, b"a:\n" + b"? " * 50_000, b"[" * 250 + b"]" * 250]
)
def test_deep_nesting_is_refused(data: bytes) -> None:
    assert f"deeper than {MAX_DEPTH}" in refused(data) or "no text" in refused(data) or "not a text" in refused(data)


def test_nesting_within_the_bound_is_read() -> None:
    assert decode(b"[" * 199 + b"]" * 199).value
    assert decode(b"a: " + b"[" * 150 + b"]" * 150).value


def test_more_bytes_than_the_bound_are_refused_unread() -> None:
    assert "more than 52428800" in refused(b" " * 60_000_000)
    with pytest.raises(UnusableDocument):
        decode(b"{}    ", max_bytes=5)


@pytest.mark.parametrize("form", ["[{}]", "{{{}}}", "{{<<: [{}]}}"])
def test_an_alias_bomb_is_refused(form: str) -> None:
    def level(i: int) -> str:
        aliases = [f"*a{i - 1}"] * 9
        named = [f"k{n}: {alias}" for n, alias in enumerate(aliases)]
        return f"a{i}: &a{i} " + form.format(",".join(named if form == "{{{}}}" else aliases))

    data = "a0: &a0 {x: 1}\n" + "\n".join(map(level, range(1, 11)))
    assert "aliases come to" in refused(data.encode())


def test_an_honest_share_of_aliases_is_read_and_so_is_a_long_file() -> None:
    data = b"common: &c {a: [1, 2, 3, 4, 5]}\nall:\n" + b"- *c\n" * 20_000
    assert len(decode(data).value["all"]) == 20_000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no object"),
        (b"[]", "no object"),
        (b"just text", "no object"),
        (b"{}", "names no version"),
        (b'{"swagger": "1.2"}', "version '1.2'"),
        (b'{"openapi": "4.0.0"}', "version '4.0.0'"),
        (b'{"openapi": ["3.0.0"]}', "version"),
        (b'{"openapi": "3.0.0"}', "no paths"),
        (b'{"openapi": "3.0.0", "paths": []}', "no paths"),
        (b'{"swagger": "2.0"}', "no paths"),
    ],
)
def test_a_document_that_says_nothing_of_an_api_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(UnusableDocument, match=said):
        read(source_of(data))


@pytest.mark.parametrize(
    "version", ["swagger: '2.0'", "swagger: 2.0", "openapi: 3.0.4", "openapi: 3.1", "openapi: '3.2.0'"]
)
def test_all_versions_are_read(version: str) -> None:
    assert read(source_of(f"{version}\npaths: {{/a: {{get: {{}}}}}}".encode())).operations[0].path == "/a"


def test_a_document_of_webhooks_alone_has_no_operations_and_says_so() -> None:
    document = read(source_of(b"openapi: 3.1.0\nwebhooks: {a: {post: {}}, b: {post: {}}}"))
    assert document.operations == ()
    assert document.faults[0].text.startswith("2 webhooks")
