"""Schema dialects: the Schema Objects of 2.0, 3.0, 3.1 and 3.2 → JSON Schema 2020-12, copied only where it changes.

The result is always valid 2020-12, whatever stood there: what cannot be kept is left out, and told. `$ref` becomes
`#/$defs/<name>`; nothing is expanded. `discriminator` stays: validators pass over it, and refusals can name it.
"""

from collections.abc import Callable
from typing import Any, Final

from mcp_server.rest.document.files.reading import Parsed
from mcp_server.rest.document.schemas.keywords import CHECKS, DROP, truth
from mcp_server.rest.document.schemas.legacy import exclusive, nullable
from mcp_server.rest.document.values import Faults, pointer_of

Refer = Callable[[str, str], str | None]
"""The name of the definition that a reference leads to, or None and a fault, given the place that refers."""

_ONE: Final = ("items", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "propertyNames",
               "contains", "contentSchema")  # fmt: skip
_ONE_HERE: Final = ("not", "if", "then", "else")
_SEVERAL: Final = ("prefixItems",)
_SEVERAL_HERE: Final = ("allOf", "anyOf", "oneOf")
_NAMED: Final = ("properties", "patternProperties")
_NAMED_HERE: Final = ("dependentSchemas",)
_LOCAL: Final = ("$defs", "definitions")
_NULLABLE: Final = ("nullable", "x-nullable")


