"""Limits as values: how a rate, a quota or a number at once is written, by an author, an operator or in `mcp.toml`."""

import re
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

Kind = Literal["rate", "day", "month", "at_once"]
Scope = Literal["principal", "client", "tool", "server"]
"""Whose limit it is, in metrics and the audit."""
Per = Literal["", "principal", "client"]
HOW: Final = (
    "a limit reads '30/m', '500/h', '5/s burst 20', '1000/day', '10000/month' or '4 at once', with 'per principal' or "
    "'per client' behind it where it counts for each of them; 'cost 5' says what a call of the tool counts in quotas"
)
MOST: Final = 1_000_000_000
_LIMIT: Final = re.compile(
    r"(?P<count>[1-9]\d{0,9})(?:/(?P<unit>s|m|h|day|month)(?: burst (?P<burst>[1-9]\d{0,9}))?| at once)"
    r"(?: per (?P<per>principal|client))?"
)
_COST: Final = re.compile(r"cost ([1-9]\d{0,9})")
_PER: Final[dict[str, Per]] = {"": "", "principal": "principal", "client": "client"}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
_PERIODS: Final[dict[str, Literal["day", "month"]]] = {"day": "day", "month": "month"}


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One limit. Of a rate (GCRA) a call costs `step_s`, and `tolerance_s` of them may come at once.

    Days and months are those of UTC. `per` is whom it counts for; empty counts all callers together.
    """

    text: str
    kind: Kind
    count: int = 1
    step_s: float = 0.0
    tolerance_s: float = 0.0
    per: Per = ""

    @property
    def burst(self) -> int:
        """The calls that may begin together, or in the whole period, or run at once."""
        return int(self.tolerance_s / self.step_s + 1 + 1e-9) if self.kind == "rate" else self.count


class Bounds(msgspec.Struct, frozen=True):
    """The limits of a tool, and what one call of it counts in each quota, its own and all others.

    Rates and numbers at once count calls: what they protect is the machine's, a quota shares out what calls are worth.
    """

    limits: tuple[Limit, ...] = ()
    cost: int = 1


UNBOUNDED: Final = Bounds()


def read(text: str) -> Limit:
    """The limit that a text means; raises `ValueError`."""
    found = _LIMIT.fullmatch(" ".join(text.split())) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{str(text)[:60]!r} is not a limit: {HOW}")
    count, burst = int(found["count"]), int(found["burst"] or found["count"])
    if max(count, burst) > MOST:
        raise ValueError(f"a limit counts to {MOST:,} at most, and not {found[0]!r}")
    unit, per = found["unit"], _PER[found["per"] or ""]
    if unit is None:
        return Limit(text=found[0], kind="at_once", count=count, per=per)
    if unit in _PERIODS:
        if found["burst"]:
            raise ValueError(f"a quota of a day or a month has no burst, as {found[0]!r} says: write a rate beside it")
        return Limit(text=found[0], kind=_PERIODS[unit], count=count, per=per)
    step = _SECONDS[unit] / count
    return Limit(text=found[0], kind="rate", count=count, step_s=step, tolerance_s=(burst - 1) * step, per=per)


def read_all(texts: str | Iterable[str]) -> tuple[Limit, ...]:
    """Several limits, each once; raises `ValueError`."""
    return tuple(dict.fromkeys(map(read, (texts,) if isinstance(texts, str) else texts)))


def bounds(texts: str | Iterable[str]) -> Bounds:
    """Limits and a cost; raises `ValueError`, for a cost that a quota beside it never has room for as well."""
    stated = [" ".join(str(one).split()) for one in ((texts,) if isinstance(texts, str) else texts)]
    costs = [int(found[1]) for one in stated if (found := _COST.fullmatch(one))]
    if len(set(costs)) > 1 or max(costs, default=1) > MOST:
        raise ValueError(f"a tool has one cost, up to {MOST:,}")
    made = Bounds(read_all(one for one in stated if not _COST.fullmatch(one)), *costs[:1])
    if small := too_small(made.limits, made.cost):
        raise ValueError(f"a call that costs {made.cost} never fits into {small!r}")
    return made


def too_small(limits: Iterable[Limit], cost: int) -> str:
    """A quota that a call of this cost never fits into, empty where there is none."""
    return next((one.text for one in limits if one.kind in ("day", "month") and one.count < cost), "")
