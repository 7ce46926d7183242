"""The parts of one tool → the bytes of its schema: what is used once or is small written out, the rest in `$defs`.

Definitions are let in nearest first, until the tool has had its share; what does not fit any more is its kind and its
description alone. So a document in which everything refers to everything (Microsoft Graph's) costs each tool the same
as any other, and no cycle is ever expanded.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

import msgspec

from mcp_server.rest.model import Schema
from mcp_server.rest.offer.schemas.lean import Direction, Leaner, Part, Ref

SHARE: Final = 14_000
"""The bytes of definitions that a tool may have: 4,000 tokens."""
SMALL: Final = 120
"""A definition without references of so many bytes is shorter written out than pointed to."""
_NESTED: Final = 24
"""How many definitions are written out within one another: deeper ones are pointed to."""
_SHALLOWER: Final = (8, 6, 4, 3, 2, 1)
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]+")


class Assembler:
    """Puts schemas of one document and direction together."""

    def __init__(self, definitions: Mapping[str, Schema], direction: Direction, share: int = SHARE) -> None:
        self.leaner = Leaner(definitions, direction)
        self._share = share
        self._names: dict[str, str] = {}

    def assemble(self, parts: Iterable[tuple[Part, Mapping[str, bytes]]]) -> tuple[list[bytes], bytes]:
        """The parts as JSON, each with notes that go before its own, and the object of their `$defs`, if any."""
        roots = list(parts)
        tool = _Tool(self, *self._admitted([part for part, _ in roots]))
        rendered = [tool.part(part, notes, 0) for part, notes in roots]
        return rendered, tool.definitions()

    def parts(self, schemas: Iterable[tuple[Schema, bool]]) -> list[Part]:
        """The parts of a tool's arguments, each a schema and whether it is ours; shallower ones where they are many.

        Some documents write out at each place what others refer to, and one body is then a tool's share twice over.
        """
        given = list(schemas)
        found = [self.leaner.made(schema) if ours else self.leaner.part(schema) for schema, ours in given]
        for deepest in _SHALLOWER:
            if sum(part.size for part in found) <= self._share:
                break
            large = [at for at, part in enumerate(found) if part.size > self._share // 8]
            for at in large:
                found[at] = self.leaner.made(given[at][0], deepest)
        return found

    def name(self, definition: str) -> str:
        """The name of a definition in `$defs`: one that needs no escape in a pointer."""
        if (found := self._names.get(definition)) is None:
            found = _UNSAFE.sub("_", definition)[:64] or "_"
            if found != definition:
                found = f"{found[:57]}_{sha256(definition.encode('utf-8', 'replace')).hexdigest()[:6]}"
            self._names[definition] = found
        return found

    def _admitted(self, roots: list[Part]) -> tuple[Counter[str], frozenset[str]]:
        """How often each definition is referred to, and those that fit; nearest first."""
        left = self._share
        used: Counter[str] = Counter()
        seen: set[str] = set()
        cut: set[str] = set()
        level = [ref for part in roots for ref in part.refs]
        while level:
            below: list[Ref] = []
            for ref in level:
                used[ref.name] += 1
                if ref.name in seen:
                    continue
                seen.add(ref.name)
                component = self.leaner.component(ref.name)
                if component.size > left:
                    cut.add(ref.name)
                    continue
                left -= component.size
                below += component.refs
            level = below
        return used, frozenset(cut)


class _Tool:
    """One schema while it is written; `$defs` are those that turn out to be pointed to."""

    def __init__(self, assembler: Assembler, used: Counter[str], cut: frozenset[str]) -> None:
        self._assembler, self._used, self._cut = assembler, used, cut
        self._component = assembler.leaner.component
        self._wanted: dict[str, None] = {}

    def part(self, part: Part, notes: Mapping[str, bytes], depth: int) -> bytes:
        """A part as JSON; `notes` go before its own."""
        if part.whole:
            return self._reference(part.whole, {**part.whole.notes, **notes}, depth)
        members = [b'"%s":%s' % (name.encode(), value) for name, value in {**part.notes, **notes}.items()]
        rest = b"".join(one if isinstance(one, bytes) else self._chunk(one, depth) for one in part.chunks)
        return b"{" + b",".join([*members, rest] if rest else members) + b"}"

    def definitions(self) -> bytes:
        """The object of `$defs`; empty where nothing is pointed to."""
        written: dict[str, bytes] = {}
        while waiting := [name for name in self._wanted if name not in written]:
            for name in waiting:
                component = self._component(name)
                written[name] = _stub(component, {}) if name in self._cut else self.part(component, {}, 0)
        members = [b'"%s":%s' % (self._assembler.name(name).encode(), written[name]) for name in sorted(written)]
        return b"{" + b",".join(members) + b"}" if members else b""

    def _chunk(self, ref: Ref, depth: int) -> bytes:
        return self._pointer(ref.name) if ref.pointer else self._reference(ref, ref.notes, depth)

    def _reference(self, ref: Ref, notes: Mapping[str, bytes], depth: int) -> bytes:
        component = self._component(ref.name)
        if ref.name in self._cut:
            return _stub(component, notes)
        once = self._used[ref.name] == 1
        if depth < _NESTED and (once or (component.size <= SMALL and not component.refs)):
            return self.part(component, notes, depth + 1)
        members = [b'"%s":%s' % (name.encode(), value) for name, value in notes.items()]
        return b"{" + b",".join([b'"$ref":' + self._pointer(ref.name), *members]) + b"}"

    def _pointer(self, name: str) -> bytes:
        self._wanted[name] = None
        return b'"#/$defs/%s"' % self._assembler.name(name).encode()


def _stub(component: Part, notes: Mapping[str, bytes]) -> bytes:
    """What stands for a definition that is cut: its kind and its words. What is in it, only the API judges."""
    said = {**component.notes, **notes}
    members = [b'"%s":%s' % (name.encode(), said[name]) for name in ("description",) if name in said]
    if component.kind:
        members.insert(0, b'"type":' + msgspec.json.encode(component.kind))
    if component.kind == "array":
        members.append(b'"items":{}')
    return b"{" + b",".join(members) + b"}"
