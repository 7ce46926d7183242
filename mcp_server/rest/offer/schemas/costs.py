"""Schemas that no value could be held against in time: definitions that fan out to more ways than are walked."""

from typing import Final

import msgspec

from mcp_server.authoring.validation import effort

MOST: Final = 10_000
"""How often a part of a value may be looked at. Of the documents that there are none comes to thirty."""
_COMPOSING: Final = (b'"allOf"', b'"anyOf"', b'"oneOf"', b'"unevaluated')


def fans_out(schema: bytes) -> bool:
    """Whether a schema, as it is shown, holds a part of a value against more than `MOST` others.

    Without definitions it has no more ways than it has bytes, and few definitions without composition have few.
    """
    if b'"$defs"' not in schema or sum(map(schema.count, _COMPOSING)) < 2:
        return False
    whole = msgspec.json.decode(schema)
    return effort.fanout(whole, whole.get("$defs", {})) > MOST
