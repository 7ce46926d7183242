"""An API's answer → a tool's result. Clients show a model either the text or the structure, so both say everything.

Every status and media type has its row in `result`: data always reaches the model, an error tells it what to change.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from mcp_server.protocol.types.content import ContentBlock, TextContent
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.rest.model import WireAnswer
from mcp_server.rest.wire import cuts, masks, media, pages, problems
from mcp_server.rest.wire.cuts import Cut
from mcp_server.rest.wire.pages import Paging

FIRST: Final = 200
"""Characters of an answer that is not what was promised."""
NOTE: Final = 640
"""Bytes that are kept free for the note of a cut."""
MAX_NOTED: Final = 320
"""Bytes of arguments that are told whole."""
MAX_AT: Final = 60
QUICK: Final = 256 * 1024
"""Bytes of an answer that are read where they are; a larger one in a thread."""
QUICK_ITEMS: Final = 16 * 1024
"""The same of a part, or of an endless type: each item is read by itself."""
QUICK_PARTS: Final = 32_000
"""Commas, of what is short enough: 130,000 items of one digit take as long as megabytes of objects."""
_encode = msgspec.json.Encoder().encode
_format = msgspec.json.format


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an operation's answers before one comes.

    `json` is whether the document says JSON; `structured` whether the tool promises a structure, which is an object
    then. `violation` tells where JSON breaks what is promised, empty where it keeps to it. `uri` names what comes as
    bytes.
    """

    json: bool = True
    structured: bool = False
    violation: Callable[[bytes], str] | None = None
    max_bytes: int = cuts.budget(8_000)
    paging: Paging | None = None
    uri: str = "api:answer"


class Asked(msgspec.Struct, frozen=True):
    """What was asked: the address, and the arguments as the model gave them; `link` is the resource that this is."""

    url: str
    arguments: Mapping[str, Any]
    link: str = ""


def result(answer: WireAnswer, expected: Expected, asked: Asked) -> CallToolResult:
    """What the model gets of an answer."""
    if not 200 <= answer.status < 300:
        return failed(problems.problem(answer, asked.url))
    if not answer.body:
        return _said(f"Done ({answer.status}).", expected)
    kind = media.media_type(answer)
    if media.is_stream(kind):
        found_items, cut = media.items(answer)
        return _structured(found_items, msgspec.structs.replace(answer, cut=cut), expected, asked)
    if media.is_json(kind) or expected.json or (not kind and answer.body.lstrip()[:1] in (b"{", b"[")):
        found = _compact(answer)
        if found is not None:
            return _structured(found, answer, expected, asked)
        if media.is_json(kind) or not kind or media.is_text(kind):
            return _broken(masks.without_host(answer, asked.url), kind)
    if media.is_text(kind):
        return _text(answer, expected)
    return _bytes(answer, expected, asked.link)


def is_quick(answer: WireAnswer) -> bool:
    """Whether `result` keeps the loop, and everybody with it, for no longer than a thread would cost."""
    of_items = answer.cut or media.is_stream(media.media_type(answer))
    if len(answer.body) <= QUICK_ITEMS:
        return True
    return not of_items and len(answer.body) <= QUICK and answer.body.count(b",") <= QUICK_PARTS


def failed(text: str) -> CallToolResult:
    """The call failed, and why."""
    return CallToolResult([media.as_text(text)], is_error=True)


def _structured(found: bytes, answer: WireAnswer, expected: Expected, asked: Asked) -> CallToolResult:
    if expected.violation is not None and (why := expected.violation(found)):
        head = f"The API's answer is not what its document promises ({why}). The answer itself:\n"
        shown, lacks = cuts.cut(found, expected.max_bytes)
        return failed(f"{head}{shown.decode()}{_words(lacks)}")
    note: dict[str, Any] = {}
    shown = found
    if len(found) > expected.max_bytes:
        shown, lacks = cuts.cut(found, expected.max_bytes - NOTE)
        note["_cut"] = _note(lacks, found, answer, expected, asked)
    elif expected.paging is not None:
        further = pages.following(expected.paging, answer.headers, found, asked.url)
        if further:
            note["_next"] = {**asked.arguments, **further}
    if answer.cut:
        note.setdefault("_cut", {})["more"] = "the answer went on for longer than is read"
    whole = _noted(shown, note, as_object=expected.structured)
    if note and expected.violation is not None and expected.violation(whole):
        return failed(f"The answer is too long to be given as its document promises. A part of it:\n{whole.decode()}")
    return CallToolResult([TextContent(whole.decode())], Raw(whole))


