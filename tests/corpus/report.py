"""The job's report: documents, operations, tools, calls, what was refused by kind, seconds, bytes."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

from tests.corpus.job import Result

MOST = 40


def lines(results: list[Result], why: dict[str, str]) -> Iterator[str]:
    """As a person reads it; `why` has for each refused document what another validator says of it."""
    total: Counter[str] = Counter()
    for one in results:
        total += Counter(
            documents=1,
            bytes=one.size,
            operations=one.counted.operations,
            tools=one.counted.tools,
            checked=one.calls.checked,
            no_value=one.calls.no_value,
            unreadable=one.calls.unreadable,
        )
    seconds = sum(one.seconds for one in results)
    yield f"documents {total['documents']}, {total['bytes'] / 1e6:.0f} MB, imported in {seconds:.0f} s of one core"
    yield f"operations {total['operations']}, tools {total['tools']}"
    yield (
        f"calls read on the wire by another reader of the document: {total['checked']}; "
        f"without a value for the schema {total['no_value']}, not told by the document {total['unreadable']}"
    )
    yield from _listed("calls that did not arrive as meant", _each(results, lambda one: one.calls.wrong))
    yield from _listed("rules broken", _each(results, lambda one: one.broken))
    yield from _listed("unhandled errors", [f"{one.name}: {one.crashed}" for one in results if one.crashed])
    yield from _listed(
        "documents refused", [f"{one.name}: {one.refused}; {why[one.name]}" for one in results if one.refused]
    )
    kinds = Counter(kind(fault) for one in results for fault in one.faults)
    yield f"operations and places refused: {kinds.total()}"
    yield from (f"  {count:6} {name}" for name, count in kinds.most_common(MOST))
    slowest = sorted(results, key=lambda one: -one.seconds)[:10]
    yield "slowest"
    yield from (
        f"  {one.seconds:6.2f} s  {one.size / 1e6:5.1f} MB  {one.counted.operations:5} operations  {one.name}"
        for one in slowest
    )


def kind(fault: str) -> str:
    """A fault without what is of its document alone."""
    text = fault.partition(": ")[2].partition(": ")[2] or fault.partition(": ")[2]
    text = re.sub(r"'[^']*'|\"[^\"]*\"|\{[^}]*\}|[/#]\S+|\d+", "…", text)
    return text[:90]


def opinion(data: bytes) -> str:
    """What openapi-spec-validator says of a document that was refused."""
    try:
        document = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        return f"no JSON either: {error}"
    validator: Any = OpenAPIV31SpecValidator
    if isinstance(document, dict) and "swagger" in document:
        validator = OpenAPIV2SpecValidator
    elif isinstance(document, dict) and str(document.get("openapi", "")).startswith("3.0"):
        validator = OpenAPIV30SpecValidator
    try:
        first = next(validator(document).iter_errors(), None)
    except Exception as raised:  # noqa: BLE001 - what it makes of a broken document is its own affair
        return f"the validator ends with {type(raised).__name__}"
    return f"the validator agrees: {first.message[:120]}" if first else "the validator finds nothing wrong"


def _each(results: Iterable[Result], of: Any) -> list[str]:
    return [f"{one.name}: {text}" for one in results for text in of(one)]


def _listed(what: str, found: list[str]) -> Iterator[str]:
    yield f"{what}: {len(found)}"
    yield from (f"  {one}" for one in found[:MOST])
