"""What reading a document takes beside the document, and what of it is there afterwards."""

import tracemalloc

import msgspec
import pytest

from mcp_server.rest.document import read, source_of
from mcp_server.rest.document.files.reading import decode
from mcp_server.rest.model import UnusableDocument
from tests.kit.garbage import nothing_left

MILLION = 1_000_000


def document() -> dict[str, object]:
    """Definitions that refer to each other, one that is itself, and a part that two operations cannot use."""
    schemas = {
        "Tree": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}}},
        "Itself": {"allOf": [{"$ref": "#/components/schemas/Itself"}, {"$ref": "#/components/schemas/Nowhere"}]},
    }  # fmt: skip
    refused = {"application/json": {"schema": {"$ref": "#/components/schemas/Itself"}}}
    operation = {
        "parameters": [{"$ref": "#/components/parameters/none"}],
        "requestBody": {"content": refused},
        "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}}},
    }
    paths = {f"/{name}": {"get": operation, "parameters": [{"in": "nowhere"}]} for name in "ab"}
    return {"openapi": "3.1.0", "info": {"title": "t"}, "paths": paths, "components": {"schemas": schemas}}


@pytest.mark.parametrize("begins", [b"", b"# YAML\n"])
def test_a_document_ends_with_its_last_reference(begins: bytes) -> None:
    """Who names its definitions and who converts them held each other, and all that the document is with them."""
    data = begins + msgspec.json.encode(document())
    with nothing_left():
        source = source_of(data)
        assert read(source).faults
        assert source.files == {}


def test_nor_does_one_that_cannot_be_used_stay() -> None:
    with nothing_left(), pytest.raises(UnusableDocument):
        read(source_of(b'{"openapi": "3.0.0", "paths": []}'))


def test_a_document_with_an_emoji_is_not_four_times_as_large() -> None:
    """As one text it takes four bytes for each of its own, and it is looked through for bytes that are none of UTF-8."""
    data = b'{"a": "\xf0\x9f\x98\x80", "b": [' + b" " * 8 * MILLION + b"]}"
    tracemalloc.start()
    try:
        decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * MILLION


@pytest.mark.parametrize("before", ["", "x" * 262_136, "x" * 262_137, "x" * 600_000, "€" * 200_000])
def test_it_is_looked_through_in_pieces_that_end_within_a_character(before: str) -> None:
    good = b'{"a": "' + before.encode()
    assert decode(good + b'"}').faults == ()
    (fault,) = decode(good + b'\xff"}').faults
    assert fault.text == f"line 1, column {len(good) + 1}: a byte that is not UTF-8 was replaced"
    (fault,) = decode(good + b'\xe2\x82"}').faults
    assert fault.text.startswith(f"line 1, column {len(good) + 1}: ")
