"""What one caller may use."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, ClassVar, Final

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field

from mcp_server.engine.limiting import SERVER, CallLimits, StatedLimits
from mcp_server.engine.pipeline import Limits
from mcp_server.limits import rule
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.limits.ledger import Ledger
from mcp_server.limits.limiter import Limiter
from mcp_server.limits.rate import BURST_S, RateLimiter
from mcp_server.limits.rule import UNBOUNDED, Bounds, Limit
from mcp_server.sessions.subscriptions import SubscriptionLimits
from mcp_server.settings.group import Group, Kind, Shown
from mcp_server.settings.values import json_like

MESSAGES_A_CALL: Final = 10
"""Messages that begin no handler are cheap: so many a second for each call, and so many at least."""


def _right(text: str) -> str:
    rule.bounds(text)
    return text


def _together(stated: dict[str, list[str]]) -> dict[str, list[str]]:
    for name, texts in stated.items():
        if rule.bounds(texts).cost > 1 and name == SERVER:
            raise ValueError(f"a cost is a tool's, and not that of {SERVER!r}")
    return stated


StatedTexts = Annotated[
    dict[str, list[Annotated[str, AfterValidator(_right)]]],
    BeforeValidator(json_like('{"*": ["500/s"], "refund_order": ["5/m per principal"]}')),
    AfterValidator(_together),
    Kind("JSON"),
]


class LimitSettings(Group):
    """Bounds that are always on; docs/operate.md has what is beyond each."""

    title: ClassVar[str] = "What one caller may use"

    max_calls_per_principal: int = Field(
        256,
        ge=1,
        description="handlers of one principal running at once on a worker, those included whose client has hung up "
        "and whose thread still runs, and running tasks; more get 429. Callers without a token count as one, and of "
        "that an address (IPv6: its /64) has a quarter",
    )
    max_calls_per_second_per_principal: float = Field(
        100,
        gt=0,
        description="handlers of one principal begun in a second, on average, on a worker, or on all workers together "
        "with `MCP_REDIS_URL`; up to five seconds' worth may come at once. More get 429 with `Retry-After`. "
        "Messages that begin no handler have ten times "
        "as many, 10 at least. Callers without a token are told apart by their address (IPv6: its /64), "
        "behind a proxy only with `MCP_TRUSTED_PROXIES`: else they share one rate",
    )
    limits: Annotated[StatedTexts, Shown("none")] = Field(
        {},
        description="further limits, by the name of a tool, for which they stand in place of what its author said, or "
        '`*` for all handlers together: `{"*": ["500/s", "10000/day per client"], "refund_order": ["5/m per '
        'principal", "2 at once"]}`. A rate (`/s`, `/m`, `/h`; `burst N` lets N calls through at once, without '
        "it the burst equals the count), a quota of a `/day` or `/month` of UTC, or a number `at once`; `per "
        "principal` and `per client` count for each of them. `cost 5` beside a tool's is what a call of it counts in "
        "quotas, those of `*` among them. With `MCP_REDIS_URL` all workers and machines count "
        "together, without it each worker "
        "by itself. More get 429 with `Retry-After`",
    )
    ratelimit_headers: bool = Field(
        False,
        description="whether answers of handlers tell how the caller stands with its limits, in `RateLimit-Policy` and "
        "`RateLimit` (draft-ietf-httpapi-ratelimit-headers)",
    )
    sync_threads: int = Field(
        40,
        ge=1,
        le=1000,
        description="threads of a worker in which handlers run that are not `async`; one caller has at most half of "
        "them, the rest of its calls wait",
    )
    max_streams: int = Field(10_000, ge=1, description="open listening streams of one worker; more get 429")
    max_streams_per_principal: int = Field(64, ge=1, description="of them, those of one principal")
    max_kept_bytes_per_principal: int = Field(
        16 * 1024 * 1024,
        ge=10_000,
        description="of one principal's tasks, and as much again of the streams that its legacy clients may come back "
        "to, on all workers together. A result beyond it fails its task, what is said beyond it is said and not kept",
    )

    def subscriptions(self) -> SubscriptionLimits:
        """What `sessions/subscriptions.py` needs."""
        return SubscriptionLimits(self.max_streams_per_principal, self.max_streams)

    def pipeline(self, call_timeout_s: float, ledger: Ledger | None = None, workers: int = 1) -> Limits:
        """What `engine/pipeline.py` holds each caller to; with a `ledger` all `workers` or more count together."""
        per_second = self.max_calls_per_second_per_principal
        paced = ledger is not None or self.ratelimit_headers
        return Limits(
            calls=ConcurrencyLimiter(self.max_calls_per_principal),
            rate=None if paced else RateLimiter(per_second),
            messages=RateLimiter(max(MESSAGES_A_CALL * per_second, MESSAGES_A_CALL)),
            stated=CallLimits(self._stated(paced=paced), Limiter(ledger, workers=workers)),
            call_timeout_s=call_timeout_s,
        )

    def unknown(self, tools: Iterable[str]) -> frozenset[str]:
        """The tools that limits are stated for and that are not there: misspelt, or not imported any more."""
        return frozenset(self.limits).difference(tools, {SERVER})

    def unaffordable(self, tools: Mapping[str, Bounds]) -> Iterator[tuple[str, int, str]]:
        """The tools whose calls never fit into a quota of all calls, what one costs, and that quota."""
        stated = {name: rule.bounds(texts) for name, texts in self.limits.items()}
        everywhere = stated.get(SERVER, UNBOUNDED).limits
        for name, own in tools.items():
            cost = stated.get(name, own).cost
            if quota := rule.too_small(everywhere, cost):
                yield name, cost, quota

    def _stated(self, *, paced: bool) -> StatedLimits:
        read = {name: rule.bounds(texts) for name, texts in self.limits.items()}
        everywhere = read.pop(SERVER, UNBOUNDED).limits
        if paced:
            pace = self._pace()
            everywhere = (pace, *(one for one in everywhere if one.text != pace.text))
        return StatedLimits(everywhere=everywhere, tools=read, told=self.ratelimit_headers)

    def _pace(self) -> Limit:
        """That setting as one more limit, of which callers are told as of the others."""
        rate = self.max_calls_per_second_per_principal
        limit = Limit(text="", kind="rate", step_s=1 / rate, tolerance_s=BURST_S, per="principal")
        return msgspec.structs.replace(limit, text=f"{rate:g}/s burst {limit.burst} per principal")
