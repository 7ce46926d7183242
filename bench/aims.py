"""What the project aims at, as ratios and seconds, and whether a run met it."""

from typing import Final, NamedTuple

from bench.calls import Era
from bench.figures import Findings, ratio
from bench.load import Mode
from bench.targets import BARE, BEFORE, IMPORT, OURS, PEER_IMPORT, SAMPLED, YARDSTICK

CACHED: Final = (
    (YARDSTICK, 0.5),
    ("rust-sdk", 1.0),
    ("go-sdk", 2.5),
    ("python-sdk", 7.0),
    ("fastmcp", 20.0),
)
FRESH: Final = (("go-sdk", 1.0),)
IMPORTED: Final = ((PEER_IMPORT, 25.0), (OURS, 0.25))
KEPT: Final = 0.97
"""What a core must carry still (`figures`): with 1 % of the calls sampled, and of what it carried in another tree."""
OVERHEAD_MS: Final = 0.15
START_SECONDS: Final = 1.5


class Aim(NamedTuple):
    """An aim that both sides were measured for."""

    text: str
    reached: str
    met: bool


def aims(found: Findings) -> list[Aim]:
    """Those that this run can speak about."""
    compared = [_compare(found, OURS, other, factor, era, Mode.CACHED) for other, factor in CACHED for era in Era]
    compared += [_compare(found, OURS, other, factor, era, Mode.FRESH) for other, factor in FRESH for era in Era]
    compared += [_compare(found, IMPORT, other, factor, Era.MODERN, Mode.CACHED) for other, factor in IMPORTED]
    compared += [_kept(found, one, other, era) for one, other in ((SAMPLED, OURS), (OURS, BEFORE)) for era in Era]
    compared.append(_overhead(found))
    took = found.start(OURS)
    known = [aim for aim in compared if aim is not None]
    if took is not None:
        text = f"start to ready in at most {START_SECONDS} s"
        known.append(Aim(text, f"{took:.2f} s", met=took <= START_SECONDS))
    return known


def _overhead(found: Findings) -> Aim | None:
    """What an imported call takes longer than the bare client's, one at a time."""
    one, bare = (found.p50(name, Era.MODERN, Mode.ALONE) for name in (IMPORT, BARE))
    if one is None or bare is None:
        return None
    text = f"{IMPORT}, one at a time: at most {OVERHEAD_MS * 1e3:.0f} µs over {BARE}"
    return Aim(text, f"{(one - bare) * 1e3:.0f} µs", met=one - bare <= OVERHEAD_MS)


def _compare(found: Findings, one: str, other: str, factor: float, era: Era, mode: Mode) -> Aim | None:
    reached = ratio(found.rate(one, era, mode), _other(found, other, era, mode))
    if reached is None:
        return None
    text = f"{era} {mode}: {f'{one} ' if one != OURS else ''}at least {factor} times {other}"
    return Aim(text, f"{reached:.2f}", met=reached >= factor)


def _kept(found: Findings, one: str, other: str, era: Era) -> Aim | None:
    """Our own server against itself, with more to do or as it was, round by round."""
    reached = found.paired_by_processor(one, other, era)
    if reached is None:
        return None
    text = f"{era} {Mode.CACHED}: {one} at least {KEPT} times {other}"
    by_rate = found.paired(one, other, era)
    return Aim(text, f"{reached:.3f} by the processor's time, {by_rate:.3f} by the rate", met=reached >= KEPT)


def _other(found: Findings, name: str, era: Era, mode: Mode) -> float | None:
    """A peer that does not speak the era is compared in the one it does."""
    spoken = found.rate(name, era, mode)
    return spoken if spoken is not None else found.rate(name, Era.LEGACY, mode)
