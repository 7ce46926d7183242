"""What must hold of every document that was read, whatever stood in it."""

from typing import Any

import jsonschema_rs
import msgspec

from mcp_server.rest.model import Document


def check_schemas(document: Document) -> None:
    """Every schema is one of 2020-12, every reference in it names a definition, and all of it can be written as JSON."""
    parts = [one.schema for operation in document.operations for one in operation.parameters]
    parts += [one.schema for operation in document.operations for one in operation.answers]
    parts += [operation.body.schema for operation in document.operations if operation.body is not None]
    whole: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": dict(document.definitions),
    }
    if parts:
        whole["prefixItems"] = parts
    jsonschema_rs.meta.validate(whole)
    jsonschema_rs.Draft202012Validator(whole, validate_formats=False, pattern_options=jsonschema_rs.RegexOptions())
    msgspec.json.encode(document)
