"""Schema definitions: which schemas operations reach, each converted once and named once; circles stay references.

A work list and no recursion: a chain of a million references costs its length.
"""

import hashlib
import re
from typing import Any, Final

import msgspec

from mcp_server.rest.document.files.references import Resolver, Source, pointer_in
from mcp_server.rest.document.schemas.dialect import Converter
from mcp_server.rest.document.values import Faults
from mcp_server.rest.model import Schema

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_NAME: Final = 64


class Definitions:
    """Converts the schemas of operations, and then those that they lead to."""

    def __init__(self, source: Source, resolver: Resolver, faults: Faults, *, siblings: bool) -> None:
        self._resolver, self._faults = resolver, faults
        self._names = _Names(_own_names(source.main.value), resolver, faults)
        self._converter = Converter(self._names.refer, faults, tuple(source.files.values()), siblings=siblings)
        self._written = any(file.lexemes for file in source.files.values())
        self._converted: dict[int, tuple[Any, Schema]] = {}
        self._made: dict[str, Schema] = {}
        self._here: dict[str, list[str]] = {}

    def schema(self, held: Any, pointer: str) -> Schema:
        """One schema of an operation, in 2020-12."""
        known = self._converted.get(id(held))
        if known is None:  # what stands in a part that operations share is converted once
            known = self._converted[id(held)] = (held, self._converter.convert(held, pointer))
        return known[1]

    def content(self, held: Any) -> bytes | None:
        """What says the same as `held` has the same one; None where that is not told by its values.

        A scalar of YAML may be meant as it was written, so values are compared in files of JSON alone.
        """
        if self._written:
            return None
        try:
            return hashlib.blake2b(msgspec.json.encode(held), digest_size=16).digest()
        except (TypeError, ValueError, OverflowError, RecursionError):
            return None

    def behind(self, ref: str) -> Any:
        """What a reference leads to, as the document has it: `#/$defs/<name>` or one of the document's own."""
        try:
            return self._resolver.find(self._names.refs.get(ref, ref))
        except LookupError:
            return {}

    def reached(self) -> dict[str, Schema]:
        """All definitions that the converted schemas lead to, and those that these lead to."""
        while self._names.waiting:
            ref, name = self._names.waiting.pop()
            self._made[name] = self._converter.convert(self._resolver.find(ref), pointer_in(ref))
            if self._converter.here:
                self._here[name] = self._converter.here
        for name, targets in _circles(self._here).items():
            self._made[name] = _without(self._made[name], {f"#/$defs/{target}" for target in targets})
            through = ", ".join(sorted(targets))
            place = pointer_in(self._names.refs[f"#/$defs/{name}"])
            self._faults.add(place, f"is itself, by way of {through}, without end")
        return self._made


class _Names:
    """The names of what references lead to, and those that are `waiting` to be converted.

    Apart from who converts: it asks here for names, and the two of them in a circle would keep the whole document until
    a full collection of garbage, for which a worker that serves hardly ever has a reason.
    """

    def __init__(self, taken: dict[str, str], resolver: Resolver, faults: Faults) -> None:
        """`taken` are the names that the document's own schemas have."""
        self._taken, self._resolver, self._faults = taken, resolver, faults
        self._known: dict[str, str | None] = {}
        self.refs: dict[str, str] = {}
        """`#/$defs/<name>` → the reference that the document has in its place."""
        self.waiting: list[tuple[str, str]] = []

    def refer(self, ref: str, pointer: str) -> str | None:
        """Name what a reference leads to, and put it on the work list; None where it leads nowhere."""
        if ref in self._known:
            name = self._known[ref]
            if name is None and pointer:
                self._faults.add(pointer, f"{ref!r} leads nowhere")
            return name
        try:
            self._resolver.find(ref)
        except LookupError as error:
            if pointer:
                self._known[ref] = None
                self._faults.add(pointer, str(error.args[0]))
            return None
        name = self._known[ref] = self._named(ref)
        self.refs[f"#/$defs/{name}"] = ref
        self.waiting.append((ref, name))
        return name

    def _named(self, ref: str) -> str:
        """A short name by the reference's end; another one's name gets a hash of the whole, never a number by order."""
        if ref in self._taken:
            return self._taken[ref]
        location, _, fragment = ref.partition("#")
        end = fragment.rpartition("/")[2] or location.rpartition("/")[2].rpartition(".")[0]
        name = _UNSAFE.sub("_", end)[:_MAX_NAME] or "schema"
        if name in self._taken:
            name = f"{name}_{hashlib.sha256(ref.encode()).hexdigest()[:8]}"
        self._taken[name] = name
        return name


def _own_names(main: Any) -> dict[str, str]:
    """The names of the document's own schemas, kept for them: which file is read first must not decide a name."""
    found: dict[str, str] = {}
    for section, held in (("#/components/schemas/", ("components", "schemas")), ("#/definitions/", ("definitions",))):
        schemas = main
        for step in held:
            schemas = schemas.get(step) if type(schemas) is dict else None
        for key in schemas if type(schemas) is dict else ():
            name = _UNSAFE.sub("_", key)[:_MAX_NAME]
            if name and name not in found:
                found[name] = name
                found[f"{section}{key}"] = name
    return found


def _circles(graph: dict[str, list[str]]) -> dict[str, set[str]]:
    """The edges that close a circle, by depth-first search in an order that is not the document's."""
    found: dict[str, set[str]] = {}
    state: dict[str, int] = {}
    for start in sorted(graph):
        if start in state:
            continue
        state[start] = 1
        stack = [(start, iter(graph[start]))]
        while stack:
            name, targets = stack[-1]
            target = next(targets, None)
            if target is None:
                state[name] = 2
                stack.pop()
            elif state.get(target) == 1:
                found.setdefault(name, set()).add(target)
            elif target not in state and target in graph:
                state[target] = 1
                stack.append((target, iter(graph[target])))
    return found


def _without(schema: Any, refs: set[str]) -> Any:
    """A schema in which some references at its own place admit everything."""
    if type(schema) is not dict:
        return schema
    made = {key: value for key, value in schema.items() if key != "$ref" or value not in refs}
    for key in ("allOf", "anyOf", "oneOf"):
        if key in made:
            made[key] = [_without(one, refs) for one in made[key]]
    for key in ("not", "if", "then", "else"):
        if key in made:
            made[key] = _without(made[key], refs)
    return made
