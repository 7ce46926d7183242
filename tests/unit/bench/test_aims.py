"""Aims of imported calls, against a run that was written down by hand."""

from pathlib import Path

import pytest

from bench.aims import aims
from bench.calls import Era
from bench.figures import Findings
from bench.load import Cell, Mode, Round
from bench.targets import BARE, BEFORE, IMPORT, IMPORTED, NAMES, OURS, PEER_IMPORT, SAMPLED, VARIANTS, Kind, targets


def _round(rate: float, p50: float = 1.0, errors: int = 0, cpu_us: float = 0.0) -> Round:
    return Round(rate=rate, requests=int(rate), errors=errors, p50=p50, p99=2 * p50, cpu_us=cpu_us)


def _found(imported: Round, alone: Round) -> Findings:
    cells = {
        Cell(OURS, Era.MODERN, Mode.CACHED): _round(20_000),
        Cell(PEER_IMPORT, Era.MODERN, Mode.CACHED): _round(200),
        Cell(IMPORT, Era.MODERN, Mode.CACHED): imported,
        Cell(IMPORT, Era.MODERN, Mode.ALONE): alone,
        Cell(BARE, Era.MODERN, Mode.ALONE): _round(5_000, p50=0.2),
    }
    return Findings(rounds={cell: [one] for cell, one in cells.items()})


def _met(found: Findings) -> dict[str, bool]:
    return {aim.text: aim.met for aim in aims(found) if IMPORT in aim.text}


def test_imported_calls_have_three_aims() -> None:
    assert list(_met(_found(_round(5_000), _round(3_000, p50=0.35))).values()) == [True, True, True]
    assert list(_met(_found(_round(4_999), _round(3_000, p50=0.36))).values()) == [False, False, False]


@pytest.mark.parametrize(("one", "other"), [(SAMPLED, OURS), (OURS, BEFORE)])
def test_our_own_server_is_held_against_itself_round_by_round(one: str, other: str) -> None:
    """One slow round of both says nothing about either, nor does one in which a server waited for its load."""
    mine, theirs = (Cell(name, Era.MODERN, Mode.CACHED) for name in (one, other))
    for share, met in ((0.98, True), (0.96, False)):
        before = [_round(rate, cpu_us=200) for rate in (8_000, 4_000, 8_000)]
        now = [_round(one.rate / 2, cpu_us=one.cpu_us / share) for one in before]
        [aim] = [found for found in aims(Findings(rounds={theirs: before, mine: now})) if other in found.text]
        assert (aim.met, aim.reached) == (met, f"{share:.3f} by the processor's time, 0.500 by the rate")


def test_a_cell_with_errors_speaks_for_nobody() -> None:
    assert _met(_found(_round(9_000, errors=1), _round(9_000, errors=1))) == {}


def test_each_target_has_a_name_and_a_port_and_imports_are_asked_for_an_order() -> None:
    every = targets(18_700, Path("/elsewhere"))
    assert {one.name for one in every} == {*NAMES}
    assert len({one.port for one in every}) == len(NAMES)
    assert {one.name for one in every if one.kind not in (Kind.SERVER, Kind.VARIANT)} == {*IMPORTED}
    assert [one.name for one in every if one.kind is Kind.VARIANT] == [*VARIANTS, BEFORE]
    assert every[-1].command[0] == "/elsewhere/.venv/bin/mcp-server"
    assert BEFORE not in {one.name for one in targets(18_700)}
    assert {one.call.tool for one in every if one.kind is Kind.IMPORT} == {"get_order"}
