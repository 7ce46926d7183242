"""Which methods exist in which revision, and the capability each belongs to; absence is the gate."""

from typing import Final

from mcp_server.protocol import revisions

_EVERY_LEGACY: Final = frozenset(revisions.LEGACY)
_MODERN: Final = frozenset(revisions.MODERN)
_ALWAYS: Final = _EVERY_LEGACY | _MODERN

REVISIONS_OF: Final = {
    "initialize": _EVERY_LEGACY,
    "ping": _EVERY_LEGACY,
    "server/discover": _MODERN,
    "tools/list": _ALWAYS,
    "tools/call": _ALWAYS,
}
CAPABILITY_OF: Final = {"tools/list": "tools", "tools/call": "tools"}


def exists(method: str, revision: str, capabilities: frozenset[str]) -> bool:
    """Whether the revision has the method and the server advertises what it belongs to."""
    if revision not in REVISIONS_OF.get(method, frozenset()):
        return False
    capability = CAPABILITY_OF.get(method)
    return capability is None or capability in capabilities
