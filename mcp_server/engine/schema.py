"""Types → JSON Schema 2020-12, by msgspec; roots are inlined, for clients want `type: object` at the top."""

from typing import Any

import msgspec


class UnsupportedType(TypeError):
    """An annotation that has no JSON form; raised when a tool is registered."""


def input_schema(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of a tool's arguments: always an object that admits nothing else."""
    schema = _root(arguments)
    schema.pop("title", None)
    schema.setdefault("properties", {})
    schema["additionalProperties"] = False
    if not schema.get("required"):
        schema.pop("required", None)
    return schema


def output_schema(annotation: Any) -> dict[str, Any]:
    """The schema of a tool's structured result: whatever the type says (modern revisions allow any)."""
    return _root(annotation)


def _root(annotation: Any) -> dict[str, Any]:
    try:
        (root,), definitions = msgspec.json.schema_components([annotation], ref_template="#/$defs/{name}")
    except TypeError as error:
        raise UnsupportedType(str(error)) from error
    definitions = dict(definitions)
    if "$ref" in root:
        name = root["$ref"].removeprefix("#/$defs/")
        refers_to_itself = f'"#/$defs/{name}"'.encode() in msgspec.json.encode(definitions)
        root = {**root, **definitions[name]}
        del root["$ref"]
        if not refers_to_itself:
            del definitions[name]
    return {**root, "$defs": definitions} if definitions else dict(root)
