"""`resources/read`, and the subscriptions of legacy sessions."""

import functools

import msgspec
from msgspec import Raw, UnsetType

from mcp_server.engine.call import Call, ResourceMatch
from mcp_server.protocol import errors, meta
from mcp_server.protocol.errors import RpcError
from mcp_server.registry.server import McpServer
from mcp_server.registry.uri import normalized
from mcp_server.sessions.session import MAX_SUBSCRIPTIONS, MAX_URI_BYTES, Session, Sessions


def find(server: McpServer, uri: str) -> ResourceMatch | None:
    """The resource of this address, fixed ones first, then the first template that fits.

    A fixed resource is found however its address is written (RFC 3986 §6.2.2): written otherwise it must not reach a
    template that asks for fewer scopes.
    """
    fixed = server.resources.get(uri)
    if fixed is not None and fixed.template is None:
        return ResourceMatch(fixed, uri, {})
    for one in server.resources.values():
        if one.template is not None:
            arguments = one.match(uri)
            if arguments is not None:
                return _fixed(server, uri) or ResourceMatch(one, uri, arguments)
    return _fixed(server, uri)


def _fixed(server: McpServer, uri: str) -> ResourceMatch | None:
    same = normalized(uri)
    for one in server.resources.values():
        if one.template is None and _registered(one.uri) == same:
            return ResourceMatch(one, uri, {})
    return None


_registered = functools.lru_cache(4096)(normalized)


def named(server: McpServer, call: Call) -> ResourceMatch | RpcError:
    """The resource that a call names."""
    uri = meta.text(call.peek.uri)
    if uri is None:
        return errors.invalid_params("uri must be a string")
    return find(server, uri) or errors.resource_not_found(uri, modern=call.modern)


async def subscribe(
    sessions: Sessions, session: Session, named: Raw | UnsetType, *, wanted: bool
) -> dict[str, object] | RpcError:
    """Subscribe a legacy session to a resource, or end that."""
    uri, full = meta.text(named), False
    if uri is None:
        return errors.invalid_params("uri must be a string")

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
