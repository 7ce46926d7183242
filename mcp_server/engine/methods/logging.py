"""`logging/setLevel`: from which level on a legacy session's client hears a handler's log (2025-11-25 §Logging)."""

import msgspec
from msgspec import Raw

from mcp_server.protocol import errors
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.notifications import SetLevelParams
from mcp_server.sessions.session import Session, Sessions

_decode = msgspec.json.Decoder(SetLevelParams).decode


async def set_level(sessions: Sessions, session: Session, params: Raw) -> dict[str, object] | RpcError:
    """Remember the level in the session."""
    try:
        level = _decode(params).level
    except errors.UNREADABLE as error:
        return errors.invalid_params(str(error))
    await sessions.change(session, lambda one: msgspec.structs.replace(one, log_level=level))
    return {}
