"""The terminal's tables and the file kept of a run."""

import json
from collections.abc import Sequence
from pathlib import Path

from bench.aims import aims
from bench.calls import Era
from bench.figures import Findings, ratio
from bench.load import Cell, Mode
from bench.targets import BARE, IMPORT, OURS, YARDSTICK, Kind, Target

ABSENT = "-"


def show(found: Findings, targets: Sequence[Target], versions: dict[str, str]) -> None:
    """Print everything."""
    servers = [target for target in targets if target.kind is Kind.SERVER]
    if servers:
        _table("One token", _rate_rows(found, servers, Mode.CACHED, list(Era)))
        _table("Another token for each request", _fresh_rows(found, [one for one in servers if one.guarded]))
    if variants := [target.name for target in targets if target.kind is Kind.VARIANT]:
        _table("Our server with other settings, one token", _variant_rows(found, [OURS, *variants]))
    if imports := [target for target in targets if target.kind not in (Kind.SERVER, Kind.VARIANT)]:
        compared = [target for target in servers if target.name in (YARDSTICK, OURS)]
        _table("Imported calls, 32 at once and one at a time", _import_rows(found, [*compared, *imports]))
    _table("Start and memory", _weight_rows(found, targets, versions))
    if found.soak:
        rows = [["requests", "MiB"], *([f"{n:,}", _mib(rss)] for n, rss in found.soak)]
        _table("Soak", rows)
    for name, reason in found.failures.items():
        print(f"failed: {name}: {reason}")
    _show_aims(found)


def keep(path: Path, found: Findings, about: dict[str, object]) -> None:
    """Write the run to a file."""
    path.write_text(json.dumps(about | found.as_json(), indent=2) + "\n")


def _show_aims(found: Findings) -> None:
    known = aims(found)
    print("Aims" if known else "Aims: none of them had both sides measured")
    for aim in known:
        print(f"  {'met   ' if aim.met else 'MISSED'}  {aim.text}: {aim.reached}")


def _rate_rows(found: Findings, targets: Sequence[Target], mode: Mode, eras: Sequence[Era]) -> list[list[str]]:
    head = ["target", "era", "req/s", "min-max", "p50 ms", "p99 ms", "of constant", "ours/target"]
    rows = [_rate_row(found, Cell(one.name, era, mode)) for era in eras for one in targets]
    return [head, *rows]


def _fresh_rows(found: Findings, targets: Sequence[Target]) -> list[list[str]]:
    head, *_ = _rate_rows(found, [], Mode.FRESH, [])
    return [head, *(_rate_row(found, Cell(one.name, one.fresh_era, Mode.FRESH)) for one in targets)]


def _rate_row(found: Findings, cell: Cell) -> list[str]:
    name, era, mode = cell
    rates = found.rates(cell)
    if not rates:
        return [name, era, *[ABSENT] * 6]
    rate = found.rate(*cell)
    rounds = found.rounds[cell]
    ours = ratio(found.rate(OURS, era, mode), rate)
    return [
        name,
        era,
        f"{found.errors(cell)} errors" if rate is None else f"{rate:,.0f}",
        f"{min(rates):,.0f}-{max(rates):,.0f}",
        f"{_middle([one.p50 for one in rounds]):.2f}",
        f"{_middle([one.p99 for one in rounds]):.2f}",
        _times(ratio(rate, found.rate(YARDSTICK, era, Mode.CACHED))),
        _times(ours if name != OURS else None),
    ]


def _variant_rows(found: Findings, names: Sequence[str]) -> list[list[str]]:
    """Each in the same round as the server as it comes, for a few hundredths are less than the machine's moods."""
    rows = [["target", "era", "req/s", "min-max", "CPU µs", "of ours", "by CPU"]]
    for era in Era:
        for name in names:
            cell = Cell(name, era, Mode.CACHED)
            used = _middle([one.cpu_us for one in found.rounds[cell]]) if cell in found.rounds else 0
            row = [*_rate_row(found, cell)[:4], f"{used:.0f}" if used else ABSENT]
            shares = found.paired(name, OURS, era), found.paired_by_processor(name, OURS, era)
            rows.append([*row, *(ABSENT if one is None or name == OURS else f"{one:.3f}" for one in shares)])
    return rows


def _import_rows(found: Findings, targets: Sequence[Target]) -> list[list[str]]:
    """Modern era, one token; what is over the bare client is the whole way through the server and back."""
    at_once = ["req/s", "min-max", "p50 ms", "p99 ms", "import/target"]
    alone = ["alone req/s", "p50 µs", "p99 µs", "over bare µs"]
    head = ["target", "asks", *at_once, *alone]
    return [head, *(_import_row(found, one) for one in targets)]


def _import_row(found: Findings, target: Target) -> list[str]:
    name = target.name
    asks = "nothing" if target.kind in (Kind.SERVER, Kind.UPSTREAM) else "upstream"
    row = [name, asks]
    imports = ratio(found.rate(IMPORT, Era.MODERN, Mode.CACHED), found.rate(name, Era.MODERN, Mode.CACHED))
    bare = found.p50(BARE, Era.MODERN, Mode.ALONE)
    for mode in (Mode.CACHED, Mode.ALONE):
        cell = Cell(name, Era.MODERN, mode)
        rounds, rate, rates = found.rounds.get(cell, []), found.rate(*cell), found.rates(cell)
        if not rounds:
            row += [ABSENT] * (5 if mode is Mode.CACHED else 4)
            continue
        row.append(f"{found.errors(cell)} errors" if rate is None else f"{rate:,.0f}")
        p50, p99 = _middle([one.p50 for one in rounds]), _middle([one.p99 for one in rounds])
        if mode is Mode.CACHED:
            row += [f"{min(rates):,.0f}-{max(rates):,.0f}", f"{p50:.2f}", f"{p99:.2f}"]
            row.append(_times(imports if name != IMPORT else None))
        else:
            over = ABSENT if bare is None or name == BARE else f"{(p50 - bare) * 1e3:.0f}"
            row += [f"{p50 * 1e3:.0f}", f"{p99 * 1e3:.0f}", over]
    return row


def _weight_rows(found: Findings, targets: Sequence[Target], versions: dict[str, str]) -> list[list[str]]:
    head = ["target", "version", "start s", "MiB", "after load"]
    rows = []
    for name in (target.name for target in targets):
        took = found.start(name)
        started = ABSENT if took is None else f"{took:.2f}"
        weights = [_mib(found.idle.get(name)), _mib(found.loaded.get(name))]
        rows.append([name, versions.get(name, ABSENT), started, *weights])
    return [head, *rows]


def _table(title: str, rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n{title}")
    for row in rows:
        cells = [
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())
    print()


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _times(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}"


def _mib(value: int | None) -> str:
    return ABSENT if value is None else f"{value / 2**20:.1f}"
