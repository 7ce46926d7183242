"""A schema of a document → a lean part, encoded once: pruned by direction, references left open, notes apart.

What a request must not have (`readOnly`) leaves the inputs, what an answer never has (`writeOnly`) the outputs, and
their names leave `required`. A part is the bytes of a schema between its references, so that a thousand tools that
share a component share its bytes, and each tool decides whether a reference is written out or points to `$defs`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from mcp_server.rest.model import REF, Schema
from mcp_server.rest.offer import words
from mcp_server.rest.offer.schemas.keywords import DROP, NAMED, NOTES, ONE, PLAIN, SEVERAL, fits, pattern

Direction = Literal["input", "output"]
LONGEST_DESCRIPTION: Final = 300
_DEEPEST: Final = 40
"""Schemas within schemas; below it anything is admitted. Encoder and validator are spared a million brackets."""
_MARK: Final = re.compile(rb"\x00(\d+)\x00")
"""Where a reference stands in encoded JSON, which escapes every NUL of a text: nothing in a document can forge one."""
_NESTING: Final = ONE | NAMED | SEVERAL
_NULL: Final = {"type": "null"}


class Ref(msgspec.Struct, frozen=True):
    """A reference to a definition; `notes` are its siblings that ask for nothing. A `pointer` is the text alone."""

    name: str
    notes: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    pointer: bool = False


Chunk = bytes | Ref


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A lean schema: `chunks` are the members of its object without the notes; or it is nothing but a reference."""

    notes: Mapping[str, bytes]
    chunks: tuple[Chunk, ...] = ()
    whole: Ref | None = None
    size: int = 2
    kind: str = ""

    @property
    def refs(self) -> list[Ref]:
        """The references in it, in their order."""
        return [self.whole] if self.whole else [one for one in self.chunks if isinstance(one, Ref)]


