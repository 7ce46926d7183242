"""The shared replay table under a flood: whoever floods it is refused, and nobody else."""

import hashlib
import os
from collections import Counter
from pathlib import Path

import pytest

from mcp_server.auth.binding import replay_cache
from mcp_server.auth.binding.dpop import PROOF_AGE_S, PROOF_AHEAD_S, UsedProof
from mcp_server.auth.binding.shared_replays import SharedReplayTable
from mcp_server.auth.refusals import AccessDeniedError, DenialReason

NOW = 1_800_000_000.0
PLACES = 1 << 10
ROOM = PLACES * 3 // 4
KEY = b"k" * 32


def taken(
    table: SharedReplayTable, holder: str, proof: str, *, now: float = NOW, ahead: float = 0
) -> DenialReason | None:
    try:
        replay_cache.claim_here(table, holder, UsedProof(proof, now + ahead), now=now)
    except AccessDeniedError as error:
        return error.refusal.reason
    return None


def in_one_region(holder: str, count: int) -> list[str]:
    """Proof ids that an attacker picks, whose unkeyed digests would all lie in an eighth of the table."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        number += 1
        digest = hashlib.sha256(f"{holder}\n{number}".encode()).digest()
        if int.from_bytes(digest[:8], "little") % PLACES < PLACES // 8:
            found.append(str(number))
    return found


def test_chosen_ids_crowd_no_region_of_the_table(tmp_path: Path) -> None:
    table = SharedReplayTable(tmp_path / "proofs", PLACES, KEY)
    assert {taken(table, "mallory", one) for one in in_one_region("mallory", PLACES // 7)} == {None}
    assert {taken(table, f"other{one % 50}", str(one)) for one in range(200)} == {None}
    table.close()


@pytest.mark.parametrize("ahead", [-PROOF_AGE_S, 0, PROOF_AHEAD_S])
@pytest.mark.parametrize(("floods", "second"), [(1, 59.9), (2, 0.0), (5, 30.0)])
def test_who_floods_is_refused_at_an_equal_part_and_nobody_else(
    tmp_path: Path, floods: int, second: float, ahead: float
) -> None:
    table = SharedReplayTable(tmp_path / "proofs", PLACES, KEY)
    now = NOW + second
    said = Counter(taken(table, f"mallory{one % floods}", str(one), now=now, ahead=ahead) for one in range(PLACES))
    assert set(said) == {None, DenialReason.TOO_MANY_PROOFS}
    assert said[None] >= ROOM // 5
    assert taken(table, "mallory0", "0", now=now) is DenialReason.BAD_PROOF  # forgotten for nobody's sake
    assert {taken(table, f"other{one}", "first", now=now) for one in range(50)} == {None}
    assert taken(table, "mallory0", "more", now=now) is DenialReason.TOO_MANY_PROOFS
    later = now + PROOF_AHEAD_S + PROOF_AGE_S + 2 * 60  # when the others' have ended, too
    assert {taken(table, "mallory0", str(one), now=later) for one in range(ROOM // 5)} == {None}
    table.close()


def test_a_proof_that_was_refused_takes_no_place_and_is_good_later(tmp_path: Path) -> None:
    table = SharedReplayTable(tmp_path / "proofs", PLACES, KEY)
    while taken(table, "mallory", str(sent := os.urandom(8))) is None:
        pass
    assert taken(table, "mallory", str(sent)) is DenialReason.TOO_MANY_PROOFS
    assert taken(table, "mallory", str(sent), now=NOW + PROOF_AGE_S + 2 * 60) is None
    table.close()


def test_a_count_of_a_clock_that_was_ahead_is_not_counted_on(tmp_path: Path) -> None:
    table = SharedReplayTable(tmp_path / "proofs", PLACES, KEY)
    ahead = NOW + 60 * 8 * 60  # its minutes lie where those of NOW do
    assert {taken(table, "mallory", str(one), now=ahead) for one in range(ROOM // 5)} == {None}
    assert {taken(table, "mallory", str(one)) for one in range(ROOM // 5, ROOM * 2 // 5)} == {None}
    assert taken(table, "mallory", str(ROOM // 5)) is DenialReason.BAD_PROOF
    table.close()


def test_workers_find_a_proof_by_the_key_of_their_server_only(tmp_path: Path) -> None:
    ours, same, other = (SharedReplayTable(tmp_path / "proofs", PLACES, key) for key in (KEY, KEY, b"l" * 32))
    assert taken(ours, "alice", "1") is None
    assert taken(same, "alice", "1") is DenialReason.BAD_PROOF
    assert taken(other, "alice", "1") is None
    for table in (ours, same, other):
        table.close()
