"""What the project aims at, as ratios and seconds, and whether a run met it."""

from typing import Final, NamedTuple

from bench.calls import Era
from bench.figures import Findings, ratio
from bench.load import Mode
from bench.targets import OURS, YARDSTICK

CACHED: Final = (
    (YARDSTICK, 0.5),
    ("rust-sdk", 1.0),
    ("go-sdk", 2.5),
    ("python-sdk", 7.0),
    ("fastmcp", 20.0),
)
FRESH: Final = (("go-sdk", 1.0),)
START_SECONDS: Final = 1.5


class Aim(NamedTuple):
    """An aim that both sides were measured for."""

    text: str
    reached: str
    met: bool


def aims(found: Findings) -> list[Aim]:
    """Those that this run can speak about."""
    compared = [_compare(found, other, factor, era, Mode.CACHED) for other, factor in CACHED for era in Era]
    compared += [_compare(found, other, factor, era, Mode.FRESH) for other, factor in FRESH for era in Era]
    took = found.start(OURS)
    known = [aim for aim in compared if aim is not None]
    if took is not None:
        text = f"start to ready in at most {START_SECONDS} s"
        known.append(Aim(text, f"{took:.2f} s", met=took <= START_SECONDS))
    return known


def _compare(found: Findings, other: str, factor: float, era: Era, mode: Mode) -> Aim | None:
    reached = ratio(found.rate(OURS, era, mode), _other(found, other, era, mode))
    if reached is None:
        return None
    text = f"{era} {mode}: at least {factor} times {other}"
    return Aim(text, f"{reached:.2f}", met=reached >= factor)


def _other(found: Findings, name: str, era: Era, mode: Mode) -> float | None:
    """A peer that does not speak the era is compared in the one it does."""
    spoken = found.rate(name, era, mode)
    return spoken if spoken is not None else found.rate(name, Era.LEGACY, mode)
