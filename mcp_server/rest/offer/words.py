"""Texts of a document → words for a model: clean, short, and the use of the thing first.

A description is data for a model that somebody else wrote: control and bidirectional characters go, for they show a
person another text than the model reads (A description that looks harmless in a review is the attack). Clients cut at
2,048 characters and say nothing, so what matters stands in the first paragraph and 1,024 are never passed.
"""

import html
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from mcp_server.rest.model import Operation

LONGEST: Final = 1_024
TITLE: Final = 100
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f"
    "\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
"""C0 and C1 controls but tab and newline, bidi marks and overrides, zero-width and tag characters, half surrogates."""
_TAG: Final = re.compile(
    r"</?(?:p|br|b|i|em|strong|a|ul|ol|li|code|pre|div|span|h[1-6]|table|thead|tbody|tr|t[dh]|hr|tt|sup|sub|small|img|"
    r"blockquote|dl|dt|dd|font|u|section|summary|details)\b[^<>]{0,500}>",
    re.IGNORECASE,
)
_PARAGRAPH_TAG: Final = re.compile(r"</p>|<br\s*/?>\s*<br\s*/?>|<(?:ul|ol|table|div|h[1-6])\b", re.IGNORECASE)
_BREAK: Final = re.compile(r"\n[ \t]*\n\s*")
_LEAD: Final = re.compile(r"^(?:#{1,6}\s+|>\s+|[-=*_]{3,}\s*$|```.*$)", re.MULTILINE)
_MARKUP: Final = re.compile(r"[<&\[]|^[\s#>=*_`-]")
"""What a text on one line may have that is not shown as it stands."""
_LINK: Final = re.compile(r"\[([^\[\]]{1,200})\]\([^()\s]{1,500}\)")


def clean(text: Any) -> str:
    """A text without what nobody sees, in lines and paragraphs as it was; anything but a text is none."""
    return _UNSEEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n")) if isinstance(text, str) else ""


def first_paragraph(text: Any, longest: int) -> str:
    """The first paragraph that says something, as one line of plain text of so many characters at most."""
    if not isinstance(text, str) or not text:
        return ""
    text = text[: 8 * longest + 2_000]  # markup before the first word is bounded, and so is our work
    if text.isascii() and text.isprintable() and not _MARKUP.search(text):
        return cut(" ".join(text.split()), longest)
    rest = clean(text)
    if "<" in rest:
        rest = _TAG.sub(" ", _PARAGRAPH_TAG.sub("\n\n", rest))
    if "&" in rest:
        rest = clean(html.unescape(rest))  # once more: &#x202E; is an override too
    for paragraph in _BREAK.split(rest):
        line = " ".join(_LINK.sub(r"\1", _LEAD.sub("", paragraph)).split())
        if line:
            return cut(line, longest)
    return ""


def cut(text: str, longest: int) -> str:
    """A text of so many characters at most: it ends at a sentence where one ends late enough, else at a word."""
    if len(text) <= longest:
        return text
    head = text[: longest - 1]
    sentence = max(head.rfind(". "), head.rfind("! "), head.rfind("? "), head.rfind("。"))
    if sentence >= longest // 2:
        return head[: sentence + 1]
    word = head.rfind(" ")
    return (head[:word] if word >= longest // 2 else head).rstrip() + "…"


def line(text: str) -> str:
    """A document's text in a line of a terminal: an escape sequence in it would else write over other lines."""
    return cut(" ".join(clean(text).split()), 400)


def title(operation: Operation, chosen: str) -> str:
    """What a person reads in a list: a chosen one, else the summary; empty where the document has none."""
    return cut(" ".join(clean(chosen).split()), TITLE) or first_paragraph(operation.about.summary, TITLE).rstrip(".")


def description(operation: Operation, chosen: str, following: Iterable[str], example: str = "") -> str:
    """What a model reads: the use first, what may be called next last; `following` are names of tools."""
    mark = "(deprecated) " if operation.about.deprecated else ""
    ends = [f"Example: {example}"] if example else []
    if names := list(following):
        ends.append(cut(f"Then: {', '.join(names)}", 200))
    tail = "".join(f"\n{line}" for line in ends if line)
    if len(tail) > LONGEST // 2:
        tail = ""
    room = LONGEST - len(mark) - len(tail)
    return mark + (cut(clean(chosen).strip(), room) or _own(operation, room)) + tail


def _own(operation: Operation, room: int) -> str:
    about = operation.about
    summary, more = first_paragraph(about.summary, room), first_paragraph(about.description, room)
    if not summary or not more:
        return summary or more or cut(f"{operation.method.upper()} {' '.join(clean(operation.path).split())}", room)
    plain = summary.rstrip(".").casefold()
    if more.casefold().startswith(plain):
        return more
    return cut(f"{summary.rstrip('.')}. {more}", room)


def example(value: Any) -> str:
    """A value as the JSON that a model could send; empty where it is long, or no JSON."""
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, UnicodeEncodeError, RecursionError, ValueError, msgspec.MsgspecError):
        return ""
    return text if len(text) <= LONGEST // 4 else ""
