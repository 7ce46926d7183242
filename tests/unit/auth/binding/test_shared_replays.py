"""The shared replay table: a proof is good once on all workers of a machine, whatever becomes of one of them."""

import fcntl
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.binding import replay_cache
from mcp_server.auth.binding.dpop import PROOF_AGE_S, UsedProof
from mcp_server.auth.binding.shared_replays import SharedReplayTable, TableFull
from mcp_server.auth.refusals import AccessDenied, AccessDeniedError, DenialReason
from mcp_server.auth.tokens.bearer import Credentials
from mcp_server.identity import Principal
from tests.kit import proofs
from tests.kit.issuers import Paper
from tests.kit.proofs import KEY

NOW = 1_800_000_000.0
SECRET = b"s" * 32


def is_open(path: Path) -> bool:
    return any(one.resolve() == path for one in Path("/proc/self/fd").iterdir())


async def test_the_same_proof_is_refused_by_each_worker_but_the_first(tmp_path: Path) -> None:
    issuer = Paper()
    token = issuer.token(cnf={"jkt": KEY.thumbprint()}, typ="DPoP")
    sent = Credentials(token.encode(), bound=True)
    async with issuer.fetcher() as fetcher:
        tables = [SharedReplayTable(tmp_path / "proofs", 64, SECRET) for _ in range(4)]
        workers = [Authenticator(issuer.config(), fetcher=fetcher, replays=table) for table in tables]
        for first in range(4):
            once = proofs.of_request(proofs.made(token))
            outcomes = [await worker.authenticate(sent, once) for worker in workers[first:] + workers[:first]]
            assert isinstance(outcomes[0], Principal)
            assert [one.reason for one in outcomes[1:] if isinstance(one, AccessDenied)] == [DenialReason.BAD_PROOF] * 3
        for worker in workers:
            await worker.stop()
    assert not is_open(tmp_path / "proofs")


def test_of_workers_at_once_one_is_first(tmp_path: Path) -> None:
    tables = [SharedReplayTable(tmp_path / "proofs", 1 << 12, SECRET) for _ in range(4)]
    tables[0].claim("alice", "before", NOW, now=NOW)
    with ThreadPoolExecutor(4) as pool:
        won = list(
            pool.map(lambda table: [table.claim("alice", str(one), NOW + 9, now=NOW) for one in range(200)], tables)
        )
    assert [sum(row) for row in zip(*won, strict=True)] == [1] * 200
    for table in tables:
        table.close()
        table.close()
    assert (tmp_path / "proofs").stat().st_mode & 0o777 == 0o600


def test_a_proof_is_remembered_until_it_ends_and_its_place_is_free_again(tmp_path: Path) -> None:
    table = SharedReplayTable(tmp_path / "proofs", 4, SECRET)  # room for three

    def claim(holder: str, *, until: float, at: float) -> bool:
        return table.claim(holder, "1", NOW + until, now=NOW + at)

    assert claim("alice", until=65, at=0)
    assert not claim("alice", until=65, at=64.9)
    assert claim("bob", until=65, at=0)
    assert claim("carol", until=65, at=0)
    with pytest.raises(TableFull):
        claim("dan", until=125, at=64.9)
    assert not claim("bob", until=125, at=64.9)
    assert claim("dan", until=500, at=121)  # the minute in which they ended is over
    assert claim("alice", until=500, at=121)
    table.close()


def refused(table: SharedReplayTable, proof: str) -> DenialReason | None:
    try:
        replay_cache.claim_here(table, "alice", UsedProof(proof, NOW), now=NOW)
    except AccessDeniedError as error:
        return error.refusal.reason
    return None


def test_a_table_that_is_full_or_away_believes_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = SharedReplayTable(tmp_path / "proofs", 2, SECRET)
    assert [refused(table, one) for one in ("a", "a", "b")] == [
        None,
        DenialReason.BAD_PROOF,
        DenialReason.TOO_MANY_PROOFS,
    ]
    assert not table.claim("alice", "a", NOW, now=NOW + PROOF_AGE_S)  # as long as it would be accepted
    assert refused(SharedReplayTable(tmp_path / "nowhere" / "proofs", 4, SECRET), "c") is DenialReason.PROOFS_AWAY
    with (tmp_path / "proofs").open("rb") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)  # by a worker that is stopped: the others go on
        assert refused(table, "c") is DenialReason.PROOFS_AWAY
    assert refused(table, "a") is DenialReason.BAD_PROOF
    table.close()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    assert refused(table, "a") is DenialReason.PROOFS_AWAY


def test_a_table_that_has_no_room_on_its_disk_keeps_no_descriptor(tmp_path: Path) -> None:
    """One for each call that was refused: after some thousands nobody could connect any more."""
    table = SharedReplayTable(tmp_path / "proofs", 4, SECRET)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        assert refused(table, "a") is DenialReason.PROOFS_AWAY
        assert not is_open(tmp_path / "proofs")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert refused(table, "a") is None
    table.close()
    assert not is_open(tmp_path / "proofs")


def test_places_that_were_used_before_are_used_again_for_ever(tmp_path: Path) -> None:
    table = SharedReplayTable(tmp_path / "proofs", 4, SECRET)
    for number in range(64):
        now = NOW + 600 * number
        assert table.claim("alice", str(number), now + 300, now=now)
        assert not table.claim("alice", str(number), now + 300, now=now)
    table.close()


def test_what_is_given_back_takes_no_place_and_can_be_taken_again(tmp_path: Path) -> None:
    one, other = (SharedReplayTable(tmp_path / "proofs", 64, SECRET) for _ in range(2))
    for _ in range(100):  # more than there are places, and than a holder's part
        assert one.claim("alice", "1", NOW + 9, now=NOW)
        assert not other.claim("alice", "1", NOW + 9, now=NOW)
        other.give_back("alice", "1", NOW + 9, now=NOW)
    other.give_back("alice", "1", NOW + 9, now=NOW)
    assert one.claim("alice", "2", NOW + 9, now=NOW)
    for table in (one, other):
        table.close()


def test_what_is_given_back_later_than_it_is_counted_takes_nothing_of_others(tmp_path: Path) -> None:
    table = SharedReplayTable(tmp_path / "proofs", 64, SECRET)
    assert table.claim("alice", "1", NOW + 9, now=NOW)
    later = NOW + 8 * 60  # a round of the counters: that minute is another one's by now
    assert table.claim("alice", "2", later + 9, now=later)
    table.give_back("alice", "1", NOW + 9, now=NOW)
    assert not table.claim("alice", "2", later + 9, now=later)
    table.close()


async def test_a_request_that_is_refused_by_a_limit_gives_its_place_back(tmp_path: Path) -> None:
    issuer = Paper()
    token = issuer.token(cnf={"jkt": KEY.thumbprint()}, typ="DPoP")
    sent = Credentials(token.encode(), bound=True)
    async with issuer.fetcher() as fetcher:
        asked = Authenticator(
            issuer.config(), fetcher=fetcher, replays=SharedReplayTable(tmp_path / "proofs", 64, SECRET)
        )
        once = proofs.of_request(proofs.made(token))
        for _ in range(3):
            assert isinstance(await asked.authenticate(sent, once), Principal)
            await asked.give_back(once)
            await asked.give_back(once)
        await asked.stop()
