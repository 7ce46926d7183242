"""A line of the audit as a value; never a token, only its digest, and never a session's id."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec

Begun = Literal["off", "late", "before"]
"""Which calls leave a line at their beginning, so that one shows that a killed process never ended."""


class Decision(msgspec.Struct, omit_defaults=True):
    """Who asked for what, and what was decided why. `time` is in seconds since the epoch.

    `decision` is `allow` or `deny`, or `begun` of a call that runs; `closed` ends what one worker has written. `method`
    is JSON-RPC's, or HTTP's where no message was read; `route` the path of a guarded route as it is declared.
    """

    time: float
    decision: str
    reason: str = ""
    request_id: str = ""
    call: str = ""
    """What the lines of one call share, where it left one when it began."""
    address: str = ""
    trace_id: str = ""
    span_id: str = ""
    """The span of this server's that it is about, where one is recorded; else what its caller named, if anything."""
    trace_flags: str = ""
    """In two hex digits, as W3C Trace Context has them: `01` where the trace is recorded. None without a span."""
    issuer: str = ""
    subject: str = ""
    client: str = ""
    method: str = ""
    tool: str = ""
    arguments: Mapping[str, Any] | None = None
    """Those that the tool declares for the audit, and no others."""
    needed: Collection[str] = ()
    held: Collection[str] = ()
    token: str = ""
    kind: str = ""
    """`client` where a client acted for itself, `on_behalf` where another acted for the person; else a person."""
    act: Collection[str] = ()
    """Who acts for the person, as the token says (RFC 8693 §4.1): the one who calls, then those before it."""
    route: str = ""
    seconds: float | None = None
    """How long what was allowed ran; of a refusal, that something ran before it."""
    size: int = 0
    """Bytes of the answer."""
    more: int = 0
    """The line stands for so many others, which came between `time` and `until`."""
    until: float = 0.0
    why: str = ""
    """Who revoked tokens, and why."""
