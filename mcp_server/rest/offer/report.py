"""The report of an import: what came of each document, for `mcp-server check` and the log of a start."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from mcp_server.rest.model import Fault
from mcp_server.rest.offer import budget, words


class Rename(msgspec.Struct, frozen=True):
    """An operation whose tool has another name than its id, or than the path would give it."""

    operation: str
    tool: str


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many operations a document has, how many of them are tools, and what these cost in a list.

    `pinned` are those that stand beside the search tools.
    """

    operations: int
    tools: int
    left_out: int
    tokens: int
    pinned: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one document. `refused` could not be offered, `remarks` are of what could be, with less."""

    api: str
    count: Count
    refused: tuple[Fault, ...]
    remarks: tuple[Fault, ...]
    renames: tuple[Rename, ...]
    cost: Mapping[str, int]
    scopes: Mapping[str, tuple[tuple[str, ...], ...]]
    """Tool → the alternatives it needs; empty ones are the server's default scopes, none at all is public."""
    unmapped: tuple[str, ...] = ()
    search: bool = False


def lines(reports: Iterable[Report]) -> Iterator[str]:
    """The report as a person reads it."""
    for one in reports:
        count = one.count
        listed = "search tools" if one.search else "the whole list"
        listed += f" and {count.pinned} pinned" if count.pinned else ""
        yield (
            f"{one.api}: {count.operations} operations, {count.tools} tools, {count.left_out} not selected, "
            f"{len(one.refused)} refused; ≈ {count.tokens} tokens, shown as {listed}"
        )
        yield from (f"  refused {_fault(fault)}" for fault in one.refused)
        yield from (f"  remark {_fault(fault)}" for fault in one.remarks)
        yield from (f"  renamed {words.line(rename.operation)} → {rename.tool}" for rename in one.renames)
        yield from (f"  ≈ {cost} tokens: {name}" for name, cost in budget.heaviest(one.cost))
        yield from (f"  scopes {name}: {_needs(needs)}" for name, needs in one.scopes.items())
        if one.unmapped:
            yield f"  without a translation: {words.line(', '.join(one.unmapped))}"


def _fault(fault: Fault) -> str:
    return f"{words.line(fault.pointer) or 'document'}: {words.line(fault.text)}"


def _needs(alternatives: tuple[tuple[str, ...], ...]) -> str:
    if not alternatives:
        return "public"
    return " or ".join(" ".join(scopes) or "the default scopes" for scopes in alternatives)
