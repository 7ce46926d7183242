"""What each product has to do: log in, list, call, be three at once, go on after five minutes, renew a token once."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from devstack.realm.apply.admin import Admin
from tests.products.seat import ANSWER_S, Failed, Seat

LOST: Final = "lost"
"""A product's own fault, known and told in docs/clients.md: it has to log in again."""
CELLS: Final = ("logged in", "listed", "called", "three at once", "later request", "renewed")
AT_ONCE: Final = 3
LIFE_S: Final = 900
SHORT_LIFE_S: Final = 5


class Row(msgspec.Struct, kw_only=True):
    """A product's line of the summary: what each cell came to; an empty one was not tried there."""

    title: str
    version: str
    cells: dict[str, str] = {}
    faults: list[str] = []

    @property
    def good(self) -> bool:
        """Whether nothing failed."""
        return not self.faults


class Turns:
    """Who has to wait for whom.

    Logins come one after the other: ports of some products are fixed, Keycloak's brute force protection takes two logins
    of one person at once for an attack, and of two that bring a new document at once it refuses one. Threes do so by
    twos, for cores are few.
    """

    def __init__(self) -> None:
        self.logins = asyncio.Lock()
        self.threes = asyncio.Semaphore(2)


class Round:
    """One seat's way."""

    def __init__(self, seat: Seat, turns: Turns, later_s: float) -> None:
        self.seat, self._turns, self._later_s = seat, turns, later_s
        self.row = Row(title=seat.title, version=seat.version)

    async def run(self) -> Row:
        """The row, whatever happened."""
        try:
            await self._steps()
        except Failed as error:
            self._fail(next(cell for cell in CELLS if cell not in self.row.cells), str(error))
        return self.row

    async def _steps(self) -> None:
        seat = self.seat
        async with self._turns.logins:
            await seat.log_in()
            self._note("logged in", bool(seat.logged_in_at))
        async with seat.holding() as terminal:
            self._note("listed", bool(seat.requests("tools/list", 200)))
            self._note("called", bool(seat.calls()))
            async with self._turns.threes:
                before = len(seat.calls())
                await asyncio.gather(*(seat.ask() for _ in range(AT_ONCE)))
            self._note("three at once", len(seat.calls()) - before == 2 * AT_ONCE)
            await _until(seat.logged_in_at + self._later_s)
            seat.release()
            await seat.finished(terminal, ANSWER_S)
        late = [one for one in seat.calls() if one.at >= seat.logged_in_at + self._later_s]
        self._note("later request", bool(late))

    def _note(self, cell: str, reached: bool) -> None:
        """A cell is good when it was reached, nothing was refused on the way and no token was renewed needlessly."""
        renewed = len(self.seat.refreshes())
        wrong = [*self.seat.refusals(), *([f"{renewed} needless refreshes"] if renewed else [])]
        if not reached or wrong:
            self._fail(cell, f"seen: {wrong or 'not reached'}")
        else:
            self.row.cells[cell] = "ok"
            _say(f"{self.seat.title}: {cell}: ok")

    def _fail(self, cell: str, text: str) -> None:
        _say(f"{self.seat.title}: {cell}: FAIL")
        self.row.cells[cell] = "FAIL"
        self.row.faults.append(f"{self.seat.title}: {cell}: {text}")


class Renewal:
    """With a token whose life is over: it is renewed, the session goes on, and the new one is then kept."""

    def __init__(self, seat: Seat, row: Row) -> None:
        self._seat, self._row = seat, row

    async def run(self) -> None:
        """Adds its cell to the row of the product's other round; nothing else may go on, for it shortens all lives."""
        fault, row = "", self._row
        try:
            await self._steps()
        except Failed as error:
            fault = str(error)
        row.cells["renewed"] = ("FAIL" if self._seat.product.renews else LOST) if fault else "ok"
        _say(f"{self._seat.title}: renewed: {row.cells['renewed']}")
        row.faults += [f"{self._seat.title}: renewed: {fault}"] if row.cells["renewed"] == "FAIL" else []

    async def _steps(self) -> None:
        seat = self._seat
        await _with_admin(seat, lambda admin: _set_life(admin, SHORT_LIFE_S))
        try:
            await seat.log_in()
        finally:
            await _with_admin(seat, lambda admin: _set_life(admin, LIFE_S))
        await _until(max(one.at for one in seat.place.issuer_tap.seen) + SHORT_LIFE_S + 1)
        known, called = len(seat.refreshes()), len(seat.calls())
        await seat.ask()
        renewed = len(seat.refreshes()) - known
        failed = [one for one in seat.refusals() if one.startswith("refresh")]
        if renewed < 1 or failed or len(seat.calls()) - called != 2:
            raise Failed(f"{renewed} refreshes, {seat.refusals()}, {len(seat.calls()) - called} calls")
        before = len(seat.refreshes())
        await seat.ask()
        if len(seat.refreshes()) != before:
            raise Failed("the new token was renewed at once")


def _say(text: str) -> None:
    """Progress, while a run goes on for minutes."""
    print(f"{datetime.now():%H:%M:%S}  {text}", file=sys.stderr, flush=True)  # noqa: DTZ005 - for the one who waits


async def _with_admin(seat: Seat, work: Callable[[Admin], None]) -> None:
    def do() -> None:
        with seat.place.admin() as admin:
            work(admin)

    await asyncio.to_thread(do)


def _set_life(admin: Admin, seconds: int) -> None:
    admin.send("PUT", "", {"accessTokenLifespan": seconds})


async def _until(moment: float) -> None:
    """Let the clock reach a moment: that time passes is what is tried here."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, moment - time.monotonic())):
            await asyncio.Event().wait()
