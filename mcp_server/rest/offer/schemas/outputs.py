"""The answers of an operation → what its tool promises of a result: names alone, or all that is documented.

Real replies break their own schemas daily, and a client that validates then drops the data. So `loose` promises an
object and says what its members mean, and nothing that a reply could break; `strict` promises what is documented.
Where any good answer is no JSON object there is no promise, for one would be broken by that answer.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from mcp_server.rest.model import Answer, Operation, Schema
from mcp_server.rest.offer import words
from mcp_server.rest.offer.config import Output
from mcp_server.rest.offer.schemas.assembly import Assembler
from mcp_server.rest.offer.schemas.lean import Leaner

MOST_NAMES: Final = 60
_WORDS: Final = 80
_COMPOSED: Final = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "$ref"})


def output_schema(operation: Operation, mode: Output, assembler: Assembler) -> bytes | None:
    """The output schema of an operation's tool; `assembler` is of the output direction."""
    if mode == "off":
        return None
    answers = _counting(operation.answers)
    if not answers or not all(_is_json(one) for one in answers):
        return None
    leaner = assembler.leaner
    if mode == "strict":
        return _strict(answers, assembler) if len(answers) == 1 else None
    found: dict[str, Any] = {}
    for one in answers:
        members = _members(one.schema, leaner, set())
        if members is None:
            return None
        for name, schema in members.items():
            found.setdefault(name, _said(schema, leaner))
    return msgspec.json.encode({"type": "object", "properties": dict(list(found.items())[:MOST_NAMES])})


def _counting(answers: tuple[Answer, ...]) -> list[Answer]:
    """The answers that a good call can have: `default` is one only where no other is."""
    good = [one for one in answers if one.status.startswith("2")]
    return good or [one for one in answers if one.status == "default"]


def _is_json(answer: Answer) -> bool:
    kind = answer.media_type.partition(";")[0].strip().lower()
    return not answer.stream and (kind == "application/json" or kind.endswith("+json"))


def _members(schema: Schema, leaner: Leaner, seen: set[int]) -> dict[str, Schema] | None:
    """The properties of a schema of objects, those of an `allOf` together; None where it is not one of objects.

    Each is looked into once: a hundred `allOf` of a hundred would else be ten thousand.
    """
    schema = leaner.resolved(schema)
    if id(schema) in seen:
        return {}
    seen.add(id(schema))
    if not isinstance(schema, dict) or "anyOf" in schema or "oneOf" in schema:
        return None
    found: dict[str, Schema] = {}
    every = list(_every(schema, leaner))
    for one in every:
        if (inner := _members(one, leaner, seen)) is None:
            return None
        found |= inner
    kind = schema.get("type")
    if kind != "object" and not (kind is None and (every or "properties" in schema)):
        return None
    own = schema.get("properties")
    if isinstance(own, dict):
        found |= {name: inner for name, inner in own.items() if not leaner.is_hidden(inner)}
    return found


def _every(schema: dict[str, Any], leaner: Leaner) -> Iterator[Schema]:
    if isinstance(every := schema.get("allOf"), list):
        yield from (one for one in every if isinstance(one, dict))
    if "$ref" in schema:
        yield leaner.resolved({"$ref": schema["$ref"]})


def _said(schema: Schema, leaner: Leaner) -> dict[str, str]:
    """What a property is in words; its own go before those of what it refers to."""
    for one in (schema, leaner.resolved(schema)):
        if isinstance(one, dict) and (text := words.first_paragraph(one.get("description"), _WORDS)):
            return {"description": text}
    return {}


def _strict(answers: list[Answer], assembler: Assembler) -> bytes | None:
    """The documented schema: clients refuse a list in which one root is a reference or a composition."""
    schema = assembler.leaner.resolved(answers[0].schema)
    if not isinstance(schema, dict) or schema.get("type") != "object" or schema.keys() & _COMPOSED:
        return None
    return _whole(schema, assembler)


def documented(operation: Operation, assembler: Assembler) -> bytes | None:
    """What the document says of the one JSON answer that a good call has, whatever is promised of it."""
    answers = _counting(operation.answers)
    if len(answers) != 1 or not _is_json(answers[0]):
        return None
    schema = assembler.leaner.resolved(answers[0].schema)
    return _whole(schema, assembler) if isinstance(schema, dict) and schema else None


def _whole(schema: dict[str, Any], assembler: Assembler) -> bytes:
    (rendered,), definitions = assembler.assemble([(assembler.leaner.part(schema), {})])
    return rendered[:-1] + b',"$defs":' + definitions + b"}" if definitions else rendered
