"""What the reading of one document's parts shares: its version, its references, its definitions, its faults."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from mcp_server.rest.document.files.reading import unusable
from mcp_server.rest.document.files.references import Resolver
from mcp_server.rest.document.schemas.definitions import Definitions
from mcp_server.rest.document.values import Faults
from mcp_server.rest.model import Schema

MAX_PARTS: Final = 1_000_000
"""The largest public document comes to a fifth of it."""
_T = TypeVar("_T")
_MAX_LOOKED_AT: Final = 64
"""References that are followed to see of which type a value is."""


class Unusable(Exception):
    """One operation, or one part of it, cannot be imported: where, and why."""

    def __init__(self, pointer: str, text: str) -> None:
        super().__init__(f"{pointer}: {text}")
        self.pointer, self.text = pointer, text


class Context:
    """Handed to all that reads operations; `main` is the document's root.

    What several operations refer to is read `once`; and what all operations come to is bounded (`spend`), for a path
    item of a thousand parameters may be referred to from a hundred thousand paths.
    """

    __slots__ = (
        "_alike", "_contents", "_known", "_left", "callbacks", "definitions", "faults", "main", "resolver", "swagger",
    )  # fmt: skip

    def __init__(
        self, main: dict[str, Any], resolver: Resolver, definitions: Definitions, faults: Faults, *, swagger: bool
    ) -> None:
        self.main, self.resolver, self.definitions, self.faults = main, resolver, definitions, faults
        self.swagger = swagger
        self.callbacks = 0
        self._known: dict[tuple[int, str], tuple[Any, Any]] = {}
        self._contents: dict[int, tuple[Any, bytes | None]] = {}
        self._alike: dict[tuple[bytes, str], Any] = {}
        self._left = MAX_PARTS

    def spend(self, parts: int) -> None:
        """Count parameters and answers of an operation; raises `UnusableDocument` past the bound."""
        self._left -= parts
        if self._left < 0:
            raise unusable(f"its operations come to more than {MAX_PARTS} parameters and answers", "/paths")

    def once(self, held: Any, kind: str, make: Callable[[], _T]) -> _T:
        """What was made of an object, or what refused it, the first time it was met."""
        found = self._known.get((id(held), kind))
        if found is None:
            try:
                made: Any = make()
            except Unusable as refused:
                made = Unusable(
                    refused.pointer, refused.text
                )  # a traceback would keep the whole document in its frames
            found = self._known[id(held), kind] = (held, made)  # kept: an id is its object's own only while that lives
        if isinstance(found[1], Unusable):
            raise Unusable(found[1].pointer, found[1].text)
        result: _T = found[1]
        return result

    def alike(self, held: Any, kind: str, make: Callable[[], _T]) -> _T:
        """As `once`, and for objects that say the same: generators write one parameter out at thousands of operations.

        What has a fault is made at each place, for each is told with its own.
        """
        if (id(held), kind) in self._known or (key := self._content(held)) is None:
            return self.once(held, kind, make)
        if (key, kind) in self._alike:
            found: _T = self._alike[key, kind]
            self._known[id(held), kind] = (held, found)
            return found
        before = self.faults.count
        made = self.once(held, kind, make)
        if self.faults.count == before:
            self._alike[key, kind] = made
        return made

    def _content(self, held: Any) -> bytes | None:
        """Asked for once, of an answer too that stands for a million statuses."""
        if (known := self._contents.get(id(held))) is None:
            known = self._contents[id(held)] = (held, self.definitions.content(held))
        return known[1]

    def followed(self, held: Any, pointer: str) -> tuple[Any, str]:
        """What stands at a place or what its reference leads to; raises `Unusable` where that is nothing."""
        try:
            return self.resolver.follow(held, pointer)
        except LookupError as error:
            raise Unusable(pointer, str(error.args[0])) from None

    def kinds(self, schema: Schema) -> set[str]:
        """The types that a schema names, through references and composition; empty where it leaves that open."""
        return self._kinds(schema, set())

    def _kinds(self, schema: Any, seen: set[str]) -> set[str]:
        if type(schema) is not dict:
            return set()
        kind = schema.get("type")
        if kind is not None:
            named = [kind] if type(kind) is str else kind if type(kind) is list else []  # a number names no kind
            return {one for one in named if type(one) is str} - {"null"}
        if "properties" in schema:
            return {"object"}
        ref = schema.get("$ref")
        if type(ref) is str:
            if ref in seen or len(seen) >= _MAX_LOOKED_AT:  # a circle, or nobody's document
                return set()
            seen.add(ref)
            return self._kinds(self.definitions.behind(ref), seen)
        for key in ("allOf", "anyOf", "oneOf"):
            parts = schema.get(key)
            if type(parts) is list and parts:
                found = [self._kinds(one, seen) for one in parts if one != {"type": "null"}]
                if key == "allOf" or all(found):
                    return set().union(*found)
        return set()
