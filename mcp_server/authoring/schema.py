"""Types → JSON Schema 2020-12, by msgspec; roots are inlined, for clients want `type: object` at the top."""

import copy
import functools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mcp_server.authoring.errors import UnsupportedType
from mcp_server.authoring.schema_details import Details
from mcp_server.authoring.validation import effort, uniqueness
from mcp_server.authoring.validation.weights import BACKTRACKS, Weights
from mcp_server.protocol.param_headers import KEYWORD

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

_PRIMITIVE: Final = frozenset({"string", "number", "integer", "boolean"})


def input_schema(arguments: type[msgspec.Struct], defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The schema of a tool's arguments: always an object that admits nothing else; `defaults` are shown."""
    schema = _root(arguments)
    schema.pop("title", None)
    schema.setdefault("properties", {})
    schema["additionalProperties"] = False
    _inline_annotated(schema, schema.get("$defs", {}))
    for name, default in (defaults or {}).items():
        schema["properties"][name].setdefault("default", msgspec.json.decode(msgspec.json.encode(default)))
    if not schema.get("required"):
        schema.pop("required", None)
    return schema


def _inline_annotated(schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Put annotated objects in place of their `$ref`: clients look for `x-mcp-header` along `properties` only."""
    inlined: set[str] = set()
    for name, inner in schema["properties"].items():
        if "$ref" not in inner:
            continue
        definition = inner["$ref"].removeprefix("#/$defs/")
        found = definitions[definition]
        if any(KEYWORD in one for one in found.get("properties", {}).values()):
            described = {key: value for key, value in inner.items() if key != "$ref"}
            schema["properties"][name] = {**copy.deepcopy(found), **described}
            inlined.add(definition)
    for definition in inlined:
        if not _refers(schema, definition):
            del definitions[definition]
    if not definitions:
        schema.pop("$defs", None)


def _refers(schema: dict[str, Any], definition: str) -> bool:
    """Whether a definition is still needed somewhere, another definition among the places."""
    return f'"#/$defs/{definition}"'.encode() in msgspec.json.encode(schema)


def output_schema(annotation: Any) -> dict[str, Any]:
    """The schema of a tool's structured result: whatever the type says (modern revisions allow any)."""
    return _root(annotation, inputs=False)


def value_schema(annotation: Any) -> dict[str, Any]:
    """The schema of a single value that is given as JSON."""
    return _root(annotation)


def form_schema(annotation: Any) -> dict[str, Any]:
    """The schema of an elicitation form: a flat object of texts, numbers, truth values and choices.

    Raises `UnsupportedType` for a type that a form cannot show (2026-07-28 client/elicitation §Requested Schema).
    """
    schema = _root(annotation)
    definitions = schema.pop("$defs", {})
    if schema.get("type") != "object":
        raise UnsupportedType(f"{annotation!r} is no form: a form has named fields")
    fields = {name: _form_field(name, inner, definitions) for name, inner in schema.get("properties", {}).items()}
    form: dict[str, Any] = {"type": "object", "properties": fields}
    if schema.get("required"):
        form["required"] = schema["required"]
    return form


def check_form(form: dict[str, Any]) -> None:
    """Raise `UnsupportedType` for a schema of the author's own that no form can show."""
    if form.get("type") != "object" or not isinstance(form.get("properties"), dict):
        raise UnsupportedType("a form has type object and named fields")
    for name, field in form["properties"].items():
        choices = field.get("items", field).get("oneOf") or field.get("items", {}).get("anyOf")
        titled = choices and all(isinstance(one.get("const"), str) for one in choices)
        if not titled:
            _form_field(name, field, {})


MOST: Final = 500_000
"""How often a value may be looked at, in a tenth of a second or so. It is not counted where the schema looks at each
part no more often than `CHEAP`, and with nothing that costs more than a look: then that is what the value has in
parts."""
CHEAP: Final = 32
FEW: Final = 32
"""So many large numbers may be compared with each other in lists without equals, and nothing is counted."""
TOLD: Final = 2_000
"""The same where it is told with all that is wrong in each alternative: that takes a hundred times as long."""
_COMPOSED: Final = ("allOf", "anyOf", "oneOf", "if", "not", "dependentSchemas", "unevaluatedProperties")


def validator(schema: dict[str, Any]) -> Callable[[Any], Iterable[Any]]:
    """What tells each violation of a JSON Schema 2020-12, with `message` and `instance_path`; `$ref` stays inside.

    A validator cannot be stopped, and keeps every other call waiting. So what the two of them cost together is counted
    before: a schema's author and a value's are often strangers to us, and to each other.
    """
    import jsonschema_rs  # noqa: PLC0415 - 8 MB that most servers have no use for

    whole = _compiled(schema)
    written, definitions = json.dumps(schema), schema.get("$defs", {})
    composed = any(f'"{keyword}"' in written for keyword in _COMPOSED)
    weights = Weights(schema)
    unique = weights.unique
    costly = not weights.unique_alone or effort.fanout(schema, definitions) > CHEAP
    costly = costly or ((composed or unique) and effort.is_recursive(definitions))

    def violations(value: Any) -> Iterable[Any]:
        if (costly or (unique and uniqueness.has_many(value, FEW))) and _over(MOST, value, weights):
            return (UNASKED,)
        if whole.is_valid(value):
            return ()
        if not _over(TOLD, value):
            return whole.iter_errors(value)
        if not composed:
            try:
                whole.validate(value)  # the first alone: each of ten thousand wrong items would be told and thrown away
            except jsonschema_rs.ValidationError as first:
                return (first,)
        return (Violation(),)

    def _over(most: int, value: Any, weights: Weights | None = None) -> bool:
        try:
            effort.evaluations(schema, value, most, weights)
        except effort.TooMuch:
            return True
        return False

    return violations


def _compiled(schema: dict[str, Any]) -> "Draft202012Validator":
    """The validator itself: its patterns in time that grows as the text does, or as often as they may backtrack."""
    import jsonschema_rs  # noqa: PLC0415 - 8 MB that most servers have no use for

    make = functools.partial(jsonschema_rs.Draft202012Validator, schema, retriever=_retrieve_nothing)
    try:
        return make(pattern_options=jsonschema_rs.RegexOptions())
    except ValueError:
        pass
    try:
        return make(pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS))
    except ValueError as error:
        raise UnsupportedType(str(error)) from error


class _Kind(msgspec.Struct, frozen=True):
    name: str = "nested"
    context: tuple[Any, ...] = ()


class Violation(msgspec.Struct, frozen=True):
    """That a value does not fit, where it is too large to be told why; it has what the validator's own have."""

    message: str = "does not fit, and is too large to say where: give less of it to hear why"
    instance_path: tuple[str, ...] = ()
    kind: _Kind = _Kind()


UNASKED: Final = Violation(
    "has too many parts that fit together in too many ways, or a text too long for its pattern: "
    "give less, or less deeply"
)
"""What is told of a value that was not held against the schema at all: whether it fits nobody knows."""


def _retrieve_nothing(uri: str) -> Any:
    """A `$ref` never makes us call out (2026-07-28 basic §JSON Schema)."""
    raise ValueError(f"{uri} is not resolved: put the schema in place")


def _form_field(name: str, schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        described = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**definitions[schema["$ref"].removeprefix("#/$defs/")], **described}
    if "anyOf" in schema:
        present = [one for one in schema["anyOf"] if one.get("type") != "null"]
        if len(present) == 1:
            rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
            return _form_field(name, {**present[0], **rest}, definitions)
    if "enum" in schema and all(isinstance(one, str) for one in schema["enum"]):
        return {"type": "string", **schema}
    if schema.get("type") == "array":
        items = _form_field(name, schema.get("items", {}), definitions)
        if "enum" in items:
            return {**schema, "items": {"type": "string", "enum": items["enum"]}}
    if schema.get("type") in _PRIMITIVE:
        return schema
    raise UnsupportedType(f"field {name!r}: a form has texts, numbers, truth values and choices only")


def _root(annotation: Any, *, inputs: bool = True) -> dict[str, Any]:
    try:
        (root,), definitions = msgspec.json.schema_components([annotation], ref_template="#/$defs/{name}")
    except TypeError as error:
        raise UnsupportedType(str(error)) from error
    definitions = dict(definitions)
    Details(definitions, inputs=inputs).add(annotation, root)
    if "$ref" in root:
        name = root["$ref"].removeprefix("#/$defs/")
        root = {**root, **definitions[name]}
        del root["$ref"]
        if not _refers(definitions, name):
            del definitions[name]
    return {**root, "$defs": definitions} if definitions else dict(root)
