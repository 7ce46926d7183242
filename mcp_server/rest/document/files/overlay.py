"""Overlays 1.0 and 1.1: actions on the document before anything else reads it."""

from collections.abc import Sequence

from mcp_server.rest.document.files.reading import Parsed


def applied(parsed: Parsed, overlays: Sequence[Parsed]) -> Parsed:
    """The document with the actions of its overlays carried out, in their order."""
    for _ in overlays:
        raise NotImplementedError
    return parsed
