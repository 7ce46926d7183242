"""Whatever the bytes are, they are a document or refused with a place; and what comes out of one is valid."""

import contextlib
import json
import string
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_server.rest.document import read, source_of
from mcp_server.rest.document.files.reading import decode
from mcp_server.rest.model import UnusableDocument
from tests.kit.document_checks import check_schemas

WORDS = st.sampled_from(
    ["type", "properties", "items", "allOf", "anyOf", "oneOf", "not", "$ref", "enum", "const", "nullable", "required", "minimum",
     "exclusiveMinimum", "example", "examples", "discriminator", "mapping", "propertyName", "additionalProperties", "default",
     "$defs", "$id", "dependencies", "prefixItems", "pattern", "minLength", "string", "object", "array", "integer", "null",
     "#/components/schemas/A", "#/components/schemas/B", "#/paths", "parameters", "name", "in", "query", "path", "header", "schema",
     "style", "explode", "form", "deepObject", "content", "application/json", "text/plain", "requestBody", "responses", "200",
     "default", "description", "security", "servers", "url", "variables", "tags", "links", "operationId", "get", "post", "summary"]
)  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(max_size=3)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=25
)
OBJECTS = st.dictionaries(WORDS, VALUES, max_size=5)
VERSIONS = st.sampled_from([{"openapi": "3.0.3"}, {"openapi": "3.1.0"}, {"openapi": "3.2.0"}, {"swagger": "2.0"}])


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with contextlib.suppress(UnusableDocument):
        decode(data)


@settings(deadline=None)
@given(st.text(string.printable, max_size=80))
def test_any_yaml_comes_out_as_json(text: str) -> None:
    try:
        value = decode(b"openapi: 3.1.0\npaths: {}\nx-a:\n  " + text.encode()).value
    except UnusableDocument:
        return
    json.dumps(value, allow_nan=False)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=40, deadline=None)
@given(VERSIONS, OBJECTS, OBJECTS, OBJECTS, st.lists(OBJECTS, max_size=3))
def test_any_document(version: dict[str, str], a: Any, b: Any, operation: Any, parameters: Any) -> None:
    components = {
        "schemas": {"A": a, "B": b},
        "parameters": {"A": a},
        "responses": {"A": b},
        "securitySchemes": {"A": a},
    }
    content = {"content": {"application/json": {"schema": a}, "text/plain": b}}
    paths = {
        "/a/{id}": {
            "get": {**operation, "parameters": parameters},
            "post": {
                "requestBody": content,
                "responses": {"200": content, "default": b},
                "parameters": [{**a, "name": "p", "in": "query"}],
            },
            "put": operation,
            **a,
        },
        "/b": b,
    }
    document = {
        **version,
        "info": a,
        "paths": paths,
        "components": components,
        "definitions": {"A": a},
        "servers": [a],
        "security": [b],
    }
    try:
        read_back = read(source_of(json.dumps(document).encode()))
    except UnusableDocument:
        return
    check_schemas(read_back)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=40, deadline=None)
@given(VALUES, VALUES)
def test_any_schema(a: Any, b: Any) -> None:
    paths = {"/a": {"get": {"responses": {"200": {"content": {"application/json": {"schema": a}}}}}}}
    for version in ("3.0.3", "3.1.0"):
        document = {"openapi": version, "paths": paths, "components": {"schemas": {"A": a, "B": b}}}
        check_schemas(read(source_of(json.dumps(document).encode())))
