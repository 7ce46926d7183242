"""The revisions spoken, their era and the negotiation of each (2026-07-28 basic/versioning; 2025-11-25 lifecycle).

The two lists are disjoint on purpose: `initialize` negotiates only legacy revisions, the per-request envelope only
modern ones.
"""

from typing import Final

LATEST: Final = "2026-07-28"
MODERN: Final = (LATEST,)
MODERN_SET: Final = frozenset(MODERN)

LEGACY: Final = ("2025-11-25", "2025-06-18", "2025-03-26")
LEGACY_SET: Final = frozenset(LEGACY)
NEWEST_LEGACY: Final = LEGACY[0]
BATCHING: Final = "2025-03-26"
"""The only revision with JSON-RPC batches, and the one assumed where nothing names another."""


def negotiate(requested: str) -> str:
    """The legacy revision to answer `initialize` with: the requested one if served, else our newest."""
    return requested if requested in LEGACY_SET else NEWEST_LEGACY


def has_structured_output(revision: str) -> bool:
    """Whether tools of this revision have an output schema and structured results."""
    return revision != "2025-03-26"


def reports_argument_errors_as_results(revision: str) -> bool:
    """Whether bad tool arguments are an `isError` result (from 2025-11-25 on) and not -32602."""
    return revision >= "2025-11-25"


def has_icons(revision: str) -> bool:
    """Whether lists of this revision have icons."""
    return revision >= "2025-11-25"


def primes_streams(revision: str) -> bool:
    """Whether a stream opens with an event without data (2025-11-25 transports §Resumability)."""
    return revision == "2025-11-25"


def elicits(revision: str) -> bool:
    """Whether a server may ask the user something: elicitation came with 2025-06-18."""
    return revision != "2025-03-26"
