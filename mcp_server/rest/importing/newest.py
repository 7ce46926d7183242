"""The newest document of one API: whether it is another than the one that is served, by digest, and read to its end.

A file is seen while somebody writes it, and half of a document is often a document. So another one is taken, or called
broken, only when two looks one after another have seen the same.
"""

import asyncio
from typing import Final

import msgspec

from mcp_server.rest.document import Source
from mcp_server.rest.importing import loader
from mcp_server.rest.importing.loader import Fetch, Loading
from mcp_server.rest.importing.snapshot import Reading, reading
from mcp_server.rest.model import Fault, UnusableDocument

MOST_UNSETTLED: Final = 5


class Unsettled(Exception):
    """Somebody is writing it: the next look will tell."""


class Seen(msgspec.Struct, frozen=True):
    """The files of a version, and which of them were not read."""

    files: Reading
    refused: frozenset[str]


class RejectedVersion(msgspec.Struct, frozen=True):
    """A version of the document that cannot be used, and why."""

    seen: Reading
    fault: Fault


class NewestDocument:
    """Looks at the files of one document, whose `served` version it is told first."""

    def __init__(self, place: str, fetch: Fetch, loading: Loading, settle_s: float) -> None:
        self._place, self._fetch, self._loading, self._settle_s = place, fetch, loading, settle_s
        self._served = self._found = Seen({}, frozenset())
        self._broken: RejectedVersion | None = None
        self._unsettled = 0

    def serve(self, source: Source) -> None:
        """Note the version that is served."""
        self._served = self._found = _seen(source)

    async def other(self) -> Source | None:
        """Another document than the one that is served, None where there is none.

        Raises `UnusableDocument` for one that cannot be used, of which nothing is decoded twice, and `Unsettled`.
        """
        if self._broken is not None and await self._look(self._broken.seen) == self._broken.seen:
            raise UnusableDocument(self._broken.fault)
        seen = await self._look(self._served.files)
        if seen == self._served.files:
            self._broken, self._unsettled = None, 0
            return None
        await self._settled(seen)
        try:
            source = await loader.load(self._place, self._fetch, self._loading)
        except UnusableDocument as error:
            self._found = Seen(seen, frozenset())
            self.refuse(error.fault)
            raise
        self._found = _seen(source)
        if self._found.files.keys() - seen.keys():  # it refers to more files than the one before
            await self._settled(self._found.files)
        self._unsettled = 0
        self._require_all(source)
        return source

    def take(self) -> None:
        """What was found last is served now."""
        self._served, self._broken = self._found, None

    def refuse(self, fault: Fault) -> None:
        """What was found last cannot be used: the same again needs no reading."""
        self._broken = RejectedVersion(self._found.files, fault)

    async def _look(self, known: Reading) -> Reading:
        return await loader.look(self._place, self._fetch, known, self._loading)

    async def _settled(self, seen: Reading) -> None:
        await asyncio.sleep(self._settle_s)
        if await self._look(seen) == seen:
            return
        self._unsettled += 1
        if self._unsettled >= MOST_UNSETTLED:
            raise UnusableDocument(Fault("", "is another one each time it is read"))
        raise Unsettled

    def _require_all(self, source: Source) -> None:
        """A part that was read before and cannot be now is away, as a document may be: its operations are not gone."""
        for location, why in source.refused.items():
            if location in self._served.files and location not in self._served.refused:
                self.refuse(fault := Fault(location, why))
                raise UnusableDocument(fault)


def _seen(source: Source) -> Seen:
    return Seen(reading(source), frozenset(source.refused))
