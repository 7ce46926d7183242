"""Which methods exist in which revision, and the capability each belongs to; absence is the gate."""

from typing import Final

from mcp_server.protocol import revisions

_LEGACY: Final = frozenset(revisions.LEGACY)
_MODERN: Final = frozenset(revisions.MODERN)
_ALWAYS: Final = _LEGACY | _MODERN

REVISIONS_OF: Final = {
    "initialize": _LEGACY,
    "ping": _LEGACY,
    "logging/setLevel": _LEGACY,
    "resources/subscribe": _LEGACY,
    "resources/unsubscribe": _LEGACY,
    "server/discover": _MODERN,
    "subscriptions/listen": _MODERN,
    "tasks/get": _MODERN,
    "tasks/update": _MODERN,
    "tasks/cancel": _MODERN,
    "tools/list": _ALWAYS,
    "tools/call": _ALWAYS,
    "resources/list": _ALWAYS,
    "resources/templates/list": _ALWAYS,
    "resources/read": _ALWAYS,
    "prompts/list": _ALWAYS,
    "prompts/get": _ALWAYS,
    "completion/complete": _ALWAYS,
}
CAPABILITY_OF: Final = {
    "tools/list": "tools",
    "tools/call": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resources",
    "resources/read": "resources",
    "resources/subscribe": "resources.subscribe",
    "resources/unsubscribe": "resources.subscribe",
    "prompts/list": "prompts",
    "prompts/get": "prompts",
    "completion/complete": "completions",
    "logging/setLevel": "logging",
    "subscriptions/listen": "listen",
    "tasks/get": "tasks",
    "tasks/update": "tasks",
    "tasks/cancel": "tasks",
}
RUNS_HANDLER: Final = frozenset({"tools/call", "prompts/get", "resources/read", "completion/complete"})
"""Methods behind which an author's code runs, for as long as it likes."""
ASKS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Methods that may end in `input_required` (2026-07-28 basic/patterns/mrtr)."""


def available(revision: str, capabilities: frozenset[str]) -> frozenset[str]:
    """The methods that a revision has and whose capability the server advertises."""
    return frozenset(
        method
        for method, known_in in REVISIONS_OF.items()
        if revision in known_in and CAPABILITY_OF.get(method, method) in capabilities | {method}
    )