class Leaner:
    """The lean parts of one document in one direction, each made when it is first asked for."""

    def __init__(self, definitions: Mapping[str, Schema], direction: Direction) -> None:
        self.definitions: Final = definitions
        self._input = direction == "input"
        self._hiding = "readOnly" if self._input else "writeOnly"
        self._components: dict[str, Part] = {}
        self._parts: dict[int, Part] = {}
        self._hidden: dict[str, frozenset[str]] = {}
        self._refs: list[Ref] = []
        self._deepest = _DEEPEST

    def component(self, name: str) -> Part:
        """A definition by its name, which `known` has."""
        if (found := self._components.get(name)) is None:
            found = self._components[name] = self.made(self.definitions[name])
        return found

    def part(self, schema: Schema) -> Part:
        """A schema of an operation; the document keeps it, so its identity is a key."""
        if (found := self._parts.get(id(schema))) is None:
            found = self._parts[id(schema)] = self.made(schema)
        return found

    def resolved(self, schema: Schema) -> Schema:
        """The schema behind a reference that has no siblings but notes; the same one where there is none."""
        for _ in range(_DEEPEST):
            if not isinstance(schema, dict) or "$ref" not in schema or schema.keys() - NOTES - {"$ref"}:
                return schema
            name = self._known(schema["$ref"])
            schema = self.definitions[name] if name is not None else {}
        return {}

    def is_hidden(self, schema: Any) -> bool:
        """Whether a property is none in this direction, by its own word or that of what it refers to."""
        for _ in range(_DEEPEST):
            if not isinstance(schema, dict):
                return False
            if schema.get(self._hiding) is True:
                return True
            if (wrapped := schema.get("allOf")) and isinstance(wrapped, list) and len(wrapped) == 1:
                schema = wrapped[0]
                continue
            name = self._known(schema["$ref"]) if "$ref" in schema else None
            if name is None:
                return False
            schema = self.definitions[name]
        return False

    def made(self, schema: Schema, deepest: int = _DEEPEST) -> Part:
        """A schema as a part, made anew: for one of ours, which nobody keeps, or for one that must be shallower."""
        self._deepest = deepest
        refs: list[Ref] = []
        self._refs = refs
        lean = self._lean(schema, 0, frozenset())
        if isinstance(lean, msgspec.Raw):
            return Part(notes={}, whole=refs[-1], size=len(refs[-1].name) + 20)
        notes = {name: msgspec.json.encode(lean.pop(name)) for name in NOTES & lean.keys()}
        kind = lean.get("type", "")
        encoded = msgspec.json.encode(lean)[1:-1]
        pieces = _MARK.split(encoded) if refs else [encoded]
        chunks = tuple(refs[int(one)] if index % 2 else one for index, one in enumerate(pieces) if one)
        size = len(encoded) + sum(map(len, notes.values())) + 20 * len(refs)
        return Part(notes=notes, chunks=chunks, size=size, kind=kind if isinstance(kind, str) else "")

    def _known(self, ref: Any) -> str | None:
        """The name of the definition that is referred to; None where a reference leads nowhere."""
        name = ref.removeprefix(REF) if isinstance(ref, str) and ref.startswith(REF) else None
        return name if name in self.definitions else None

    def _lean(self, schema: Any, depth: int, gone: frozenset[str]) -> Any:
        """A lean dictionary, or the mark of a reference; `gone` are names that an `allOf` around it has pruned."""
        if schema is False:
            return {"not": {}}
        if not isinstance(schema, dict):
            return {}
        if depth > self._deepest:
            return _stub(schema)
        if ("allOf" in schema or "required" in schema) and (hidden := self._pruned(schema, 0)):
            gone |= hidden
        lean = self._keywords(schema, depth, gone)
        if gone and "required" in lean:
            self._unrequire(lean, gone)
        _mend(lean)
        if (discriminator := schema.get("discriminator")) and self._input:
            self._discriminate(lean, schema, discriminator)
        return self._reference(lean, schema["$ref"]) if "$ref" in schema else lean

    def _keywords(self, schema: dict[str, Any], depth: int, gone: frozenset[str]) -> dict[str, Any]:
        """The keywords that are shown, and no other: `title`, `xml`, `externalDocs` and `x-...` cost and say little."""
        lean: dict[str, Any] = {}
        if text := words.first_paragraph(schema.get("description"), LONGEST_DESCRIPTION):
            lean["description"] = text
        for keyword, value in schema.items():
            if (handle := PLAIN.get(keyword)) is not None:
                if (shown := handle(value)) is not DROP:
                    lean[keyword] = shown
            elif keyword in _NESTING:
                self._nest(lean, keyword, value, depth, gone)
        return lean

    def _nest(self, lean: dict[str, Any], keyword: str, value: Any, depth: int, gone: frozenset[str]) -> None:
        """A keyword whose value holds schemas."""
        if keyword in SEVERAL:
            inner = gone if keyword == "allOf" else frozenset[str]()
            if isinstance(value, list) and value:
                # replies and requests meet overlapping alternatives daily: `oneOf` would refuse what the API takes
                shown = "anyOf" if keyword == "oneOf" and self._input and "anyOf" not in lean else keyword
                lean[shown] = [one if one == _NULL else self._lean(one, depth + 1, inner) for one in value]
        elif keyword in NAMED:
            if isinstance(value, dict):
                lean[keyword] = self._members(keyword, value, depth)
        elif keyword in ("not", "if"):
            before = len(self._refs)
            inner_schema = self._lean(value, depth + 1, frozenset())
            if len(self._refs) > before or not inner_schema:
                del self._refs[before:]  # what is cut from it would be refused: the other way round than elsewhere
            else:
                lean[keyword] = inner_schema
        elif isinstance(value, bool):
            lean[keyword] = value
        elif isinstance(value, dict):
            lean[keyword] = self._lean(value, depth + 1, frozenset())

    def _members(self, keyword: str, value: dict[str, Any], depth: int) -> dict[str, Any]:
        return {
            name: self._lean(inner, depth + 1, frozenset())
            for name, inner in value.items()
            if not (keyword == "properties" and self.is_hidden(inner))
            and not (keyword == "patternProperties" and pattern(name) != name)
        }

    def _pruned(self, schema: dict[str, Any], depth: int) -> frozenset[str]:
        """The names of properties that are none here, in a schema and all that must hold with it."""
        found: set[str] = set()
        if isinstance(properties := schema.get("properties"), dict):
            found |= {name for name, inner in properties.items() if self.is_hidden(inner)}
        if depth < _DEEPEST and isinstance(every := schema.get("allOf"), list):
            for one in every:
                if isinstance(one, dict):
                    found |= self._pruned(one, depth + 1)
        name = self._known(schema["$ref"]) if "$ref" in schema else None
        if name is not None:
            found |= self._pruned_of(name, depth)
        return frozenset(found)

    def _pruned_of(self, name: str, depth: int) -> frozenset[str]:
        if name not in self._hidden:
            self._hidden[name] = frozenset()  # a cycle of allOf adds nothing of its own
            target = self.definitions[name]
            self._hidden[name] = self._pruned(target, depth + 1) if isinstance(target, dict) else frozenset()
        return self._hidden[name]

    @staticmethod
    def _unrequire(lean: dict[str, Any], gone: frozenset[str]) -> None:
        kept = [name for name in lean["required"] if name not in gone]
        if kept:
            lean["required"] = kept
        else:
            del lean["required"]

    def _reference(self, lean: dict[str, Any], ref: Any) -> Any:
        name = self._known(ref)
        if name is None:
            return lean  # leads nowhere: its siblings alone are asked for
        bare = not lean.keys() - NOTES
        notes = {keyword: msgspec.json.encode(value) for keyword, value in lean.items()} if bare else {}
        self._refs.append(Ref(name, notes, not bare))
        mark = msgspec.Raw(b"\x00%d\x00" % (len(self._refs) - 1))
        return mark if bare else {"$ref": mark, **lean}

    def _discriminate(self, lean: dict[str, Any], schema: dict[str, Any], discriminator: Any) -> None:
        """The names that a discriminator's mapping allows, as an enumeration: what is refused then names it."""
        if not isinstance(discriminator, dict) or not isinstance(name := discriminator.get("propertyName"), str):
            return
        mapping, branches = discriminator.get("mapping"), schema.get("oneOf") or schema.get("anyOf")
        if not isinstance(mapping, dict) or not isinstance(branches, list) or not mapping:
            return
        mapped = set(mapping.values())
        refs = {one.get("$ref") for one in branches if isinstance(one, dict)}
        if None in refs or not refs <= mapped or "properties" in lean:
            return  # a branch that the mapping does not name is chosen by a name that only the API knows
        lean["properties"] = {name: {"enum": sorted(map(str, mapping))}}
        lean["required"] = sorted({*lean.get("required", ()), name})


def _stub(schema: dict[str, Any]) -> dict[str, Any]:
    """What stands for a schema that lies too deep: its type alone."""
    lean = {"type": schema["type"]} if "type" in schema else {}
    _mend(lean)
    return lean


def _mend(lean: dict[str, Any]) -> None:
    """What is right by the dialect and refused by providers, or can never hold."""
    kind, allowed = lean.get("type"), lean.get("enum")
    if kind == "null":
        del lean["type"]
        lean["enum"] = [None]
    elif (kind == "array" or (isinstance(kind, list) and "array" in kind)) and not lean.keys() & {
        "items",
        "prefixItems",
    }:
        lean["items"] = {}
    elif allowed and isinstance(kind, str) and not any(fits(one, kind) for one in allowed):
        del lean["type"]
