"""Each secret is rotated while calls go on: none fails, the old value is over, and no value is anywhere to be read.

Two rotations here, in which each place has its turn; `python -m tests.operate.secrets` has each secret in each place.
"""

from pathlib import Path

import pytest

from tests.kit.managers.cases import LINES
from tests.kit.managers.server import Fault
from tests.kit.rotation.parts import MARK
from tests.kit.rotation.places import PLACES
from tests.kit.rotation.running import rotating

pytestmark = pytest.mark.live
FAULTS: dict[str, Fault] = {
    "aws": "expired",
    "ssm": "denied",
    "azure": "broken",
    "gcp": "absent",
    "vault": "garbled",
}


async def test_each_secret_is_rotated_under_load(tmp_path: Path) -> None:
    async with rotating(tmp_path) as rotation:
        first = await rotation.rotate(0)
        second = await rotation.rotate(4, amid=FAULTS)
        readable = await rotation.readable()
    assert rotation.load.failed == []
    assert {*first.where.values(), *second.where.values()} == set(PLACES)
    assert all(first.refused.values())
    assert all(second.refused.values())
    assert len(second.problems) == len(FAULTS)
    for place, fault in FAULTS.items():
        assert any(f": {LINES[fault][place]} (MCP_SECRETS)" in line for line in second.problems)
    assert not any(MARK in text for text in readable)
