"""`initialize`, `server/discover` and what the server advertises in each era."""

from typing import Any, Final

import msgspec
from msgspec import Raw

from mcp_server.engine.methods.lists import LIST_TTL_MS
from mcp_server.protocol import errors, revisions
from mcp_server.protocol.downgrade import COMPLETE
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types import tasks
from mcp_server.protocol.types.lifecycle import DiscoverResult, InitializeParams, InitializeResult
from mcp_server.registry.server import McpServer

KEPT: Final = {"elicitation": ("form", "url"), "sampling": ("tools", "context"), "roots": ()}
_decode_initialize = msgspec.json.Decoder(InitializeParams).decode


def capabilities(
    server: McpServer, *, modern: bool, coordinated: bool, extensions: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """What the server advertises: a chapter is there when something is registered in it.

    `extensions` are declared to both eras: SEP-2133 gives `initialize` a member for them, too.

    Where workers do not share what outlives a request (not `coordinated`), there are no sessions, and no notifications
    or tasks: what one worker knows, the next request's worker would not.
    """
    listed: dict[str, Any] = {"listChanged": True} if coordinated else {}
    found: dict[str, Any] = {}
    if server.tools:
        found["tools"] = listed
    if server.resources:
        found["resources"] = {**listed, "subscribe": True} if coordinated else {}
    if server.prompts:
        found["prompts"] = listed
    if server.completions or any(any(one.choices.values()) for one in server.prompts.values()):
        found["completions"] = {}
    if modern or coordinated:
        found["logging"] = {}
    if modern and coordinated and any(tool.task != "never" for tool in server.tools.values()):
        extensions |= {tasks.EXTENSION}
    if extensions:
        found["extensions"] = {name: {} for name in sorted(extensions)}
    return found


def capability_names(advertised: dict[str, Any]) -> frozenset[str]:
    """The names of capabilities, as `protocol.methods` asks for them."""
    names = set(advertised)
    if "subscribe" in advertised.get("resources", {}):
        names.add("resources.subscribe")
    if any("listChanged" in one for one in advertised.values()):
        names.add("listen")
    if tasks.EXTENSION in advertised.get("extensions", {}):
        names |= {"tasks", "listen"}
    return frozenset(names)


def initialize(server: McpServer, params: Raw, advertised: dict[str, Any]) -> InitializeResult | RpcError:
    """Agree on a legacy revision."""
    try:
        asked = _decode_initialize(params)
    except errors.UNREADABLE as error:
        return errors.invalid_params(str(error))
    info = server.info
    revision = revisions.negotiate(asked.protocol_version)
    if not revisions.has_icons(revision):
        info = msgspec.structs.replace(info, icons=None, website_url=None)
    return InitializeResult(
        protocol_version=revision,
        capabilities=advertised,
        server_info=info,
        instructions=server.instructions,
    )


def negotiated(params: Raw) -> tuple[str, dict[str, Any]]:
    """The negotiated revision and the client's capabilities, of an `initialize` whose params are known to be good.

    Of the capabilities only what is asked about is kept: a session is small whatever its client sends.
    """
    asked = _decode_initialize(params)
    kept: dict[str, Any] = {
        name: {inner: {} for inner in inners if inner in asked.capabilities[name]}
        for name, inners in KEPT.items()
        if isinstance(asked.capabilities.get(name), dict)
    }
    return revisions.negotiate(asked.protocol_version), kept


def discover(server: McpServer, advertised: dict[str, Any], server_meta: Raw) -> DiscoverResult:
    """What a modern client learns; public only where anonymous callers are served, too."""
    return DiscoverResult(
        supported_versions=list(revisions.MODERN),
        capabilities=advertised,
        ttl_ms=LIST_TTL_MS,
        cache_scope="public" if server.has_public else "private",
        result_type=COMPLETE,
        instructions=server.instructions,
        meta=server_meta,
    )
