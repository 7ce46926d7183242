"""What one caller may use."""

from typing import ClassVar, Final

from pydantic import Field

from mcp_server.engine.pipeline import Limits
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.limits.rate import RateLimiter
from mcp_server.sessions.subscriptions import SubscriptionLimits
from mcp_server.settings.group import Group

MESSAGES_A_CALL: Final = 10
"""Messages that begin no handler are cheap: so many a second for each call, and so many at least."""


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
        description="handlers of one principal begun in a second on a worker, on average; up to five seconds' worth "
        "may come at once. More get 429 with `Retry-After`. Messages that begin no handler have ten times "
        "as many, 10 at least. Callers without a token are told apart by their address (IPv6: its /64), "
        "behind a proxy only with `MCP_TRUSTED_PROXIES`: else they share one rate",
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

    def pipeline(self, call_timeout_s: float) -> Limits:
        """What `engine/pipeline.py` holds each caller to."""
        per_second = self.max_calls_per_second_per_principal
        return Limits(
            calls=ConcurrencyLimiter(self.max_calls_per_principal),
            rate=RateLimiter(per_second),
            messages=RateLimiter(max(MESSAGES_A_CALL * per_second, MESSAGES_A_CALL)),
            call_timeout_s=call_timeout_s,
        )
