"""What generators write out at each operation is read once, and what only looks alike is not."""

from typing import Any

import msgspec
import pytest

from mcp_server.rest.document import read, source_of
from mcp_server.rest.model import Document
from tests.kit.apis import imported, parameter, told


def of_json(*schemas: Any, **more: Any) -> Document:
    """A document of JSON whose operations have one parameter each, with these schemas."""
    paths = {
        f"/{n}": {
            "get": {"parameters": [{"name": "p", "in": "query", "schema": one, **more}], "responses": {"200": {}}}
        }
        for n, one in enumerate(schemas)
    }
    return read(source_of(msgspec.json.encode({"openapi": "3.1.0", "paths": paths})))


def test_what_is_written_out_at_each_operation_is_read_once() -> None:
    """Autotask's document has ten parameters, 13,696 times."""
    first, second, third = of_json({"type": "string"}, {"type": "string"}, {"type": "number"}).operations
    assert first.parameters[0] is second.parameters[0]
    assert first.answers[0] is second.answers[0]
    assert parameter(third, "p", "query").schema == {"type": "number"}


def test_a_number_is_not_the_same_as_its_text_or_as_true() -> None:
    made = of_json(*({"default": [one]} for one in (1, "1", True, 1.0)))
    found = [one.parameters[0].schema for one in made.operations]
    assert [repr(one["default"]) for one in found if isinstance(one, dict)] == ["[1]", "['1']", "[True]", "[1.0]"]


@pytest.mark.parametrize("required", [True, False])
def test_a_fault_is_told_at_each_place_that_has_it(required: bool) -> None:
    wrong = of_json({}, {}, style="magic", required=required, description="x")
    assert list(told(wrong)) == [f"/paths/~1{n}/get/parameters/0/style" for n in range(2)]


def test_what_is_alike_in_yaml_may_be_meant_otherwise() -> None:
    """A text by its schema, written without quotation marks: 1.0 and 1.00 are two texts, and one number."""
    text = "{parameters: [{name: p, in: query, schema: {type: string, default: %s}}]}"
    made = imported(f"paths: {{/a: {{get: {text % '1.0'}}}, /b: {{get: {text % '1.00'}}}}}")
    found = [one.parameters[0].schema for one in made.operations]
    assert [one["default"] for one in found if isinstance(one, dict)] == ["1.0", "1.00"]
