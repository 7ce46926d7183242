"""What a handler may ask of its call: who calls, which call it is, the state that handlers share."""

from typing import Any

import msgspec

from mcp_server.identity import Principal


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Injected into a handler by its annotation. `principal` is None only in public tools called without a token.

    `state` is one dictionary for the whole server process: what a lifespan opened, handlers find there.
    """

    principal: Principal | None
    request_id: str
    trace_id: str
    revision: str
    state: dict[str, Any]
