"""Document loader: a file or an https address, its overlays and the files that it refers to → a `Source`.

What the document names is not the operator's word. Files are read below the document's folder only, after symbolic
links (`../../secret.yaml`), addresses only of its own origin or of hosts that are named (server-side request forgery),
and of both only so many bytes. What was not read is told where it is referred to; the rest is imported.
"""

import asyncio
import stat
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urlsplit
from urllib.request import url2pathname

import msgspec

from mcp_server.rest.document.files import overlay
from mcp_server.rest.document.files.reading import MAX_BYTES, Parsed, decode
from mcp_server.rest.document.files.references import Source, elsewhere
from mcp_server.rest.importing.snapshot import AWAY, MAX_FILES, TOO_MANY, DocumentFiles, Reading, digest
from mcp_server.rest.model import Fault, UnusableDocument, UpstreamFault
from mcp_server.route import LOOPBACK

Fetch = Callable[[str, int], Awaitable[bytes]]
"""The body of an address, of at most so many bytes, without following redirects; raises `UpstreamFault`."""


class _Refused(Exception):
    """A file was not read, and why."""


class Loading(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says of a document: its digest if it is pinned, hosts that it may refer to, overlays."""

    overlays: Sequence[str] = ()
    hosts: Collection[str] = ()
    sha256: str = ""
    max_bytes: int = MAX_BYTES


async def load(place: str, fetch: Fetch, loading: Loading | None = None) -> Source:
    """All files of the document at a path or an address; raises `UnusableDocument`."""
    loading = loading or Loading()
    location = _location(place)
    return await _Loader(location, _There(location, fetch, loading), loading).load()


async def replay(kept: DocumentFiles, loading: Loading | None = None) -> Source:
    """The same document of the bytes that were read before; raises `UnusableDocument`."""
    return await _Loader(kept.location, _Kept(kept), loading or Loading()).load()


async def look(place: str, fetch: Fetch, known: Iterable[str], loading: Loading | None = None) -> Reading:
    """The digests of these files of a document as they are now: nothing is decoded, and nothing raised.

    Of files that were refused, those that are `known` too are tried again.
    """
    loading, location = loading or Loading(), _location(place)
    there = _There(location, fetch, loading)
    named = {location, *map(_location, loading.overlays)}
    found = {}
    for one in known:
        try:
            data = await (there.named(one) if one in named else there.referred_to(one))
            found[one] = await asyncio.to_thread(digest, data)
        except _Refused:
            found[one] = AWAY
    return found


class _Files(Protocol):
    """Where the bytes of files come from; both raise `_Refused`."""

    async def named(self, location: str) -> bytes:
        """Those of a file that the operator names."""

    async def referred_to(self, location: str) -> bytes:
        """Those of a file that the document names."""


class _Loader:
    def __init__(self, location: str, files: _Files, loading: Loading) -> None:
        self._location, self._files, self._loading = location, files, loading
        self._raw: dict[str, bytes] = {}
        self._digests: dict[str, str] = {}

    async def load(self) -> Source:
        main = await self._named(self._location, self._loading.sha256)
        overlays = [await self._overlay(place, number) for number, place in enumerate(self._loading.overlays, 1)]
        main = await asyncio.to_thread(overlay.applied, main, overlays)
        files, refused = {self._location: main}, {}
        waiting = _externals(self._location, main)
        while waiting:
            location = waiting.pop()
            if location in files or location in refused:
                continue
            try:
                files[location] = await self._referred_to(location, len(files))
                waiting += _externals(location, files[location])
            except _Refused as why:
                refused[location] = str(why)
        return Source(
            location=self._location, files=files, refused=refused, digests=self._digests, raw=self._raw
        )  # fmt: skip

    async def _named(self, location: str, sha256: str = "") -> Parsed:
        """A file that the operator names: there is nothing to import without it."""
        try:
            data = self._noted(location, await self._files.named(location))
        except _Refused as why:
            raise UnusableDocument(Fault("", f"{why} ({location})")) from None
        found = self._digests[location]
        if sha256 and found != sha256.lower():
            raise UnusableDocument(Fault("", f"has the SHA-256 {found}, and {sha256} is expected"))
        return await self._decoded(data)

    async def _overlay(self, place: str, number: int) -> Parsed:
        """A fault of it is told as its own: who reads `document` looks for it in the wrong file."""
        location = _location(place)
        try:
            return await self._named(location)
        except UnusableDocument as error:
            pointer, said = error.fault.pointer, error.fault.text.removesuffix(f" ({location})")
            where = f"overlay {number}#{pointer}" if pointer else f"overlay {number}"
            raise UnusableDocument(Fault(where, f"{said} ({location})")) from None

    async def _referred_to(self, location: str, count: int) -> Parsed:
        if count >= MAX_FILES:
            raise _Refused(TOO_MANY)
        data = self._noted(location, await self._files.referred_to(location))
        try:
            return await self._decoded(data)
        except UnusableDocument as error:
            raise _Refused(error.fault.text) from None

    def _noted(self, location: str, data: bytes) -> bytes:
        self._raw[location], self._digests[location] = data, digest(data)
        return data

    async def _decoded(self, data: bytes) -> Parsed:
        return await asyncio.to_thread(decode, data)  # seconds, for the largest: calls go on meanwhile


class _Kept:
    """The files of a snapshot."""

    def __init__(self, kept: DocumentFiles) -> None:
        self._kept = kept

    async def named(self, location: str) -> bytes:
        found = self._kept.files.get(location)
        if found is None:
            raise _Refused(self._kept.refused.get(location, "it was not read"))
        return found

    referred_to = named


class _There:
    """Files where they lie: on this machine, or at an address."""

    def __init__(self, location: str, fetch: Fetch, loading: Loading) -> None:
        self._location, self._fetch, self._loading = location, fetch, loading
        self._left = loading.max_bytes
        self._folder = None if _is_address(location) else _path(location).parent.resolve()

    async def referred_to(self, location: str) -> bytes:
        self._permit(location)
        return await self.named(location)

    def _permit(self, location: str) -> None:
        parts = _split(location)
        if parts.scheme in ("https", "http"):
            own = _split(self._location)
            if (parts.scheme, parts.netloc) == (own.scheme, own.netloc):
                return
            if parts.scheme != "https" or parts.hostname not in self._loading.hosts:
                raise _Refused("its host is not one that the document may refer to")
        elif parts.scheme != "file" or self._folder is None or parts.netloc:
            raise _Refused("it is neither beside the document nor an https address")
        elif not _real(_path(location)).is_relative_to(self._folder):
            raise _Refused("it is not below the document's folder")

    async def named(self, location: str) -> bytes:
        if _is_address(location):
            data = await self._fetched(location)
        else:
            data = await asyncio.to_thread(_read, _real(_path(location)), self._left)
        if len(data) > self._left:
            raise _Refused(f"all files of the document have more than {self._loading.max_bytes} bytes")
        self._left -= len(data)
        return data

    async def _fetched(self, location: str) -> bytes:
        parts = _split(location)
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise _Refused("an address must be https")
        try:
            return await self._fetch(location, self._left)
        except UpstreamFault as fault:
            raise _Refused(f"could not be fetched: {fault.text}") from None
        except ValueError:  # a port that is none
            raise _Refused("it is no address") from None


def _externals(location: str, parsed: Parsed) -> list[str]:
    return sorted({elsewhere(location, ref) for ref in parsed.externals})


def _is_address(place: str) -> bool:
    return place.startswith(("https://", "http://"))


def _location(place: str) -> str:
    return place if _is_address(place) else Path(place).absolute().as_uri()


def _split(location: str) -> SplitResult:
    try:
        return urlsplit(location)
    except ValueError:
        raise _Refused("it is no address") from None


def _path(location: str) -> Path:
    return Path(url2pathname(urlsplit(location).path))


def _real(path: Path) -> Path:
    """Where a path leads when all symbolic links are followed, which is what is read."""
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # not there, a circle of links, a NUL
        raise _Refused("there is no such file") from None


def _read(path: Path, most: int) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a device or a pipe has no end
            raise _Refused("it is no file")
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise _Refused(f"it cannot be read: {error.strerror}") from None
