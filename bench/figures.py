"""What a run found, in a shape that is printed and kept as JSON."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.calls import Era
from bench.load import Cell, Mode, Round


@dataclass
class Findings:
    """Everything measured so far; a target that failed has its reason in `failures`."""

    rounds: dict[Cell, list[Round]] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=dict)
    idle: dict[str, int] = field(default_factory=dict)
    loaded: dict[str, int] = field(default_factory=dict)
    soak: list[tuple[int, int]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def rates(self, cell: Cell) -> list[float]:
        """The cell's rounds in requests per second."""
        return [one.rate for one in self.rounds.get(cell, [])]

    def rate(self, target: str, era: Era, mode: Mode) -> float | None:
        """The median of a cell's rounds; None when it was not measured or had errors."""
        cell = Cell(target, era, mode)
        rates = self.rates(cell)
        return None if not rates or self.errors(cell) else median(rates)

    def paired(self, one: str, other: str, era: Era) -> float | None:
        """The median of one's rate against the other's in the same round: what slows the machine slows both."""
        pairs = self._pairs(one, other, era)
        return median(mine.rate / theirs.rate for mine, theirs in pairs) if pairs else None

    def paired_by_processor(self, one: str, other: str, era: Era) -> float | None:
        """The same of what a core would carry: the other's processor time of a call through one's.

        A server alone on its core is held up by whoever loads it, too, and by the machine's other guests; the time
        that it has used itself is not.
        """
        pairs = [pair for pair in self._pairs(one, other, era) if pair[0].cpu_us]
        return median(theirs.cpu_us / mine.cpu_us for mine, theirs in pairs) if pairs else None

    def _pairs(self, one: str, other: str, era: Era) -> list[tuple[Round, Round]]:
        """Rounds of one token, the first of both, the second, and so on; none, where there were errors."""
        first, second = Cell(one, era, Mode.CACHED), Cell(other, era, Mode.CACHED)
        if self.errors(first) or self.errors(second):
            return []
        return list(zip(self.rounds.get(first, []), self.rounds.get(second, []), strict=False))

    def p50(self, target: str, era: Era, mode: Mode) -> float | None:
        """The median of the rounds' median latencies in milliseconds."""
        cell = Cell(target, era, mode)
        rounds = self.rounds.get(cell)
        return None if not rounds or self.errors(cell) else median(one.p50 for one in rounds)

    def errors(self, cell: Cell) -> int:
        """The failed requests of a cell, over all its rounds."""
        return sum(one.errors for one in self.rounds.get(cell, []))

    def start(self, target: str) -> float | None:
        """The median seconds from a target's creation to its first good answer."""
        return median(self.starts[target]) if target in self.starts else None

    def as_json(self) -> dict[str, Any]:
        """The same for a file, every round included."""
        cells = [
            {**cell._asdict(), "rounds": [one._asdict() for one in rounds]} for cell, rounds in self.rounds.items()
        ]
        return {
            "cells": cells,
            "start_seconds": self.starts,
            "resident_idle": self.idle,
            "resident_loaded": self.loaded,
            "soak": self.soak,
            "failures": self.failures,
        }


def ratio(one: float | None, other: float | None) -> float | None:
    """How many times the other the one is, when both are known."""
    return None if one is None or not other else one / other
