"""Reference resolver: `$ref` → what it names, over the files of one document; each pointer is walked once.

Nothing is fetched here. A file that was not brought along is a fault that says why, at the place that refers to it.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, urldefrag, urljoin

import msgspec

from mcp_server.rest.document.files.reading import Parsed
from mcp_server.rest.document.values import Faults

_MAX_HOPS: Final = 32
"""References to references: more are a circle, or nobody's document."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """All files of one document: the main one stands at `location`, `refused` says why another was not read.

    `raw` is what was read, overlays among it, and `digests` its SHA-256: the same ones again are the same document.
    """

    location: str
    files: dict[str, Parsed]
    refused: Mapping[str, str] = msgspec.field(default_factory=dict)
    digests: Mapping[str, str] = msgspec.field(default_factory=dict)
    raw: Mapping[str, bytes] = msgspec.field(default_factory=dict)

    @property
    def main(self) -> Parsed:
        """The file that is the document."""
        return self.files[self.location]


def elsewhere(base: str, ref: str) -> str:
    """The file that a reference names, as a location: resolved against the one it stands in, without its fragment."""
    try:
        return urldefrag(urljoin(base, ref))[0]
    except ValueError:  # `http://[`
        return ref


def localize(parsed: Parsed, base: str, main: str) -> None:
    """Make every reference of a file absolute, in place: `#/…` is then of the main file, wherever it is read."""
    if base == main:
        for container in parsed.outward if parsed.externals else ():
            _localize(container, base, main)
        return
    waiting: list[Any] = [parsed.value]
    seen: set[int] = set()  # aliases of YAML share values; what was made absolute stays so
    while waiting:
        container = waiting.pop()
        if id(container) in seen:
            continue
        seen.add(id(container))
        if type(container) is dict:
            _localize(container, base, main)
            waiting += [held for held in container.values() if type(held) is dict or type(held) is list]
        elif type(container) is list:
            waiting += [held for held in container if type(held) is dict or type(held) is list]


def _localize(container: dict[str, Any], base: str, main: str) -> None:
    ref = container.get("$ref")
    if type(ref) is str:
        container["$ref"] = absolute(base, ref, main)
    mapping = container.get("mapping")
    if type(mapping) is dict and type(container.get("propertyName")) is str:  # a discriminator's
        for name, target in mapping.items():
            if type(target) is str and ("/" in target or "." in target or "#" in target):
                mapping[name] = absolute(base, target, main)


def absolute(base: str, ref: str, main: str) -> str:
    """A reference that means the same in every file."""
    if ref[:1] == "#":  # nearly all of them
        return ref if base == main else f"{base}{ref}"
    location, fragment = elsewhere(base, ref), ref.partition("#")[2]
    return f"#{fragment}" if location == main else f"{location}#{fragment}"


class Resolver:
    """Finds what references name; what leads nowhere is told once for each place."""

    def __init__(self, source: Source, faults: Faults) -> None:
        self._source, self._faults = source, faults
        self._found: dict[str, Any] = {}
        self._why: dict[str, str] = {}
        self._identified: dict[str, Any] | None = None
        own = source.main.value.get("$self") if type(source.main.value) is dict else None
        self._self = elsewhere(source.location, own) if type(own) is str else source.location

    def absolute(self, ref: str) -> str:
        """A reference that stands outside of `$ref`, as a link's and a security requirement's do."""
        return absolute(self._source.location, ref, self._source.location)

    def find(self, ref: str) -> Any:
        """What a reference names; raises `LookupError` with the reason when that is nothing."""
        if ref in self._found:
            return self._found[ref]
        if ref in self._why:
            raise LookupError(self._why[ref])
        try:
            found = self._found[ref] = self._look_up(ref)
        except LookupError as error:
            self._why[ref] = str(error.args[0])
            raise
        return found

    def follow(self, held: Any, pointer: str) -> tuple[Any, str]:
        """A parameter, an answer and the like, with its pointer: itself, or what its `$ref` leads to.

        Raises `LookupError` with the reason when that is nothing.
        """
        for _ in range(_MAX_HOPS):
            ref = held.get("$ref") if type(held) is dict else None
            if type(ref) is not str:
                return held, pointer
            described = held.get("description")
            held, pointer = self.find(ref), pointer_in(ref)
            if type(described) is str and type(held) is dict and "$ref" not in held:  # 3.1: it overrides the other
                held = {**held, "description": described}
        raise LookupError("its references go in a circle")

    def _look_up(self, ref: str) -> Any:
        location, _, fragment = ref.partition("#")
        if location in ("", self._self):
            location = self._source.location
        if location in self._source.files:
            root = self._source.files[location].value
            if fragment == "" or fragment[0] == "/":
                return _walk(root, unquote(fragment), ref)
        elif (reason := self._source.refused.get(location)) is not None:
            raise LookupError(f"{ref!r} was not read: {reason}")
        by_id = self._by_id()
        for name in (ref, f"#{fragment}"):
            if name in by_id:
                return by_id[name]
        raise LookupError(f"{ref!r} leads nowhere")

    def _by_id(self) -> dict[str, Any]:
        """Schemas by `$id` and `$anchor`, for references that are no pointers: names here, never addresses."""
        if self._identified is None:
            self._identified = {}
            waiting: list[Any] = [file.value for file in self._source.files.values()]
            seen: set[int] = set()
            while waiting:
                held = waiting.pop()
                if id(held) in seen:
                    continue
                seen.add(id(held))
                if type(held) is dict:
                    self._identify(self._identified, held)
                waiting += [
                    one
                    for one in (held.values() if type(held) is dict else held)
                    if type(one) is dict or type(one) is list
                ]
        return self._identified

    @staticmethod
    def _identify(known: dict[str, Any], held: dict[str, Any]) -> None:
        for key, form in (("$id", "{}"), ("$id", "{}#"), ("$anchor", "#{}"), ("$dynamicAnchor", "#{}")):
            name = held.get(key)
            if type(name) is str:
                known.setdefault(form.format(name), held)


def pointer_in(ref: str) -> str:
    """A reference as faults name places: a pointer, behind the file's name if it is another one."""
    location, _, fragment = ref.partition("#")
    return f"{location}#{unquote(fragment)}" if location else unquote(fragment)


def _walk(root: Any, pointer: str, ref: str) -> Any:
    held = root
    for step in pointer.split("/")[1:] if pointer else ():
        name = step.replace("~1", "/").replace("~0", "~")
        if type(held) is dict and name in held:
            held = held[name]
        elif type(held) is list and name.isdecimal() and len(name) < 8 and int(name) < len(held):
            held = held[int(name)]
        else:
            raise LookupError(f"{ref!r} leads nowhere")
    return held
