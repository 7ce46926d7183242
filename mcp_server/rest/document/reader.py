"""The one entry of this package: all files of a document in, one `Document` out.

Pure: the files have been read (`rest/importing/loader.py`), nothing is fetched, whatever the document says.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mcp_server.rest.document import operations, surroundings, swagger2
from mcp_server.rest.document.context import Context
from mcp_server.rest.document.files import overlay
from mcp_server.rest.document.files.reading import Parsed, decode, unusable
from mcp_server.rest.document.files.references import Resolver, Source, elsewhere, localize
from mcp_server.rest.document.schemas.definitions import Definitions
from mcp_server.rest.document.values import Faults, text_in
from mcp_server.rest.model import Document

_VERSION: Final = re.compile(r"3\.([0-9]+)(\.|\Z)")


def source_of(
    data: bytes,
    location: str = "openapi.yaml",
    *,
    overlays: Sequence[bytes] = (),
    beside: Mapping[str, bytes] | None = None,
) -> Source:
    """A source whose files are all in memory; `beside` has the others by their place relative to the document."""
    files = {location: overlay.applied(decode(data), [decode(one) for one in overlays])}
    for name, held in (beside or {}).items():
        files[elsewhere(location, name)] = decode(held)
    return Source(location=location, files=files)


def read(source: Source) -> Document:
    """Everything that can be imported; raises `UnusableDocument` when that is nothing.

    Uses the source's files up: their values are changed, and let go in the end, for the source is held by whoever goes
    on to make tools of the document, and most of a document is none of its operations.
    """
    main = source.main.value
    minor = _minor(main)
    for location, parsed in source.files.items():
        localize(parsed, location, source.location)
    faults = Faults()
    for location, parsed in source.files.items():
        beside = "" if location == source.location else f"{location}#"
        for fault in parsed.faults:
            faults.add(beside + fault.pointer, fault.text)
    resolver = Resolver(source, faults)
    definitions = Definitions(source, resolver, faults, siblings=minor >= 1)
    context = Context(main, resolver, definitions, faults, swagger=minor < 0)
    if type(main.get("paths")) is not dict and minor < 1:
        raise unusable("has no paths", "/paths")
    found = tuple(operations.operations(context, source.location))
    known = surroundings.schemes(context)
    if minor > 1:
        for security in {id(one.security): one.security for one in found}.values():
            surroundings.by_address(context, security or (), known)
    _count_left_out(context)
    info = main.get("info")
    info = info if type(info) is dict else {}
    held = swagger2.servers(main, source.location) if minor < 0 else main.get("servers")
    made = Document(
        title=text_in(info, "title"),
        version=_version(source, info),
        description=text_in(info, "description"),
        operations=found,
        servers=surroundings.servers(held or [{"url": "/"}], source.location),
        schemes=known,
        definitions=definitions.reached(),
        extensions=surroundings.extensions(main),
        faults=faults.all(),
    )
    source.files.clear()
    return made


def _minor(main: Any) -> int:
    """Which 3.x it is, -1 for Swagger 2.0."""
    if type(main) is not dict:
        raise unusable("is no object of JSON or YAML, as an OpenAPI document is")
    if str(main.get("swagger")) in ("2.0", "2"):
        return -1
    version = main.get("openapi")
    match = _VERSION.match(str(version)) if type(version) in (str, float) else None
    if match is None:
        said = version if version is not None else main.get("swagger")
        what = f"is of version {said!r:.40}" if said is not None else "names no version in `openapi` or `swagger`"
        raise unusable(f"{what}; 2.0, 3.0, 3.1 and 3.2 are read", "" if said is None else "/openapi")
    return min(int(match[1]), 2)


def _version(source: Source, info: dict[str, Any]) -> str:
    """`version: 1.10` is a text, though YAML reads a number."""
    held = info.get("version")
    lexeme = source.main.lexemes.get((id(info), "version"))
    return lexeme.text if lexeme is not None and lexeme.value is held else "" if held is None else str(held)


def _count_left_out(context: Context) -> None:
    """What a server sends by itself is told as left out, by its number."""
    hooks = context.main.get("webhooks")
    if type(hooks) is dict and hooks:
        context.faults.add("/webhooks", f"{len(hooks)} webhooks: not imported, nobody calls them here")
    if context.callbacks:
        context.faults.add("/paths", f"{context.callbacks} callbacks: not imported, nobody calls them here")


__all__ = ["Parsed", "Source", "read", "source_of"]
