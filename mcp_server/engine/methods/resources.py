"""`resources/read`, and the subscriptions of legacy sessions."""

import msgspec

from mcp_server.engine.call import Call, ResourceMatch
from mcp_server.protocol import errors, meta
from mcp_server.protocol.errors import RpcError
from mcp_server.registry.server import McpServer
from mcp_server.sessions.session import MAX_SUBSCRIPTIONS, MAX_URI_BYTES, Session, Sessions


def find(server: McpServer, uri: str) -> ResourceMatch | None:
    """The resource of this address, fixed ones first, then the first template that fits."""
    fixed = server.resources.get(uri)
    if fixed is not None and fixed.template is None:
        return ResourceMatch(fixed, uri, {})
    for one in server.resources.values():
        if one.template is not None:
            arguments = one.match(uri)
            if arguments is not None:
                return ResourceMatch(one, uri, arguments)
    return None


def named(server: McpServer, call: Call) -> ResourceMatch | RpcError:
    """The resource that a call names."""
    uri = meta.text(call.peek.uri)
    if uri is None:
        return errors.invalid_params("uri must be a string")
    return find(server, uri) or errors.resource_not_found(uri, modern=call.modern)


async def subscribe(sessions: Sessions, session: Session, uri: str, *, wanted: bool) -> dict[str, object] | RpcError:
    """Subscribe a legacy session to a resource, or end that."""
    full = False

    def change(current: Session) -> Session:
        nonlocal full
        uris = [one for one in current.subscriptions if one != uri]
        size = sum(len(one.encode()) for one in [*uris, uri])
        full = wanted and (len(uris) >= MAX_SUBSCRIPTIONS or size > MAX_URI_BYTES)
        if full:
            return current
        return msgspec.structs.replace(current, subscriptions=[*uris, uri] if wanted else uris)

    await sessions.change(session, change)
    if full:
        most = f"{MAX_SUBSCRIPTIONS} resources, and {MAX_URI_BYTES} bytes of addresses, at most"
        return errors.invalid_params(f"a session subscribes to {most}")
    return {}
