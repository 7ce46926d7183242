"""`initialize`, `server/discover` and `ping`."""

from typing import Any, Final

import msgspec

from mcp_server.engine.server import McpServer
from mcp_server.protocol import faults, meta, revisions
from mcp_server.protocol.faults import Rejection
from mcp_server.protocol.shape import COMPLETE
from mcp_server.protocol.types.lifecycle import DiscoverResult, InitializeParams, InitializeResult

LIST_TTL_MS: Final = 60_000
_decode_initialize = msgspec.json.Decoder(InitializeParams).decode


def capabilities(server: McpServer) -> dict[str, Any]:
    """What the server advertises: a chapter is there when something is registered in it."""
    return {"tools": {}} if server.tools else {}


def initialize(server: McpServer, params: msgspec.Raw) -> InitializeResult | Rejection:
    """Agree on a legacy revision."""
    try:
        asked = _decode_initialize(params)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return faults.invalid_params(str(error))
    return InitializeResult(
        protocol_version=revisions.negotiate(asked.protocol_version),
        capabilities=capabilities(server),
        server_info=server.info,
        instructions=server.instructions,
    )


def agreed_revision(params: msgspec.Raw) -> str:
    """What `initialize` with these params, which are known to be good, has agreed on."""
    return revisions.negotiate(_decode_initialize(params).protocol_version)


def discover(server: McpServer) -> DiscoverResult:
    """What a modern client learns; public only where strangers are answered, too."""
    return DiscoverResult(
        supported_versions=list(revisions.MODERN),
        capabilities=capabilities(server),
        ttl_ms=LIST_TTL_MS,
        cache_scope="public" if server.has_public else "private",
        result_type=COMPLETE,
        instructions=server.instructions,
        meta={meta.SERVER_INFO: server.info},
    )
