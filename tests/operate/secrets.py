"""`python -m tests.operate.secrets`: every secret in every place, rotated under load, and every fault of every manager.

Five minutes at most; prints tables, and is 1 when a promise was broken. `make test` has two of the six rotations.
"""

import asyncio
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from tests.kit.managers.cases import CASES, LINES
from tests.kit.managers.server import FAULTS, Fault
from tests.kit.rotation.parts import MARK
from tests.kit.rotation.places import PLACES
from tests.kit.rotation.running import WORKERS, Rotated, Rotation, rotating
from tests.operate.__main__ import apart

SHIFTS: Final = (0, 4, 1, 5, 2, 3)
QUICK: Final = tuple(one for one in FAULTS if one != "slow")
SLOW: Final = re.compile(r"no answer within (5|10) s")
"""By the bound of one answer, or by that of the reading."""
REFRESH_S: Final = 10
TRIES: Final = 4


class Book(msgspec.Struct):
    """What was seen."""

    rotations: list[Rotated] = msgspec.field(default_factory=list)
    lines: dict[tuple[str, Fault], list[str]] = msgspec.field(default_factory=dict)
    failed: list[str] = msgspec.field(default_factory=list)
    readable: int = 0
    last_refused: bool = False
    """Whether the state key before the last one is, once it is taken out."""
    told: list[int] = msgspec.field(default_factory=list)
    """At which readings a manager that stayed away was told of."""

    def refused(self, setting: str, number: int) -> bool:
        """Whether the value was that a rotation replaced; a state key's opens until the next one."""
        if setting != "MCP_STATE_KEYS":
            return self.rotations[number].refused[setting]
        return self.last_refused if number + 1 == len(SHIFTS) else self.rotations[number + 1].refused[setting]

    def clear(self, place: str, fault: Fault) -> bool:
        """Whether it was told in one line, and in its own words."""
        lines = [one for one in self.lines.get((place, fault), []) if one.startswith(f"{place}:")]
        good = SLOW if fault == "slow" else re.compile(re.escape(f": {LINES[fault][place]} (MCP_SECRETS)") + "$")
        return len(lines) == 1 and good.search(lines[0]) is not None

    @property
    def fine(self) -> bool:
        """Whether all held."""
        settings = self.rotations[0].where
        return (
            not (self.failed or self.readable)
            and all(self.refused(setting, number) for setting in settings for number in range(len(SHIFTS)))
            and all(self.clear(place, fault) for place in CASES for fault in FAULTS)
            and self.told == [1, 2, 4]
        )

    def page(self) -> str:
        """All of it."""
        settings = list(self.rotations[0].where)
        at = {(one.where[name], name): number for number, one in enumerate(self.rotations) for name in settings}
        cells = [
            [place, *(_said(self.refused(name, at[place, name]), "old refused") for name in settings)]
            for place in PLACES
        ]
        faults = [[place, *(_said(self.clear(place, one), "one line") for one in FAULTS)] for place in CASES]
        calls = sum(one.calls for one in self.rotations)
        took_s = sum(one.took_s for one in self.rotations)
        told = f"{calls} calls in {took_s:.0f} s, {len(self.failed)} failed; values readable somewhere: {self.readable}"
        lines = [f"- {line}" for found in self.lines.values() for line in found]
        return "\n".join(
            (
                *_table(["rotated in", *settings], cells),
                f"\n{told}\n",
                *self.failed[:5],
                *_table(["amid", *FAULTS], faults),
                f"\ntold by itself, of readings that failed one after the other: {self.told}\n",
                *dict.fromkeys(lines),
            )
        )


def _said(good: bool, what: str) -> str:
    return what if good else f"NOT {what}"


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _faults(number: int) -> Mapping[str, Fault]:
    """The first reading meets nobody who answers, each of the others another fault at each manager."""
    if number == 0:
        return dict.fromkeys(CASES, "slow")
    return {place: QUICK[(number + one) % len(QUICK)] for one, place in enumerate(CASES)}


async def _asked(folder: Path, book: Book) -> None:
    """Each rotation by SIGHUP, after one that met faults."""
    async with rotating(folder) as rotation:
        for number, shift in enumerate(SHIFTS):
            faults = _faults(number)
            book.rotations.append(await rotation.rotate(shift, amid=faults))
            for place, fault in faults.items():
                book.lines[place, fault] = [
                    line for line in book.rotations[-1].problems if line.startswith(f"{place}:")
                ]
            print(f"{number + 1} of {len(SHIFTS)}: {book.rotations[-1].where}", file=sys.stderr, flush=True)
        await _last(rotation)
        book.last_refused = await rotation.keys.refuses(rotation.load, rotation.number - 1)
        await _end(rotation, book)


async def _last(rotation: Rotation) -> None:
    """The state key before is taken out."""
    keys = rotation.keys
    rotation.places.put(rotation.where[keys.setting], keys.setting, keys.last(rotation.number))
    rotation.hang_up()
    times = WORKERS * (rotation.number + 1)
    await rotation.until_logged(lambda: rotation.log.taken[keys.setting] >= times)


async def _by_itself(folder: Path, book: Book) -> None:
    """A manager stays away for some readings, comes back, and its new values are found, with no word of an operator."""
    async with rotating(folder, refresh_s=REFRESH_S) as rotation:
        rotation.move(0)
        await rotation.change()
        rotation.places.fault({"vault": "denied"})
        await rotation.until_logged(lambda: len(rotation.log.problems) == len((1, 2, TRIES)))
        assert not rotation.log.taken
        rotation.places.fault({})
        await rotation.taken()
        text = rotation.served.log.read_text()
        book.told = [int(one) for one in re.findall(r'"times":(\d+)', text)]
        assert '"event":"settings can be read again"' in text
        await _end(rotation, book)


async def _end(rotation: Rotation, book: Book) -> None:
    book.readable += sum(MARK in text for text in await rotation.readable())
    book.failed += rotation.load.failed


def main() -> int:
    """Both, in folders that are gone afterwards unless something was broken."""
    apart(sys.argv[1:], "tests.operate.secrets")
    book, folder = Book(), Path(tempfile.mkdtemp(prefix="secrets-"))
    for name, run in (("asked", _asked), ("by-itself", _by_itself)):
        (folder / name).mkdir()
        asyncio.run(run(folder / name, book))
    print(book.page())
    if book.fine:
        shutil.rmtree(folder)
        return 0
    print(f"what the servers wrote is in {folder}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
