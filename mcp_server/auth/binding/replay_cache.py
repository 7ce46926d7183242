"""Replay cache: a proof of possession is good once (RFC 9449 §11.1), on this worker and on all that share a store."""

import contextlib
import hashlib
import secrets
from typing import Final

from mcp_server.auth.binding.dpop import PROOF_AGE_S, TakenProof, UsedProof
from mcp_server.auth.binding.shared_replays import SharedReplayTable, TableFull
from mcp_server.auth.refusals import AccessDenied, AccessDeniedError, DenialReason, refuse
from mcp_server.store.backend import StateBackend, StoreUnavailable

MAX_REMEMBERED: Final = 100_000
"""Some 10 MB; one caller at the default of 100 calls a second has 36,000 within their age."""
MARGIN_S: Final = 60
"""How far the clocks of workers may differ: a claim outlives its proof on the slowest of them."""
SLACK_S: Final = 5
"""How long a worker may take from its look at the clock to its claim, on a machine where all have one clock."""
RETRY_S: Final = 5
_SLOT_S: Final = 60
_ID_BYTES: Final = 16


class ReplayCache:
    """Replay cache of proof ids, by who holds the token; none is forgotten while its proof could be accepted again.

    Where all room is taken, whoever has their fair part of it is refused: who floods fills the cache for themselves,
    under many keys, too, for it is counted by person or client. Others may still go up to their part, so the whole
    grows with the logarithm of their number. Ids lie in slots by the minute of `iat`, and end with their proof by the
    clock that judges it, even one that is set back.
    """

    def __init__(self, max_remembered: int = MAX_REMEMBERED) -> None:
        self._max = max_remembered
        self._slots: dict[int, dict[str, set[bytes]]] = {}
        self._held: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take(self, holder: str, proof: UsedProof, *, now: float) -> None:
        """Remember a proof; raises `AccessDeniedError` where it is known, or where its holder has too many."""
        self._forget(now)
        digest = _digest(proof.proof_id)
        if any(digest in slot.get(holder, ()) for slot in self._slots.values()):
            raise refuse(DenialReason.BAD_PROOF, "proof replayed")
        mine = self._held.get(holder, 0)
        if self._count >= self._max and mine * len(self._held) >= self._max:
            detail = f"{mine} of one holder"
            raise AccessDeniedError(
                AccessDenied(reason=DenialReason.TOO_MANY_PROOFS, detail=detail, retry_after_s=_SLOT_S)
            )
        self._slots.setdefault(int(proof.issued_at // _SLOT_S), {}).setdefault(holder, set()).add(digest)
        self._held[holder] = mine + 1
        self._count += 1

    def give_back(self, holder: str, proof: UsedProof) -> None:
        """Forget a proof that was taken and by which nothing was done."""
        slot = int(proof.issued_at // _SLOT_S)
        there = self._slots.get(slot, {})
        ids, digest = there.get(holder, set()), _digest(proof.proof_id)
        if digest not in ids:  # so old by now that it went with its slot
            return
        ids.remove(digest)
        if not ids:
            del there[holder]
        self._less(holder, 1)

    def _forget(self, now: float) -> None:
        """Drop the slots all of whose proofs are too old."""
        for slot in [one for one in self._slots if (one + 1) * _SLOT_S + PROOF_AGE_S < now]:
            for holder, ids in self._slots.pop(slot).items():
                self._less(holder, len(ids))

    def _less(self, holder: str, number: int) -> None:
        self._count -= number
        self._held[holder] -= number
        if not self._held[holder]:
            del self._held[holder]


async def claim(backend: StateBackend, holder: str, proof: UsedProof, *, now: float) -> str:
    """Take a proof for all workers; raises `AccessDeniedError` where another had it, or where nobody can say.

    What it returns gives it back.

    After `ReplayCache.take`, whose bounds so hold for what is written to the store. A store that is away refuses: a
    thief who can silence it would else replay what was heard (503, for the token and the proof may well be right).
    """
    token = secrets.token_hex(8)
    try:
        first = await backend.claim(_key(holder, proof), proof.issued_at + PROOF_AGE_S - now + MARGIN_S, token)
    except StoreUnavailable as error:
        refusal = AccessDenied(reason=DenialReason.PROOFS_AWAY, detail=str(error), retry_after_s=RETRY_S)
        raise AccessDeniedError(refusal) from error
    if not first:
        raise refuse(DenialReason.BAD_PROOF, "proof replayed to another worker")
    return token


async def give_back(backend: StateBackend, taken: TakenProof) -> None:
    """Let a proof be taken again by any worker; where the store is away it stays taken, which harms nobody."""
    with contextlib.suppress(StoreUnavailable):
        await backend.release(_key(taken.holder, taken.used), taken.claim)


def claim_here(shared: SharedReplayTable, holder: str, proof: UsedProof, *, now: float) -> None:
    """Take a proof for all workers of this machine; raises `AccessDeniedError` as `claim` does.

    Instead of `ReplayCache.take`: the table has bounds of its own, and what it refuses is remembered nowhere.
    """
    try:
        first = shared.claim(holder, proof.proof_id, _ends_here(proof), now=now)
    except TableFull as error:
        full = AccessDenied(
            reason=DenialReason.TOO_MANY_PROOFS, detail="of one holder on all workers", retry_after_s=_SLOT_S
        )
        raise AccessDeniedError(full) from error
    except OSError as error:
        refusal = AccessDenied(reason=DenialReason.PROOFS_AWAY, detail=str(error), retry_after_s=RETRY_S)
        raise AccessDeniedError(refusal) from error
    if not first:
        raise refuse(DenialReason.BAD_PROOF, "proof replayed")


def give_back_here(shared: SharedReplayTable, holder: str, proof: UsedProof, *, now: float) -> None:
    """Let a proof be taken again by any worker of this machine; where the table cannot be had it stays taken."""
    with contextlib.suppress(OSError):
        shared.give_back(holder, proof.proof_id, _ends_here(proof), now=now)


def _ends_here(proof: UsedProof) -> float:
    return proof.issued_at + PROOF_AGE_S + SLACK_S


def _key(holder: str, proof: UsedProof) -> str:
    return "dpop:" + _digest(f"{holder}\n{proof.proof_id}").hex()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:_ID_BYTES]
