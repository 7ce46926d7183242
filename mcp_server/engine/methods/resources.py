"""`resources/read`, and the subscriptions of legacy sessions."""

import re
from typing import Final
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Raw, UnsetType

from mcp_server.engine.call import Call, ResourceMatch
from mcp_server.protocol import errors, meta
from mcp_server.protocol.errors import RpcError
from mcp_server.registry.addresses.path_safety import MAX_URI, normalised
from mcp_server.registry.requirement import Requirement
from mcp_server.registry.resource import Resource
from mcp_server.registry.server import McpServer
from mcp_server.sessions.session import MAX_SUBSCRIPTIONS, MAX_URI_BYTES, Session, Sessions

_AS_EXPANDED: Final = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9\-._~/]*")
"""Nothing in it that an expansion of a template could write otherwise: most addresses, and long ones in batches."""
MAX_KEPT: Final = 64
_kept: "WeakKeyDictionary[McpServer, tuple[int, dict[str, Resource | None]]]" = WeakKeyDictionary()
MAX_SPELLINGS: Final = 4
"""How often an address is spelled anew: one template's spelling may be another one's to put in order."""


def find_resource(server: McpServer, uri: str) -> Resource | None:
    """Which resource it is, for who does not read it; kept a while, for a batch asks of each of its items twice.

    Never the arguments: they are one call's own, which a handler may change.
    """
    if len(uri) > MAX_URI:  # one may be as long as a body, and sixty-four of those are not kept
        found = find(server, uri)
        return None if found is None else found.resource
    changes, kept = server.changes, _kept.get(server)
    if kept is None or kept[0] != changes or len(kept[1]) >= MAX_KEPT:
        kept = _kept[server] = (changes, {})
    if uri not in kept[1]:
        found = find(server, uri)
        kept[1][uri] = None if found is None else found.resource
    return kept[1][uri]


def find(server: McpServer, uri: str) -> ResourceMatch | None:
    """The resource of this address, however it is spelled: fixed ones first, then the first template that fits.

    The spelling must not choose the scopes (RFC 3986 §6.2.2): `config://%61dmin` is the fixed `config://admin`, and not
    what `config://{name}` makes of it. So what a template reads is looked up again as the template writes it.
    """
    found, spelled = _spelled(server, uri), uri
    if _AS_EXPANDED.fullmatch(uri):
        return found
    last = found
    for _ in range(MAX_SPELLINGS):
        canonical = last.resource.canonical(spelled) if last else spelled
        again = None if canonical == spelled else _spelled(server, canonical)
        if last is None or again is None:
            break
        # A template may write another's address: the path `a?b` of `{+path}{?page}` needs its escape. Whoever
        # else has that one is asked, but this is not what it reads.
        if again.resource is not last.resource or normalised(canonical) == normalised(spelled):
            found = again
        last, spelled = again, canonical
    return None if found is None else msgspec.structs.replace(found, uri=uri)


def _spelled(server: McpServer, uri: str) -> ResourceMatch | None:
    registered = server.resources
    fixed = registered.get(server.addresses.get(normalised(uri), ""))
    if fixed is not None:
        return ResourceMatch(fixed, uri, {})
    for one in registered.values():
        if one.template is not None:
            arguments = one.match(uri)
            if arguments is not None:
                same = (fixed for values, fixed in server.covered.get(one.uri, ()) if values == arguments)
                covered = next(same, None)  # `accounts://acme/7.0` is what `accounts://acme/7` is, and asks for as much
                return ResourceMatch(one, uri, arguments) if covered is None else ResourceMatch(covered, uri, {})
    return None


def named(server: McpServer, call: Call) -> ResourceMatch | RpcError:
    """The resource that a call reads, with the values of its address."""
    uri = meta.text(call.peek.uri)
    if uri is None:
        return errors.invalid_params("uri must be a string")
    return find(server, uri) or errors.resource_not_found(uri, modern=call.modern)


def subscribed(server: McpServer, call: Call) -> ResourceMatch | RpcError:
    """The resource that a call subscribes to."""
    uri = meta.text(call.peek.uri)
    if uri is None:
        return errors.invalid_params("uri must be a string")
    found = find_resource(server, uri)
    if found is not None and isinstance(found.scopes, Requirement):  # which may ask for the values of the address
        return find(server, uri) or errors.resource_not_found(uri, modern=call.modern)
    return errors.resource_not_found(uri, modern=call.modern) if found is None else ResourceMatch(found, uri, {})


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
