"""The body of an answer that is no JSON, as content of a tool's result: text, pictures, sound, bytes; endless types."""

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

import msgspec

from mcp_server.protocol.types.content import (
    AudioContent,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceContents,
    ResourceLink,
    TextContent,
)
from mcp_server.rest.model import WireAnswer

MAX_BLOB: Final = 256 * 1024
_TEXTS: Final = re.compile(
    r"text/.*|application/(?:[\w.-]+\+)?(?:xml|yaml|x-yaml|csv|javascript|x-www-form-urlencoded|graphql|toml|sql)"
)
_CHARSETS: Final = re.compile(
    r"utf-?(?:8|16|32)(?:-?[lb]e)?|(?:us-)?ascii|latin-?1|iso-?8859-(?:[1-9]|1[013-6])|(?:windows-|cp)125[0-8]"
    r"|shift_jis|euc-(?:jp|kr)|gb(?:k|2312|18030)|big5|koi8-[ru]"
)
MAX_STREAM: Final = 1024 * 1024
"""Bytes of an endless type that are read: each item of it costs as much as a whole small answer."""
MAX_ITEMS: Final = 10_000
"""Items that are read of a part, or of an endless type: an API may write half a million within `MAX_STREAM`."""
_STREAMS: Final = frozenset(
    [
        "text/event-stream",
        "application/x-ndjson",
        "application/jsonl",
        "application/json-lines",
        "application/json-seq",
        "application/x-jsonlines",
        "application/stream+json",
        "application/ndjson",
        "application/x-json-stream",
    ]
)
_BETWEEN_EVENTS: Final = re.compile(r"\r\n\r\n|\n\n|\r\r")
_BETWEEN_LINES: Final = re.compile(r"[\n\x1e][\r\n\x1e]*+")
_value: Final = json.JSONDecoder(strict=False).raw_decode
_BLANK: Final = re.compile(r"[ \t\r\n]*")
_TAG: Final = re.compile(r"<(/?)([a-z][a-z0-9]*)")
_SKIPPED: Final = frozenset({"script", "style", "head", "template", "noscript", "svg"})
_BLOCKS: Final = frozenset(
    [
        "p",
        "div",
        "br",
        "li",
        "tr",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "section",
        "article",
        "table",
        "ul",
        "ol",
        "pre",
        "blockquote",
    ]
)