def _note(lacks: tuple[Cut, ...], found: bytes, answer: WireAnswer, expected: Expected, asked: Asked) -> dict[str, Any]:
    """What was cut, and the arguments for the rest of it."""
    main, *others = lacks
    note: dict[str, Any] = _counted(main)
    turns = expected.paging
    if main.unit == "items" and main.at.count("/") <= 2:
        note["of"] = max(main.of, pages.total(answer.headers, found))
        further = None if turns is None else pages.rest(turns, asked.arguments, main.shown)
        if further is not None:
            note["next" if further[1] else "smaller"] = _fitting({**asked.arguments, **further[0]}, further[0])
    if others:
        note["also"] = [_counted(one) for one in others[:5]]
    if len(_encode(note)) > NOTE - 16:
        note.pop("also", None)
    return note


def _counted(one: Cut) -> dict[str, Any]:
    told: dict[str, Any] = {"shown": one.shown, "of": one.of}
    if one.unit != "items":
        told["unit"] = one.unit
    return {"at": one.at if len(one.at) <= MAX_AT else f"{one.at[:MAX_AT]}…", **told} if one.at else told


def _fitting(whole: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """All arguments of the next call, or those that change where the others are long."""
    return whole if len(_encode(whole)) <= MAX_NOTED else changed


def _words(lacks: tuple[Cut, ...]) -> str:
    return f"\n(cut: {lacks[0].shown} of {lacks[0].of} {lacks[0].unit} are shown)" if lacks else ""


def _noted(shown: bytes, note: dict[str, Any], *, as_object: bool) -> bytes:
    """The JSON with the note in it: a member of the object itself, or of one around what is no object."""
    is_object = shown[:1] == b"{"
    if not note and (is_object or not as_object):
        return shown
    notes = _encode(note)[1:-1]
    if is_object and b'"_cut"' not in shown and b'"_next"' not in shown:
        return shown[:-1] + (b"," if len(shown) > 2 else b"") + notes + b"}"
    key = b'"items":' if shown[:1] == b"[" else b'"value":'
    return b"{" + key + shown + (b"," + notes if notes else b"") + b"}"


def _compact(answer: WireAnswer) -> bytes | None:
    """The JSON without what stands between its parts, of a cut one the whole items; None for what is none."""
    if answer.cut:
        return media.begun(answer)
    body = answer.body.removeprefix(b"\xef\xbb\xbf")
    try:
        found = _format(body, indent=-1)
        found.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_leniently(answer)
    return found


def _read_leniently(answer: WireAnswer) -> bytes | None:
    """What other readers take for JSON: NaN, raw line breaks in texts, half surrogates, another encoding."""
    try:
        value = json.loads(media.decoded(answer, answer.body), strict=False, parse_constant=lambda _: None)
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return None


def _broken(answer: WireAnswer, kind: str) -> CallToolResult:
    if answer.cut:
        return failed(
            f"The API's answer went on for longer than is read, and no part of its first {len(answer.body):,} bytes is "
            "whole: ask for less of it, by a filter or a smaller page."
        )
    first = problems.clean(media.decoded(answer, answer.body[: 8 * FIRST]))[:FIRST]
    if kind.endswith("html"):
        first = problems.said(answer) or first
    return failed(
        f"The API answered {answer.status} with what is no JSON ({kind or 'of no type'}), though its document promises "
        f"it. It begins: {first}"
    )


def _said(text: str, expected: Expected) -> CallToolResult:
    return CallToolResult([TextContent(text)], Raw(_encode({"_note": text})) if expected.structured else UNSET)


def _text(answer: WireAnswer, expected: Expected) -> CallToolResult:
    shown, lacks = media.text(answer, expected.max_bytes)
    block = media.as_text(f"{shown}\n[{lacks}]" if lacks else shown)
    if not expected.structured:
        return CallToolResult([block])
    told = {"text": shown, "_cut": lacks} if lacks else {"text": shown}
    return CallToolResult([block], Raw(json.dumps(told).encode()))


def _bytes(answer: WireAnswer, expected: Expected, link: str) -> CallToolResult:
    block, what = media.block(answer, expected.uri, link)
    if block is None:
        return failed(f"The API answered with {what}.")
    content: list[ContentBlock] = [block]
    return CallToolResult(content, Raw(_encode({"_note": what})) if expected.structured else UNSET)
