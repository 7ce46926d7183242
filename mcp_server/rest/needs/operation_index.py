"""The operations of a document, found by what a hand-written call asks for: so it takes no more than it needs.

All of them, whether they are offered as tools or not: `include` and `exclude` say what a model sees, and nothing of
what the API asks.
"""

import functools
import itertools
import re
from collections.abc import Iterator
from urllib.parse import unquote

import msgspec

from mcp_server.rest.model import Operation
from mcp_server.rest.offer import plan
from mcp_server.rest.offer.config import Identity
from mcp_server.rest.offer.offered import Offered
from mcp_server.rest.offer.security import Needs


class OperationAccess(msgspec.Struct, frozen=True):
    """What a call of an operation needs, and as whom it is made."""

    needs: Needs
    identity: Identity

    @property
    def asked(self) -> frozenset[str]:
        """The scopes that a token for it may be asked for."""
        stated = self.identity.scopes
        return frozenset[str]().union(*self.needs.api_scopes) if stated is None else stated


class OperationIndex:
    """The operations of an API by method and path; nothing is made of them before a handler asks, for few do."""

    def __init__(self, offered: Offered | None = None) -> None:
        self._offered = offered

    def find(self, method: str, path: str) -> OperationAccess | None:
        """The operation that a call is; None of a path that the document does not have."""
        return next(self._exactly(method, path), None)

    def alike(self, method: str, path: str) -> Iterator[OperationAccess]:
        """The operations that an API, or a gateway before it, may take a call for: `find`, and more generously read."""
        yield from self._exactly(method, path)
        for asked in _read_as(method):
            for read in _generously(_below(path)):
                if (found := next((one for one in self._near(asked, read) if one.is_alike(read)), None)) is not None:
                    yield found.known

    def _exactly(self, method: str, path: str) -> Iterator[OperationAccess]:
        path = _decoded(_below(path))
        for asked in _read_as(method):
            if (found := next((one for one in self._near(asked, path) if one.matches(path)), None)) is not None:
                yield found.known

    def _near(self, method: str, path: str) -> list["_Operation"]:
        """Those that a path may be one of, `/orders/mine` before `/orders/{id}`: few, where there are thousands."""
        begins = path.casefold().split("/")
        there = self._by_place.get((method.lower(), len(begins)), {})
        ends = range(1, len(begins) + 1) if there else ()  # else who writes many slashes has as many looked for
        found = [one for end in ends for one in there.get(tuple(begins[:end]), ())]
        return sorted(found, key=lambda one: one.turn)

    def __bool__(self) -> bool:
        return self._offered is not None and bool(self._offered.document.operations)

    @functools.cached_property
    def scopes(self) -> frozenset[str]:
        """Every scope that the document names, for whichever operation, or says of its schemes."""
        if self._offered is None:
            return frozenset()
        document = self._offered.document
        required = (roles for one in document.operations for way in one.security or () for roles in way.values())
        return frozenset(scope for roles in required for text in roles for scope in text.split()).union(
            *(scheme.scopes for scheme in document.schemes.values())
        )

    @functools.cached_property
    def _by_place(self) -> dict[tuple[str, int], dict[tuple[str, ...], list["_Operation"]]]:
        """By method and number of segments, and by those before the first variable."""
        found: dict[tuple[str, int], dict[tuple[str, ...], list[_Operation]]] = {}
        if self._offered is None:
            return found
        in_turn = sorted(self._offered.document.operations, key=lambda one: one.path.count("{"))
        for turn, one in enumerate(in_turn):
            segments = _decoded("/" + one.path.strip("/")).casefold().split("/")
            begins = tuple(itertools.takewhile(lambda segment: "{" not in segment, segments))
            there = found.setdefault((one.method.lower(), len(segments)), {})
            there.setdefault(begins, []).append(_Operation(one, self._offered, turn))
        return found


class _Operation:
    """One operation; what is asked of it is made when it is first looked at."""

    def __init__(self, operation: Operation, offered: Offered, turn: int) -> None:
        self._operation, self._offered, self.turn = operation, offered, turn

    def matches(self, path: str) -> bool:
        """Whether a path is one of it."""
        return _fit(self._segments, path)

    def is_alike(self, path: str) -> bool:
        """The same, whatever the case of letters: ASP.NET and Express have it so."""
        return _fit(self._folded, path.casefold())

    @functools.cached_property
    def _segments(self) -> list[list[str]]:
        """The texts around the variables of each segment."""
        first, *others = re.split(r"\{[^{}]*\}", _decoded("/" + self._operation.path.strip("/")))
        segments = [[text] for text in first.split("/")]
        for text, *more in (piece.split("/") for piece in others):
            segments[-1].append(text)
            segments += [[one] for one in more]
        return segments

    @functools.cached_property
    def _folded(self) -> list[list[str]]:
        return [[text.casefold() for text in segment] for segment in self._segments]

    @functools.cached_property
    def known(self) -> OperationAccess:
        """What it needs, selected or not."""
        return OperationAccess(*plan.asked(self._operation, self._offered.document, self._offered.config))


def _read_as(method: str) -> tuple[str, ...]:
    """The methods that an API may take a call for: a HEAD is a GET whose content is left out (RFC 9110 §9.3.2)."""
    return ("HEAD", "GET") if method.upper() == "HEAD" else (method,)


def _fit(segments: list[list[str]], path: str) -> bool:
    parts = path.split("/")
    return len(parts) == len(segments) and all(map(_fits, segments, parts))


def _fits(texts: list[str], segment: str) -> bool:
    """Whether these texts stand there in turn, with something between each two: in one pass.

    A regex tries all places of all variables: a caller's dots in `{z}.{x}.{y}.png` would hold the loop for hours.
    """
    first, *others = texts
    if not others:
        return segment == first
    at = len(first) if segment.startswith(first) else -1
    for text in others[:-1]:
        found = segment.find(text, at + 1) if at >= 0 else -1
        at = found + len(text) if found >= 0 else -1
    return at >= 0 and len(segment) > at + len(others[-1]) and segment.endswith(others[-1])


def _below(path: str) -> str:
    return "/" + path.partition("?")[0].partition("#")[0].strip("/")


def _generously(path: str) -> dict[str, None]:
    """A path as it may be read behind a gateway: `/orders/export%2F`, `/orders/export%3Ba`, and `/orders/export.json`.

    nginx decodes an address that it rewrites, and makes one slash of several; Java's containers leave out what follows
    a semicolon, Rails takes an extension for a format.
    """
    whole = "/" + re.sub("/+", "/", re.sub(";[^/]*", "", unquote(path))).strip("/")
    return dict.fromkeys((whole, re.sub(r"(?<=[^/])\.[^/.]*$", "", whole)))


def _decoded(path: str) -> str:
    """A path as an API reads it (RFC 3986 §6.2.2.2): `/orders/%65xport` is no `/orders/{id}`; a slash stays encoded."""
    return unquote(re.sub("%2f", "%252F", path, flags=re.IGNORECASE))


def untaken(offered: Offered) -> Iterator[OperationAccess]:
    """What calls of handlers may need beside those of tools: the operations that are none."""
    taken = {id(one.operation) for one in offered.offers}
    for one in offered.document.operations:
        if id(one) not in taken:
            yield OperationAccess(*plan.asked(one, offered.document, offered.config))
