"""The limits of a call: those stated for the server, its tool, its caller and its client, and what over one becomes."""

import asyncio
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

import msgspec

from mcp_server.engine.call import Admitted, Call
from mcp_server.engine.outcome import Limited, Slug
from mcp_server.limits.allowances import NOTHING_HELD, SLOT_LEASE_S, Ask, Refusal, Wanted
from mcp_server.limits.ledger import Batch, Settled
from mcp_server.limits.limiter import Limiter
from mcp_server.limits.rule import UNBOUNDED, Bounds, Kind, Limit, Scope
from mcp_server.registry.tool import Tool
from mcp_server.store.backend import StoreUnavailable

SERVER: Final = "*"
"""The name under which an operator states limits of all calls together."""
_SLUGS: Final[dict[Kind, Slug]] = {
    "rate": "too_fast", "at_once": "too_many_at_once", "day": "quota_used", "month": "quota_used",
}  # fmt: skip


@runtime_checkable
class Settles(Protocol):
    """A state backend that counts limits for all workers."""

    async def settle(
        self, entries: Sequence[Sequence[str | float]], asks: Sequence[tuple[int, Sequence[int]]], lease_ms: int
    ) -> tuple[int, list[int], list[int]]:
        """The workers, the state of each account, and two numbers for each call; raises `StoreUnavailable`."""


class SharedLimitLedger:
    """The ledger in a state backend."""

    def __init__(self, backend: Settles) -> None:
        self._backend = backend

    async def settle(self, batch: Batch) -> Settled | None:
        """None where the store is away: that is no reason to refuse anybody."""
        try:
            workers, states, said = await self._backend.settle(batch.entries, batch.asks, int(SLOT_LEASE_S * 1000))
        except StoreUnavailable:
            return None
        return Settled(states, list(zip(said[::2], said[1::2], strict=True)), workers)


class StatedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What settings state: limits of every call, and by name those of tools, which stand for what their author said."""

    everywhere: tuple[Limit, ...] = ()
    tools: Mapping[str, Bounds] = msgspec.field(default_factory=dict)
    told: bool = False
    """Whether callers are told how they stand with each answer."""


class CallLimits:
    """Finds the limits of a call and holds it to them, on all workers that share the limiter's ledger."""

    def __init__(self, stated: StatedLimits, limiter: Limiter) -> None:
        self._tools, self._limiter, self.told = stated.tools, limiter, stated.told
        self._everywhere: list[tuple[Limit, Scope, str]] = [
            (one, one.per or "server", _place(SERVER, one)) for one in stated.everywhere
        ]
        only = stated.everywhere[0] if len(stated.everywhere) == 1 else None
        alone = only is not None and (only.kind, only.per) == ("rate", "principal") and not stated.told
        self._pace = _place(SERVER, only) if alone and only else ""
        self._quick = limiter.allowances.quick
        self.begin, self.settled, self.stands, self.stop = limiter.begin, limiter.wait, limiter.stands, limiter.stop
        """`begin` counts a call against all of its limits, or refuses it and counts it against none."""

    def to_ask(self, admitted: Admitted) -> Sequence[Wanted]:
        """The limits that `begin` is to be asked about before a call runs an author's code.

        Empty where there are none, and where there is only its caller's rate, with which the call has begun here: with
        a store, and where nothing is stated, nearly every call.
        """
        target = admitted.target
        own = UNBOUNDED
        if type(target) is Tool:
            own = self._tools.get(target.name, target.bounds) if self._tools else target.bounds
        if not own.limits and (not self._everywhere or self._paced(admitted)):
            return ()
        return self._wanted(admitted.name, own, admitted.call)

    async def slot(self, tool: Tool, call: Call) -> Callable[[], None]:
        """Wait for a slot of each limit of what runs at once, for a run of a task; returns what gives them back.

        It was counted against rates and quotas when its call came. Who waits holds the task's lease, and none of these.
        """
        own = self._tools.get(tool.name, tool.bounds)
        wanted = [one for one in self._wanted(tool.name, own, call) if one.limit.kind == "at_once"]
        while wanted:
            begun = self.begin(wanted)
            if isinstance(begun, Ask):
                begun = await self.settled(begun)
            if not isinstance(begun, Refusal):
                return begun.release
            await asyncio.sleep(begun.wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all look at once
        return NOTHING_HELD.release

    def _wanted(self, name: str, own: Bounds, call: Call) -> list[Wanted]:
        found = [
            Wanted(one, scope, place, _subject(one, call), cost=own.cost) for one, scope, place in self._everywhere
        ]
        return found + [
            Wanted(one, "tool", _place(name, one), _subject(one, call), cost=own.cost) for one in own.limits
        ]

    def _paced(self, admitted: Admitted) -> bool:
        return bool(self._pace) and self._quick(f"{self._pace}\n{admitted.call.channel.caller}")

    def would_refuse(self, caller: str) -> Limited | None:
        """Why a call of this caller would be refused whatever it names, as far as that is known here."""
        wanted = [Wanted(one, scope, place, caller) for one, scope, place in self._everywhere if one.per == "principal"]
        refused = self._limiter.behind(wanted) if wanted else None
        return None if refused is None else limited(refused)


def limited(refused: Refusal) -> Limited:
    """The outcome of a call over a limit."""
    limit, stated = refused.limit, refused.limit.text
    if refused.cost > 1 and limit.kind in ("day", "month"):
        stated = f"{stated}, of which this call takes {refused.cost}"
    return Limited(_SLUGS[limit.kind], max(1, math.ceil(refused.wait_s)), refused.scope, stated)


def _place(name: str, limit: Limit) -> str:
    return f"{name}\n{limit.text}"


def _subject(limit: Limit, call: Call) -> str:
    """Whom it counts for: a caller without a token by its address, for it has no client either.

    A client's id says something only together with who has given it out.
    """
    match limit.per:
        case "":
            return ""
        case "client" if call.principal is not None:
            return f"{call.principal.issuer}\n{call.principal.client_id}"
        case _:
            return call.channel.caller


def header_fields(standing: Sequence[tuple[Limit, int, float]]) -> list[tuple[str, str]]:
    """`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): an item for each limit."""
    policies, states = [], []
    for limit, left, wait_s in standing:
        name = f'"{limit.text}"'
        policies.append(f"{name};q={limit.burst}" + (f";w={_window(limit)}" if limit.kind != "at_once" else ""))
        states.append(f"{name};r={left}" + (f";t={math.ceil(wait_s)}" if limit.kind != "at_once" else ""))
    return [("ratelimit-policy", ", ".join(policies)), ("ratelimit", ", ".join(states))]


def _window(limit: Limit) -> int:
    match limit.kind:
        case "day":
            return 86_400
        case "month":
            return 30 * 86_400
        case _:
            return max(1, math.ceil(limit.burst * limit.step_s))
