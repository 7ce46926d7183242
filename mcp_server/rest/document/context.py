"""What the reading of one document's parts shares: its version, its references, its definitions, its faults."""

from typing import Any

from mcp_server.rest.document.files.references import Resolver
from mcp_server.rest.document.schemas.definitions import Definitions
from mcp_server.rest.document.values import Faults
from mcp_server.rest.model import Schema


class Unusable(Exception):
    """One operation, or one part of it, cannot be imported: where, and why."""

    def __init__(self, pointer: str, text: str) -> None:
        super().__init__(f"{pointer}: {text}")
        self.pointer, self.text = pointer, text


class Context:
    """Handed to all that reads operations; `main` is the document's root."""

    __slots__ = ("callbacks", "definitions", "faults", "main", "resolver", "swagger")

    def __init__(
        self, main: dict[str, Any], resolver: Resolver, definitions: Definitions, faults: Faults, *, swagger: bool
    ) -> None:
        self.main, self.resolver, self.definitions, self.faults = main, resolver, definitions, faults
        self.swagger = swagger
        self.callbacks = 0

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
            return ({kind} if type(kind) is str else {one for one in kind if type(one) is str}) - {"null"}
        if "properties" in schema:
            return {"object"}
        ref = schema.get("$ref")
        if type(ref) is str:
            if ref in seen:  # a circle, or a part that was looked at already
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
