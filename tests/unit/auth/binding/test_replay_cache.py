"""The replay cache: each proof once, as long as it could be accepted, and nobody pushes out another's."""

import pytest

from mcp_server.auth.binding import replay_cache
from mcp_server.auth.binding.dpop import PROOF_AGE_S, TakenProof, UsedProof
from mcp_server.auth.binding.replay_cache import MARGIN_S, ReplayCache
from mcp_server.auth.refusals import AccessDeniedError, DenialReason
from mcp_server.store.memory import InMemoryBackend


def take(
    replays: ReplayCache, holder: str, proof_id: object, *, now: float, issued_at: float | None = None
) -> DenialReason | None:
    try:
        replays.take(holder, UsedProof(str(proof_id), now if issued_at is None else issued_at), now=now)
    except AccessDeniedError as refused:
        return refused.refusal.reason
    return None


@pytest.mark.parametrize("ahead", [-PROOF_AGE_S, -1, 0, 59, PROOF_AGE_S])
def test_a_proof_is_remembered_as_long_as_it_could_be_accepted_and_then_forgotten(ahead: float) -> None:
    replays, now = ReplayCache(), 1_800_000_000.5
    issued_at = now + ahead
    assert take(replays, "alice", "1", issued_at=issued_at, now=now) is None
    for later in (now, issued_at + PROOF_AGE_S, now - 3600, issued_at + PROOF_AGE_S):  # set back, and come round again
        assert take(replays, "alice", "1", issued_at=issued_at, now=later) is DenialReason.BAD_PROOF
    assert take(replays, "alice", "2", now=now + 5000) is None
    assert len(replays) == 1
    assert take(replays, "alice", "3", now=now + 10_000) is None
    assert len(replays) == 1


def test_the_older_proofs_of_a_caller_are_forgotten_and_the_newer_are_not() -> None:
    replays = ReplayCache()
    for now in (0.0, 200.0):
        assert take(replays, "alice", now, now=now) is None
    assert take(replays, "alice", 200.0, issued_at=200.0, now=400.0) is DenialReason.BAD_PROOF
    assert len(replays) == 1


def test_who_floods_with_proofs_is_refused_and_pushes_nobody_out() -> None:
    replays = ReplayCache(max_remembered=100)
    assert take(replays, "alice", "before", now=0.0) is None
    flood = [take(replays, "mallory", number, now=1.0) for number in range(300)]
    assert flood == [None] * 99 + [DenialReason.TOO_MANY_PROOFS] * 201
    assert take(replays, "alice", "before", now=2.0) is DenialReason.BAD_PROOF
    assert take(replays, "mallory", 0, now=2.0) is DenialReason.BAD_PROOF
    others = [take(replays, "alice", number, now=2.0) for number in range(60)]
    assert others == [None] * 49 + [DenialReason.TOO_MANY_PROOFS] * 11  # a half, for there are two
    assert take(replays, "bob", 0, now=2.0) is None
    assert take(replays, "mallory", "new", now=1000.0) is None
    assert len(replays) == 1


@pytest.mark.parametrize("ahead", [-PROOF_AGE_S, 0, PROOF_AGE_S])
async def test_a_claim_outlives_its_proof_on_the_slowest_clock(ahead: float) -> None:
    """`now` of a claim is the wall clock's, which judges proofs; its life is counted by the store's own."""
    age, now = [0.0], 1_800_000_000.0
    store, proof = InMemoryBackend(clock=lambda: age[0]), UsedProof("key:1", now + ahead)
    await replay_cache.claim(store, "alice", proof, now=now)
    await replay_cache.claim(store, "bob", proof, now=now)
    await replay_cache.claim(store, "alice", UsedProof("key:2", now), now=now)
    age[0] = ahead + PROOF_AGE_S + MARGIN_S - 1
    with pytest.raises(AccessDeniedError) as refused:
        await replay_cache.claim(store, "alice", proof, now=now + age[0])
    assert refused.value.refusal.reason is DenialReason.BAD_PROOF


def test_what_is_given_back_takes_no_place_and_can_be_taken_again() -> None:
    replays, proof = ReplayCache(max_remembered=2), UsedProof("1", 0.0)
    for _ in range(5):
        replays.take("alice", proof, now=0.0)
        replays.give_back("alice", proof)
    assert len(replays) == 0
    assert not replays._held
    assert take(replays, "alice", "0", now=0.0) is None
    assert take(replays, "alice", "1", now=0.0) is None
    replays.give_back("alice", proof)
    assert take(replays, "alice", "0", now=0.0) is DenialReason.BAD_PROOF
    assert len(replays) == 1
    replays.give_back("alice", proof)
    assert take(replays, "bob", "0", now=1000.0) is None  # all of alice's are too old by now
    replays.give_back("alice", UsedProof("0", 0.0))
    assert len(replays) == 1


async def test_a_claim_is_given_back_by_who_has_it() -> None:
    store, proof = InMemoryBackend(), UsedProof("key:1", 0.0)
    claim = await replay_cache.claim(store, "alice", proof, now=0.0)
    await replay_cache.give_back(store, TakenProof("alice", proof, "another's"))
    with pytest.raises(AccessDeniedError):
        await replay_cache.claim(store, "alice", proof, now=0.0)
    await replay_cache.give_back(store, TakenProof("alice", proof, claim))
    await replay_cache.claim(store, "alice", proof, now=0.0)
