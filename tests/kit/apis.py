"""OpenAPI documents for tests: a few lines of YAML each, read as the product reads them."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from mcp_server.rest.document import read, source_of
from mcp_server.rest.model import Document, Operation, Parameter

HEAD = "openapi: {version}\ninfo: {{title: Shop, version: '1'}}\n"


def api(text: str, version: str = "3.1.0") -> bytes:
    """A document of some version; `text` begins with `paths:`."""
    return (HEAD.format(version=version) + textwrap.dedent(text)).encode()


def imported(
    text: str,
    version: str = "3.1.0",
    *,
    location: str = "api/openapi.yaml",
    beside: Mapping[str, bytes] | None = None,
    overlays: Sequence[bytes] = (),
) -> Document:
    """What is read of it."""
    return read(source_of(api(text, version), location, beside=beside, overlays=overlays))


def schema_of(schema: str, version: str = "3.1.0", more: str = "") -> tuple[Any, Document]:
    """One schema (a flow mapping of YAML) as it comes out, and the document of its definitions."""
    document = imported(
        f"paths: {{/a: {{get: {{parameters: [{{name: p, in: query, schema: {schema}}}]}}}}}}\n{textwrap.dedent(more)}",
        version,
    )
    return document.operations[0].parameters[0].schema, document


def only(document: Document) -> Operation:
    """The operation of a document that has one."""
    (operation,) = document.operations
    return operation


def parameter(operation: Operation, name: str, place: str | None = None) -> Parameter:
    """A parameter by its name, and its place where the name is there twice."""
    (found,) = [one for one in operation.parameters if one.name == name and place in (None, one.place)]
    return found


def told(document: Document) -> dict[str, str]:
    """The faults by their pointers."""
    return {fault.pointer: fault.text for fault in document.faults}
