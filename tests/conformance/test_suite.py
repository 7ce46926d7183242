"""The official suite passes, with one worker and with four that share a Redis, authorization on."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conformance import suite
from tests.kit.served import running_redis

pytestmark = pytest.mark.live
LEAST = {
    "requirements 2025-11-25": 84,
    "requirements 2026-07-28": 197,
    "suite all": 234,
    "suite all, 2025-11-25": 84,
    "suite all, 2026-07-28": 153,
}
"""Checks that passed when this was written: fewer means that scenarios no longer run."""
REQUIRED = [name for name in suite.SETS if name.startswith("requirements ")]


def check(outcomes: list[suite.Outcome], names: Iterable[str] = suite.SETS) -> None:
    assert [outcome.name for outcome in outcomes] == list(names)
    for outcome in outcomes:
        print(outcome.line())
        assert outcome.good, outcome.bad
        assert outcome.counts["SUCCESS"] >= LEAST[outcome.name], outcome.counts


@pytest.mark.requirement(
    "1.1",
    "1.2",
    "1.16",
    "2.10",
    "2.16",
    "3.4",
    "3.6",
    "5.12",
    "5.20",
    "6.1",
    "6.2",
    "6.4",
    "6.5",
    "7.4",
    "7.5",
    "8.1",
    "8.4",
    "8.7",
    "8.8",
    "8.12",
    "8.15",
    "9.1",
    "10.1",
    "11.1",
    "12.1",
    "13.1",
    "15.3",
    "16.1",
    "17.1",
    "17.2",
    "17.14",
    "21.2",
    "22.3",
    "22.9",
)
async def test_one_worker_passes_every_set(tmp_path: Path) -> None:
    check(await suite.run_all(tmp_path))


@pytest.mark.requirement("1.11", "1.12", "1.13", "21.6")
async def test_four_workers_with_redis_pass_what_is_required(tmp_path: Path) -> None:
    """The other sets have the same scenarios over the same wires (and three of an extension): `make conformance`."""
    async with running_redis(tmp_path) as redis:
        check(await suite.run_all(tmp_path, REQUIRED, workers=4, redis=redis), REQUIRED)