def type_of(headers: Mapping[str, str]) -> str:
    """The type without its parameters, in small letters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def media_type(answer: WireAnswer) -> str:
    """The type of an answer."""
    return type_of(answer.headers)


def is_json(kind: str) -> bool:
    """Whether it is JSON (RFC 6839 §3.1)."""
    return kind in ("application/json", "text/json") or kind.endswith("+json")


def is_stream(kind: str) -> bool:
    """Whether items follow one another, for as long as it pleases the API."""
    return kind in _STREAMS


def is_text(kind: str) -> bool:
    """Whether people can read it."""
    return _TEXTS.fullmatch(kind) is not None or kind.endswith(("+xml", "+yaml"))


def text(answer: WireAnswer, room: int) -> tuple[str, str]:
    """A text of at most `room` bytes, and what is to be said of what it lacks; markup of HTML is taken away."""
    kind, body = media_type(answer), answer.body
    whole = decoded(answer, body)
    if kind.endswith("html"):
        whole = _stripped(whole)
    if kind == "text/csv" and (answer.cut or len(whole.encode()) > room):
        return _lines(whole, room, cut=answer.cut)
    shown = whole.encode()[:room].decode("utf-8", "ignore")
    if len(shown) < len(whole):
        return shown, f"cut: {len(shown)} of {len(whole)} characters are shown"
    return shown, "cut: the answer was longer than is read" if answer.cut else ""


def decoded(answer: WireAnswer, body: bytes) -> str:
    """A body as text in the encoding that it states, else UTF-8; what is not in it is marked."""
    found = re.search(r"charset\s*=\s*\"?([\w.:-]{1,40})", answer.headers.get("content-type", ""), re.IGNORECASE)
    stated = found[1].lower() if found else ""
    # Not any codec that Python has: some take time that grows with the square of their text.
    return body.decode(stated if _CHARSETS.fullmatch(stated) else "utf-8", "replace").removeprefix("\ufeff")


def items(answer: WireAnswer) -> tuple[bytes, bool]:
    """The items of an endless type that came in time, as a JSON array, and whether there were more.

    What is no JSON is a text in it.
    """
    pieces, cut = _pieces(answer)
    return b"[" + b",".join(_item(piece) for piece in _said(answer, pieces)) + b"]", cut


def begun(answer: WireAnswer) -> bytes | None:
    """The whole items of JSON that was cut, as a JSON array: those of a list, or one object after the other.

    The second is how APIs write events as `application/json` (a watch of Kubernetes). None where nothing is whole.
    """
    found = [_item(piece) for piece in islice(_whole(answer), MAX_ITEMS)]
    return b"[" + b",".join(found) + b"]" if found else None


def of_use(answer: WireAnswer) -> bool:
    """Whether what came of an answer that has not ended says something without the rest: one item that is whole does.

    Where its length was told, it is no endless one: the API is slow, and that is a fault.
    """
    kind = media_type(answer)
    if is_stream(kind):
        return next(_said(answer, _pieces(answer)[0]), None) is not None
    if "content-length" in answer.headers:
        return False
    if is_json(kind) or not kind:
        return next(_whole(answer), None) is not None
    return is_text(kind) and bool(answer.body.strip())


def block(answer: WireAnswer, uri: str, link: str) -> tuple[ContentBlock | None, str]:
    """Bytes as a block, and what is to be said of them; no block where they are too large and no `link` leads there."""
    kind, size = media_type(answer) or "application/octet-stream", len(answer.body)
    what = f"{'more than ' if answer.cut else ''}{size:,} bytes of {kind}"
    if answer.cut or size > MAX_BLOB:
        if link:
            return ResourceLink(uri=link, name=link.rpartition("/")[2], mime_type=kind), what
        return None, f"{what}: more than the {MAX_BLOB:,} that a tool may answer with"
    data = base64.b64encode(answer.body).decode("ascii")
    if kind.startswith("image/"):
        return ImageContent(data, kind), what
    if kind.startswith("audio/"):
        return AudioContent(data, kind), what
    return EmbeddedResource(ResourceContents(uri, blob=data, mime_type=kind)), what


def as_text(said: str) -> TextContent:
    """A text as a block, without what no JSON can carry."""
    return TextContent(said.encode("utf-8", "replace").decode())


def _lines(whole: str, room: int, *, cut: bool) -> tuple[str, str]:
    """Whole lines of a table, its head among them; of a `cut` one the last is none."""
    lines = whole.splitlines(keepends=True)
    if cut and lines and not whole.endswith("\n"):
        lines.pop()
    kept, size = 0, 0
    for line in lines:
        size += len(line.encode())
        if size > room:
            break
        kept += 1
    of = f"{'more than ' if cut else ''}{len(lines)}"
    return "".join(lines[:kept]), f"cut: {kept} of {of} lines are shown"


def _pieces(answer: WireAnswer) -> tuple[list[str], bool]:
    """An endless type in pieces that are whole, and whether there were more: at most `MAX_ITEMS`, others among them."""
    between = _BETWEEN_EVENTS if media_type(answer) == "text/event-stream" else _BETWEEN_LINES
    pieces = between.split(decoded(answer, answer.body[:MAX_STREAM]), maxsplit=MAX_ITEMS)
    cut = answer.cut or len(answer.body) > MAX_STREAM
    if cut or len(pieces) > MAX_ITEMS:
        cut |= bool(pieces.pop().strip())  # half an item, or nothing
    return pieces, cut


def _said(answer: WireAnswer, pieces: list[str]) -> Iterator[str]:
    """The pieces that say something."""
    found = _data(pieces) if media_type(answer) == "text/event-stream" else pieces
    return (piece for piece in found if piece.strip())


def _whole(answer: WireAnswer) -> Iterator[str]:
    """The values one after the other that are whole; of a list those with a comma behind them: others may go on."""
    text = decoded(answer, answer.body[:MAX_STREAM]).lstrip()
    inside = text[:1] == "["
    at = 1 if inside else 0
    while True:
        at = _BLANK.match(text, at).end()  # type: ignore[union-attr]
        try:
            _, end = _value(text, at) if inside or text[at : at + 1] == "{" else (None, at)
        except (ValueError, RecursionError):
            return
        after = _BLANK.match(text, end).end()  # type: ignore[union-attr]
        if end == at or (inside and text[after : after + 1] not in (",", "]")):
            return
        yield text[at:end]
        at = after + 1 if inside else after


def _item(piece: str) -> bytes:
    try:
        return msgspec.json.format(piece.strip().encode("utf-8", "replace"), indent=-1)
    except (msgspec.DecodeError, RecursionError):
        return msgspec.json.encode(piece.strip())


def _data(events: Iterable[str]) -> Iterator[str]:
    """The data of server-sent events (HTML §9.2.6), without comments and fields that say nothing to a model."""
    for event in events:
        lines = [line[5:].removeprefix(" ") for line in event.splitlines() if line.startswith("data:")]
        if lines:
            yield "\n".join(lines)


def _stripped(page: str) -> str:
    """The words of a page: each mark of it is looked at once, for a page may be made of nothing but beginnings."""
    said: list[str] = []
    page, at = page[:MAX_BLOB], 0
    small = page.lower()
    while (start := page.find("<", at)) >= 0:
        said.append(page[at:start])
        found = _TAG.match(small, start)
        if small.startswith("<!", start):
            at = _after(small, "-->" if small.startswith("<!--", start) else ">", start)
        elif found is None:
            said.append("<")
            at = start + 1
        elif not found[1] and found[2] in _SKIPPED:
            at = max(_after(small, f"</{found[2]}", start) - len(found[2]) - 2, start + 1)
        else:
            said.append("\n" if found[2] in _BLOCKS else " ")
            at = _after(small, ">", start)
    said.append(page[at:])
    lines = (" ".join(line.split()) for line in html.unescape("".join(said)).split("\n"))
    return "\n".join(line for line in lines if line)


def _after(text: str, end: str, start: int) -> int:
    """Behind the next `end`; the end of all where there is none: what nothing ends is no text."""
    found = text.find(end, start + 1)
    return len(text) if found < 0 else found + len(end)
