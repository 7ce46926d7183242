"""What is there of a document after it was read."""

import msgspec
import pytest

from mcp_server.rest.document import read, source_of
from mcp_server.rest.model import UnusableDocument
from tests.kit.garbage import nothing_left


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


def test_nor_does_one_that_cannot_be_used_stay() -> None:
    with nothing_left(), pytest.raises(UnusableDocument):
        read(source_of(b'{"openapi": "3.0.0", "paths": []}'))
