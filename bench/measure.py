"""The run: builds, starts, checks, interleaved rounds, memory."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from bench import calls
from bench.build import BuildError
from bench.calls import Era
from bench.figures import Findings
from bench.load import Cell, Generator, LoadError, Mode
from bench.processes import Running, TargetError, start
from bench.targets import OURS, YARDSTICK, Kind, Target
from bench.tokens import Tokens

STARTS = 3
WARM_UP = 1
SLICE = 30


class Run:
    """One run over the chosen targets; a target that fails is left out from there on."""

    def __init__(self, tokens: Tokens, stack: ExitStack) -> None:
        self.found = Findings()
        self._tokens = tokens
        self._stack = stack
        self._up: dict[str, Running] = {}
        self._generator = Generator(tokens)
        self._loops: list[Target] = []

    def bring_up(self, targets: Sequence[Target]) -> None:
        """Start each target three times, leave the last one running and check its answers."""
        for target in targets:
            if target.kind is Kind.LOOP:
                self._loops.append(target)
                continue
            _say(f"starting {target.name}")
            try:
                running = self._start(target)
                _check(target, self._tokens)
            except (TargetError, OSError) as error:
                self._fail(target.name, str(error))
                continue
            self._up[target.name] = running
            self.found.idle[target.name] = running.resident()

    def measure(self, rounds: int, seconds: int, *, renew: bool = False) -> None:
        """All cells once, then all again, so that a slow spell of the machine hits all alike.

        With `renew` each round has processes of its own: of two with the same settings one may be 3 % slower all its
        life, and rounds of one pair would show that as the settings' cost.
        """
        self._warm_up()
        for number in range(rounds):
            if renew and number:
                self._renew()
            for cell in self._cells():
                _say(f"round {number + 1}/{rounds}: {cell.target} {cell.era} {cell.mode}")
                self._round(cell, seconds, keep=True)
        for name, running in self._up.items():
            self.found.loaded[name] = running.resident()

    def _warm_up(self) -> None:
        for cell in self._cells():
            if cell.mode is not Mode.FRESH:
                self._round(cell, WARM_UP, keep=False)

    def _renew(self) -> None:
        for name, running in list(self._up.items()):
            running.stop()
            try:
                self._up[name], _ = self._start_once(running.target)
            except (TargetError, OSError) as error:
                self._fail(name, str(error))
        self._warm_up()

    def soak(self, requests: int, seconds: int) -> None:
        """Send ours that many requests with changing tokens and weigh it at every tenth."""
        running = self._up.get(OURS)
        if running is None or requests == 0:
            return
        era, sent, rate = running.target.fresh_era, 0, 1000.0
        self.found.soak.append((0, running.resident()))
        for tenth in range(1, 11):
            while (missing := requests * tenth // 10 - sent) > 0:
                _say(f"soak: {sent:,} of {requests:,} requests")
                span = min(max(1, math.floor(missing / rate)), SLICE, seconds)
                counted = self._generator.run(running.target, era, Mode.FRESH, span)
                if counted.errors or not counted.requests:
                    self._fail(OURS, f"{counted.errors} errors while soaking")
                    return
                sent, rate = sent + counted.requests, counted.rate
            self.found.soak.append((sent, running.resident()))

    def _cells(self) -> Iterator[Cell]:
        """The cells of the targets still up: tools of their own with one token, then with others; imported tools."""
        up = [running.target for running in self._up.values()]
        servers = [one for one in up if one.kind is Kind.SERVER]
        variants = [one for one in up if one.kind is Kind.VARIANT]
        for era in Era:
            yield from (Cell(one.name, era, Mode.CACHED) for one in [*servers, *variants] if era in one.eras)
        yield from (Cell(one.name, one.fresh_era, Mode.FRESH) for one in servers if one.guarded)
        imports = [one for one in [*up, *self._loops] if one not in servers and one not in variants]
        yield from (Cell(one.name, Era.MODERN, Mode.CACHED) for one in imports)
        compared = [one for one in servers if one.name in (YARDSTICK, OURS) and imports]
        yield from (Cell(one.name, Era.MODERN, Mode.ALONE) for one in [*compared, *imports])

    def _start(self, target: Target) -> Running:
        running, took = self._start_once(target)
        times = [took]
        for _ in range(STARTS - 1):
            running.stop()
            running, took = self._start_once(target)
            times.append(took)
        self.found.starts[target.name] = times
        return running

    def _start_once(self, target: Target) -> tuple[Running, float]:
        running, took = start(target, self._tokens.one)
        self._stack.callback(running.stop)
        return running, took

    def _round(self, cell: Cell, seconds: int, *, keep: bool) -> None:
        going = [*self._loops, *(running.target for running in self._up.values())]
        target = next((one for one in going if one.name == cell.target), None)
        if target is None:
            return
        running = self._up.get(cell.target)  # a loop is no process that stays
        used = running.processor_s() if running else 0.0
        try:
            counted = self._generator.run(target, cell.era, cell.mode, seconds)
        except LoadError as error:
            self._fail(cell.target, str(error))
            return
        if running and counted.requests:
            used = running.processor_s() - used
            counted = counted._replace(cpu_us=used / counted.requests * 1e6)
        if keep:
            self.found.rounds.setdefault(cell, []).append(counted)
            if counted.errors:
                errors = self.found.errors(cell)
                self.found.failures[cell.target] = f"{cell.era} {cell.mode}: {errors} errors"

    def _fail(self, name: str, reason: str) -> None:
        self._up.pop(name, None)
        self.found.failures[name] = reason
        _say(f"{name} failed: {reason}")


def build(targets: Sequence[Target], found: Findings) -> list[Target]:
    """The targets whose build worked or was there already."""
    built = []
    for target in targets:
        try:
            target.build()
            built.append(target)
        except BuildError as error:
            found.failures[target.name] = str(error)
    return built


def _check(target: Target, tokens: Tokens) -> None:
    """The answer is right in each era, and without a good token there is none."""
    if target.kind is Kind.UPSTREAM:
        return
    for era in target.eras:
        wrong = calls.complaint(target.call, calls.post(target.port, era, target.call, tokens.one))
        if wrong is not None:
            raise TargetError(f"{era}: {wrong}")
        refused = {"no token": None, **tokens.refused} if target.guarded else {}
        for what, token in refused.items():
            status = calls.post(target.port, era, target.call, token).status
            if status != 401:
                raise TargetError(f"{era}: {what} is answered {status} instead of 401")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
