"""Truncation of JSON to a budget of bytes: whole items go from the end of long arrays, then the tails of long texts.

Nothing is decoded that is not cut: an answer of 5 MB is looked through as raw pieces, of which the first few are kept.
What is left is valid JSON, and each `Cut` tells what it lacks.
"""

from typing import Final, Literal

import msgspec
from msgspec import Raw

TOKEN_BYTES: Final = 3.5
"""Bytes of compact JSON for a token, by and large."""
TINY: Final = 64
"""A member of up to so many bytes is not worth a note of what it lacks."""
MAX_DEPTH: Final = 32
"""Levels of an answer that are cut: each reads all that is below it. What is deeper and too long is left out whole."""
_LEAST: Final = 4
_items = msgspec.json.Decoder(list[Raw]).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode
Unit = Literal["items", "members", "characters"]


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """What was left out at a place, a JSON pointer: so many are shown of so many."""

    at: str
    shown: int
    of: int
    unit: Unit = "items"
    size: int = 0
    """How large it was."""


def budget(max_tokens: int) -> int:
    """How many bytes of JSON a number of tokens is."""
    return int(max_tokens * TOKEN_BYTES)


def cut(compact: bytes, room: int) -> tuple[bytes, tuple[Cut, ...]]:
    """Compact JSON of at most `room` bytes, and what it lacks, the largest first; raises `RecursionError`."""
    cuts: list[Cut] = []
    shorter = _shorter(compact, room, "", cuts, MAX_DEPTH)
    return shorter, tuple(sorted(cuts, key=lambda one: -one.size))


def _shorter(raw: bytes, room: int, at: str, cuts: list[Cut], depth: int) -> bytes:
    if len(raw) <= room:
        return raw
    match raw[:1]:
        case b"[":
            return _fewer_items(raw, room, at, cuts, depth)
        case b"{":
            return _fewer_members(raw, room, at, cuts, depth)
        case b'"':
            return _less_text(raw, room, at, cuts)
        case _:  # a number
            return _less_text(_encode(raw.decode()), room, at, cuts)


def _fewer_items(raw: bytes, room: int, at: str, cuts: list[Cut], depth: int) -> bytes:
    items = _items(raw)
    kept: list[bytes] = []
    left = room - 1
    for item in items:
        piece = bytes(item)
        left -= len(piece) + 1
        if left < 0:
            break
        kept.append(piece)
    inner: list[Cut] = []
    # Not even the first fits: of that one, too, a part is better than nothing.
    if not kept and items and room > TINY and depth:
        kept = [_shorter(bytes(items[0]), room - 2, f"{at}/0", inner, depth - 1)]
    if len(kept) < len(items):
        cuts.append(Cut(at=at, shown=len(kept), of=len(items), size=len(raw)))
    cuts.extend(inner)
    return b"[" + b",".join(kept) + b"]"


def _fewer_members(raw: bytes, room: int, at: str, cuts: list[Cut], depth: int) -> bytes:
    members = {name: bytes(value) for name, value in _members(raw).items()}
    names = {name: _encode(name) for name in members}
    kept, size = [], 1
    for name, value in members.items():
        size += len(names[name]) + 2 + min(len(value), TINY)
        if size > room or not depth:
            break
        kept.append(name)
    if len(kept) < len(members):
        cuts.append(Cut(at=at, shown=len(kept), of=len(members), unit="members", size=len(raw)))
    left = room - 1 - sum(len(names[name]) + 2 for name in kept)
    limits = _shares({name: members[name] for name in kept}, left)
    pieces = []
    for name in kept:
        value, limit = members[name], limits.get(name)
        shown = value if limit is None else _shorter(value, limit, f"{at}/{_escaped(name)}", cuts, depth - 1)
        pieces.append(names[name] + b":" + shown)
    return b"{" + b",".join(pieces) + b"}"


def _shares(members: dict[str, bytes], room: int) -> dict[str, int]:
    """How much each of the members that must shrink may keep: arrays and objects first, texts where that is too little.

    Small ones keep all they are; what is left is shared evenly among the large.
    """
    large = {name: len(value) for name, value in members.items() if len(value) > TINY}
    containers = {name: size for name, size in large.items() if members[name][:1] in b"[{"}
    fixed = sum(len(value) for name, value in members.items() if name not in containers)
    enough = room - fixed >= TINY * len(containers)
    shrinkable = containers if containers and enough else large
    left = room - sum(len(value) for name, value in members.items() if name not in shrinkable)
    limits: dict[str, int] = {}
    for n, (name, size) in enumerate(sorted(shrinkable.items(), key=lambda one: one[1])):
        limits[name] = max(min(size, left // (len(shrinkable) - n)), _LEAST)
        left -= limits[name]
    return limits


def _less_text(raw: bytes, room: int, at: str, cuts: list[Cut]) -> bytes:
    whole = _text(raw)
    text = whole[: max(room - 5, 0)]
    while text and len(_encode(text)) > room - 3:  # escapes, and letters of several bytes
        text = text[: min(len(text) - 1, int(len(text) * (room - 3) / len(_encode(text))))]
    cuts.append(Cut(at=at, shown=len(text), of=len(whole), unit="characters", size=len(raw)))
    return _encode(f"{text}…")


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
