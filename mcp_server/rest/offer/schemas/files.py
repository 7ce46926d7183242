"""Files of a multipart body: given as an object, for JSON has no bytes."""

from typing import Any, Final

from mcp_server.rest.model import Schema, is_bytes
from mcp_server.rest.offer.schemas.lean import Leaner

BASE64: Final = {"type": "string", "contentEncoding": "base64"}
_FILE: Final = {
    "type": "object",
    "properties": {
        "content": {**BASE64, "description": "the file in base64"},
        "text": {"type": "string", "description": "or the file as text"},
        "filename": {"type": "string", "pattern": r"^[^/\\\x00-\x1f]*$"},
        "media_type": {"type": "string", "pattern": r"^[\w.+-]+/[\w.+-]+$"},
    },
    "additionalProperties": False,
}


def with_files(schema: Schema, leaner: Leaner) -> tuple[Schema, bool]:
    """A multipart body in whose members files are given as objects."""
    found = leaner.resolved(schema)
    if not isinstance(found, dict) or not isinstance(properties := found.get("properties"), dict):
        return schema, False
    return {**found, "properties": {name: as_file(inner, leaner) or inner for name, inner in properties.items()}}, True


def as_file(schema: Schema, leaner: Leaner, *, within: bool = False) -> dict[str, Any] | None:
    """How a file, or a list of files, is given in place of its bytes; None for what is neither."""
    found = leaner.resolved(schema)
    if not isinstance(found, dict):
        return None
    if found.get("type") == "array" and not within:
        item = as_file(found.get("items", {}), leaner, within=True)
        return None if item is None else {**found, "items": item}
    if not is_bytes(found) or found.get("type", "string") not in ("string", ["string", "null"]):
        return None
    return {**_FILE, **{note: found[note] for note in ("description",) if note in found}}