class Converter:
    """Converts schema after schema of one document; `here` are the references of the last that hold at its own place.

    Those are what can make a circle without end: a reference below `properties` ends where the value does.
    """

    def __init__(self, refer: Refer, faults: Faults, files: tuple[Parsed, ...], *, siblings: bool) -> None:
        self._refer, self._faults, self._siblings = refer, faults, siblings
        self._lexemes = tuple(file.lexemes for file in files if file.lexemes)
        self._base = ""
        self._path: list[str | int] = []
        self._below = 0
        self._roots: list[str] = []
        self._references: dict[str, dict[str, Any]] = {"": {}}
        self.here: list[str] = []

    def convert(self, schema: Any, pointer: str) -> Any:
        """A schema in 2020-12; `pointer` is where it stands."""
        self._base, self._path, self._below, self.here = pointer, [], 0, []
        self._roots = []
        return self._schema(schema)

    def _schema(self, schema: Any) -> Any:
        if type(schema) is not dict:
            return schema if type(schema) is bool else self._no_schema(schema)
        if type(schema.get("$ref")) is str:
            return self._reference(schema)
        local = "$defs" in schema or "definitions" in schema or "$id" in schema
        if local:
            self._roots.append(self._where())
        changed = self._changes(schema)
        if local:
            self._roots.pop()
        if "type" in changed and schema["type"] == "file":
            changed["format"] = "binary"
        if not TEXTS.isdisjoint(schema) and changed.get("type", schema.get("type")) == "string":
            self._texts(schema, changed)
        return self._rebuilt(schema, changed)

    def _changes(self, schema: dict[str, Any]) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        for key, value in schema.items():
            if (check := CHECKS.get(key)) is not None:
                new = check(value)
            elif (walk := WALKS.get(key)) is not None:
                new = walk(self, value, key)
            else:
                continue
            if new is not value:
                changed[key] = new
        return changed

    def _rebuilt(self, schema: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
        legacy = not LEGACY.isdisjoint(schema)
        if not changed and not legacy:
            return schema
        made = {**schema, **changed}
        for key in [key for key, value in changed.items() if value is DROP]:
            del made[key]
            if key not in SILENT and schema[key] is not None and schema[key] not in ({}, []):
                self._fault(f"`{key}` is not what JSON Schema takes there, and is left out", key)
        if legacy or type(made.get("items")) is list:
            return self._legacy(made)
        return made

    # references

    def _reference(self, schema: dict[str, Any]) -> Any:
        name = self._named(schema["$ref"])
        made = self._references.get(name or "")
        if made is None:
            made = self._references[name or ""] = {"$ref": f"#/$defs/{name}"}  # one for all places: thousands are alike
        if len(schema) == 1:
            return made
        if self._siblings:
            rest = self._schema({key: value for key, value in schema.items() if key != "$ref"})
            return {**made, **rest}
        if any(schema.get(key) in (True, "true") for key in _NULLABLE):
            return {"anyOf": [made, {"type": "null"}]} if made else made
        return made

    def _named(self, ref: str) -> str | None:
        name = None
        if self._roots and (ref.startswith(("#/$defs/", "#/definitions/"))):
            # A generator's schema pasted as it was: its own `$defs` are meant, though no `$id` says so.
            name = self._refer(f"{self._as_ref(self._roots[-1])}{ref[1:]}", "")
        if name is None:
            name = self._refer(ref, self._where())
        if name is not None and not self._below:
            self.here.append(name)
        return name

    @staticmethod
    def _as_ref(pointer: str) -> str:
        return pointer if "#" in pointer else f"#{pointer}"

    # what holds schemas

    def _one(self, value: Any, key: str) -> Any:
        if type(value) is not dict:
            if type(value) is bool:
                return value
            if key == "items" and type(value) is list:
                return list(value)  # a tuple of the drafts before 2020-12: `_legacy` makes `prefixItems` of it
            return truth(value)
        self._below += 1
        made = self._one_here(value, key)
        self._below -= 1
        return made

    def _one_here(self, value: Any, key: str) -> Any:
        self._path.append(key)
        made = self._schema(value)
        self._path.pop()
        return made

    def _several(self, value: Any, key: str) -> Any:
        self._below += 1
        made = self._several_here(value, key)
        self._below -= 1
        return made

    def _several_here(self, value: Any, key: str) -> Any:
        if type(value) is dict:
            value = [value]
        if type(value) is not list or not value:
            return DROP
        self._path += [key, 0]
        made = value
        for index, held in enumerate(value):
            self._path[-1] = index
            new = self._schema(held)
            if new is not held:
                if made is value:
                    made = list(value)
                made[index] = new
        del self._path[-2:]
        return made

    def _each(self, value: Any, key: str) -> Any:
        self._below += 1
        made = self._each_here(value, key)
        self._below -= 1
        return made

    def _each_here(self, value: Any, key: str) -> Any:
        if type(value) is not dict:
            return DROP
        self._path += [key, ""]
        made = value
        for name, held in value.items():
            self._path[-1] = name
            new = self._schema(held)
            if new is not held:
                if made is value:
                    made = dict(value)
                made[name] = new
        del self._path[-2:]
        return made

    def _local(self, _value: Any, _key: str) -> Any:
        """Definitions within a schema: what refers to them finds them where they were."""
        return DROP

    def _discriminator(self, value: Any, _key: str) -> Any:
        if type(value) is not dict:
            return {"propertyName": value} if type(value) is str else DROP
        mapping = value.get("mapping")
        if type(mapping) is not dict:
            return value
        made = {}
        for name, target in mapping.items():
            ref = target if type(target) is str and "#" in target else f"#/components/schemas/{target}"
            if (found := self._refer(ref, self._where())) is not None:
                made[name] = f"#/$defs/{found}"
        return {**value, "mapping": made}

    # what older dialects have

    def _legacy(self, made: dict[str, Any]) -> dict[str, Any]:
        for bound, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if bound in made:
                exclusive(made, bound, plain)
        if type(made.get("items")) is list:
            self._tuple(made)
        if "example" in made:
            example = made.pop("example")
            made.setdefault("examples", [example])
        if "dependencies" in made:
            self._dependencies(made)
        told = [made.pop(key) for key in _NULLABLE if key in made]
        return nullable(made) if any(one in (True, "true") for one in told) else made

    def _tuple(self, made: dict[str, Any]) -> None:
        first, rest = self._several(made.pop("items"), "items"), made.pop("additionalItems", True)
        if first is not DROP:
            made["prefixItems"] = first
            if rest is not True:
                made["items"] = self._schema(rest)

    def _dependencies(self, made: dict[str, Any]) -> None:
        held = made.pop("dependencies")
        for name, needs in held.items() if type(held) is dict else ():
            if type(needs) is list:
                made.setdefault("dependentRequired", {})[name] = [one for one in needs if type(one) is str]
            else:
                self._path += ["dependencies", name]
                made.setdefault("dependentSchemas", {})[name] = self._schema(needs)
                del self._path[-2:]

    def _texts(self, schema: dict[str, Any], changed: dict[str, Any]) -> None:
        """Texts that YAML or a careless hand made numbers of: `enum: [1.10, 1e3]` beside `type: string`."""
        for key in ("enum", "examples"):
            held = schema.get(key)
            if type(held) is list and any(type(one) in SCALARS for one in held):
                changed[key] = [self._as_text(held, index, one) for index, one in enumerate(held)]
        for key in ("const", "default", "example"):
            if type(schema.get(key)) in SCALARS:
                changed[key] = self._as_text(schema, key, schema[key])

    def _as_text(self, container: Any, key: str | int, value: Any) -> Any:
        if type(value) not in SCALARS:
            return value
        for lexemes in self._lexemes:
            found = lexemes.get((id(container), key))
            if found is not None and found.value is value:
                return found.text
        return str(value).lower() if type(value) is bool else str(value)

    # faults

    def _no_schema(self, schema: Any) -> dict[str, Any]:
        if schema is not None:
            self._fault("is no schema, and is taken as one that admits everything")
        return {}

    def _where(self) -> str:
        return self._base + pointer_of(self._path)

    def _fault(self, text: str, key: str | None = None) -> None:
        self._faults.add(self._where() + (pointer_of([key]) if key else ""), text)


WALKS: Final[dict[str, Callable[[Converter, Any, str], Any]]] = {
    **dict.fromkeys(_ONE, Converter._one),  # noqa: SLF001
    **dict.fromkeys(_ONE_HERE, Converter._one_here),  # noqa: SLF001
    **dict.fromkeys(_SEVERAL, Converter._several),  # noqa: SLF001
    **dict.fromkeys(_SEVERAL_HERE, Converter._several_here),  # noqa: SLF001
    **dict.fromkeys(_NAMED, Converter._each),  # noqa: SLF001
    **dict.fromkeys(_NAMED_HERE, Converter._each_here),  # noqa: SLF001
    **dict.fromkeys(_LOCAL, Converter._local),  # noqa: SLF001
    "discriminator": Converter._discriminator,  # noqa: SLF001
}
LEGACY: Final = frozenset({"exclusiveMinimum", "exclusiveMaximum", "example", "dependencies", *_NULLABLE})
TEXTS: Final = frozenset({"enum", "const", "default", "examples", "example"})
SCALARS: Final = frozenset({int, float, bool})
SILENT: Final = frozenset({"id", "$id", "$schema", "$vocabulary", "$anchor", "$dynamicAnchor", "$recursiveAnchor",
                           "$recursiveRef", "required", *_LOCAL})  # fmt: skip
