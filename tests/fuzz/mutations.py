"""Mutations that know JSON: bytes changed at random are hardly ever a document still, and are refused at the door."""

import json
import random
from collections.abc import Sequence
from typing import Any, Final

from tests.fuzz.pieces import SEPARATOR

ODD: Final[Sequence[Any]] = (
    None, True, False, 0, -1, 1.5, 2**53, 2**63, 10**30, "", "a", "\x00", "\ud800", "é", "#/components/schemas/A", [], {}, [1],
    ["string", "null"], {"type": "object"}, {"$ref": "#/components/schemas/A"}, [[]], {"": {}},
)  # fmt: skip


def of_bytes(known: Sequence[bytes], chance: random.Random) -> bytes:
    """One of the corpus with a few bytes changed, cut, repeated, or taken from another."""
    data = bytearray(chance.choice(known))
    for _ in range(chance.choice((1, 1, 2, 4))):
        at, length = chance.randrange(len(data) + 1), chance.choice((1, 2, 4, 16))
        other = chance.choice(known)
        begin = chance.randrange(len(other) + 1)
        piece = chance.choice(
            (b"", chance.randbytes(length), other[begin : begin + length], data[at : at + length] * 3)
        )
        data[at : at + chance.choice((0, length))] = piece
    return bytes(data)


def of_json(data: bytes, chance: random.Random) -> bytes | None:
    """The same input with a value somewhere in its JSON put in place of another; None where it has no JSON."""
    separator = SEPARATOR if SEPARATOR in data else b"\n"  # a pipe's messages are lines
    pieces = data.split(separator)
    at = chance.randrange(len(pieces))
    try:
        value = json.loads(pieces[at])
    except (ValueError, RecursionError):
        return None
    for _ in range(chance.choice((1, 1, 2, 3))):
        value = _changed(value, chance)
    pieces[at] = json.dumps(value).encode()
    return separator.join(pieces)


def _changed(value: Any, chance: random.Random) -> Any:
    places = list(_places(value))
    if not places:
        return chance.choice(ODD)
    container, key = chance.choice(places)
    match chance.randrange(5):
        case 0:
            container[key] = json.loads(json.dumps(chance.choice(ODD)))
        case 1:
            del container[key]
        case 2:
            other, there = chance.choice(places)
            container[key] = json.loads(json.dumps(other[there]))
        case 3:
            container[key] = [container[key]]
        case _:
            if isinstance(container, dict):
                container[chance.choice([name for _, name in places if isinstance(name, str)])] = container.pop(key)
            else:
                container.append(container[key])
    return value


def _places(value: Any) -> Any:
    """Each member and item, by what holds it."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else list(range(len(one))) if isinstance(one, list) else []
        for key in keys:
            yield one, key
            waiting.append(one[key])
