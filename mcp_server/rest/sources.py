"""Document loader: a file or an https address, its overlays and the files that it refers to → a `Source`.

What the document names is not the operator's word. Files are read below the document's folder only, after symbolic
links (`../../secret.yaml`), addresses only of its own origin or of hosts that are named (server-side request forgery),
and of both only so many bytes. What was not read is told where it is referred to; the rest is imported.
"""

import asyncio
import hashlib
import stat
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit
from urllib.request import url2pathname

import msgspec

from mcp_server.rest.document.files import overlay
from mcp_server.rest.document.files.reading import MAX_BYTES, Parsed, decode
from mcp_server.rest.document.files.references import Source, elsewhere
from mcp_server.rest.model import Fault, UnusableDocument, UpstreamFault

Fetch = Callable[[str, int], Awaitable[bytes]]
"""The body of an address, of at most so many bytes, without following redirects; raises `UpstreamFault`."""
MAX_FILES: Final = 500
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


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
    loader = _Loader(place, fetch, loading or Loading())
    return await loader.load()


class _Loader:
    def __init__(self, place: str, fetch: Fetch, loading: Loading) -> None:
        self._fetch, self._loading = fetch, loading
        self._left = loading.max_bytes
        self._location = _location(place)
        self._folder = None if _is_address(place) else Path(place).absolute().parent.resolve()
        self._digests: dict[str, str] = {}

    async def load(self) -> Source:
        main = await self._named(self._location, self._loading.sha256)
        overlays = [await self._named(_location(place)) for place in self._loading.overlays]
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
        return Source(location=self._location, files=files, refused=refused, digests=self._digests)

    async def _named(self, location: str, sha256: str = "") -> Parsed:
        """A file that the operator names: there is nothing to import without it."""
        try:
            data = await self._bytes(location)
        except _Refused as why:
            raise UnusableDocument(Fault("", f"{why} ({location})")) from None
        digest = self._digests[location] = hashlib.sha256(data).hexdigest()
        if sha256 and digest != sha256.lower():
            raise UnusableDocument(Fault("", f"has the SHA-256 {digest}, and {sha256} is expected"))
        return await self._decoded(data)

    async def _referred_to(self, location: str, count: int) -> Parsed:
        if count >= MAX_FILES:
            raise _Refused(f"the document has more than {MAX_FILES} files")
        self._permit(location)
        data = await self._bytes(location)
        self._digests[location] = hashlib.sha256(data).hexdigest()
        try:
            return await self._decoded(data)
        except UnusableDocument as error:
            raise _Refused(error.fault.text) from None

    async def _decoded(self, data: bytes) -> Parsed:
        return await asyncio.to_thread(decode, data)  # seconds, for the largest: calls go on meanwhile

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

    async def _bytes(self, location: str) -> bytes:
        if _is_address(location):
            parts = _split(location)
            if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
                raise _Refused("an address must be https")
            try:
                data = await self._fetch(location, self._left)
            except UpstreamFault as fault:
                raise _Refused(f"could not be fetched: {fault.text}") from None
            except ValueError:  # a port that is none
                raise _Refused("it is no address") from None
        else:
            data = await asyncio.to_thread(_read, _real(_path(location)), self._left)
        if len(data) > self._left:
            raise _Refused(f"all files of the document have more than {self._loading.max_bytes} bytes")
        self._left -= len(data)
        return data


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
