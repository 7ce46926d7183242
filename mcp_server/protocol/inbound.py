"""The ladder: headers and body of a POST → what era it belongs to and what it asks, or why it is refused.

Rungs, in this order, which the specification and its conformance suite fix together:

1. JSON and envelope (-32700, -32600)
2. era: `_meta`'s version key, else the version header
3. required `_meta` members (-32602, HTTP 400)
4. version header present and equal to the body's (-32020), tested before
5. the version being one we serve (-32022)
6. `Mcp-Method` and `Mcp-Name` (-32020)

What comes after (method known, scope, client capability, params) belongs to the engine. Source: 2026-07-28
transports/streamable-http §Server Validation, basic/versioning; 2025-11-25 transports.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec
from msgspec import UNSET

from mcp_server.protocol import errors, headers, jsonrpc, meta, revisions
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.jsonrpc import Message, Notification, Request, Response
from mcp_server.protocol.meta import RoutingFields


class Modern(msgspec.Struct, frozen=True):
    """A request of the modern era, its envelope checked."""

    request: Request
    revision: str
    peek: RoutingFields


class ModernNotification(msgspec.Struct, frozen=True):
    """A notification under a modern version header; none is defined over HTTP, so it is accepted and ignored."""

    notification: Notification


class Legacy(msgspec.Struct, frozen=True):
    """One message of the legacy eras; `stated` is the version header, None when it was absent."""

    message: Message
    stated: str | None
    peek: RoutingFields = RoutingFields()


class LegacyBatch(msgspec.Struct, frozen=True):
    """An array of messages; whether it may be one is for the session's revision to say."""

    items: list[Legacy | RpcError]
    stated: str | None


_STATED: Final[Mapping[bytes | None, str]] = {one.encode(): one for one in (*revisions.MODERN, *revisions.LEGACY)}
Inbound = Modern | ModernNotification | Legacy | LegacyBatch


def classify(
    fields: Mapping[bytes, bytes], body: bytes, repeated: AbstractSet[bytes] = frozenset()
) -> Inbound | RpcError:
    """Climb the ladder; `fields` are the request's headers by lower-case name, `repeated` those sent more than once."""
    raw_version = fields.get(headers.VERSION)
    stated = _STATED.get(raw_version) or _text_of(raw_version)
    if jsonrpc.is_array(body):
        return _batch(body, stated)
    message = jsonrpc.parse(body)
    if isinstance(message, Request):
        return _request(message, stated, fields, repeated)
    if isinstance(message, RpcError):
        return message
    return _unanswered(message, stated)


def _text_of(raw: bytes | None) -> str | None:
    return None if raw is None else raw.strip(b" \t").decode("latin-1")


def classify_line(line: bytes) -> Inbound | RpcError:
    """A line of the stdio transport: there are no headers, the envelope alone tells the era."""
    if jsonrpc.is_array(line):
        return _batch(line, None)
    message = jsonrpc.parse(line)
    if isinstance(message, RpcError):
        return message
    return _without_headers(message) if isinstance(message, Request) else Legacy(message, None)


def _without_headers(request: Request) -> Modern | Legacy | RpcError:
    peeked = _peek(request, None)
    if not isinstance(peeked, RoutingFields):
        return peeked.for_request(request.id)
    version = peeked.meta.protocol_version
    if version is UNSET:
        return Legacy(request, None, peeked)
    refused = _check_envelope(version, version, peeked)
    return refused.for_request(request.id) if refused else Modern(request, version, peeked)


def _request(
    request: Request, stated: str | None, fields: Mapping[bytes, bytes], repeated: AbstractSet[bytes]
) -> Modern | Legacy | RpcError:
    peeked = _peek(request, stated)
    if not isinstance(peeked, RoutingFields):
        return peeked.for_request(request.id)
    version = peeked.meta.protocol_version
    if version is UNSET:
        return _without_envelope(request, stated, peeked)
    refused = _check_envelope(version, stated, peeked) or headers.check(fields, repeated, request, peeked)
    return refused.for_request(request.id) if refused else Modern(request, version, peeked)


def _peek(request: Request, stated: str | None) -> RoutingFields | RpcError:
    try:
        return meta.peek(request.params)
    except errors.UNREADABLE as error:
        looks_modern = stated in revisions.MODERN_SET or meta.names_a_version(request.params)
        why = f"{error}"
        return errors.invalid_meta(why) if looks_modern else errors.invalid_params(why)


def _without_envelope(request: Request, stated: str | None, peeked: RoutingFields) -> Legacy | RpcError:
    if stated is None or stated in revisions.LEGACY_SET:
        return Legacy(request, stated, peeked)
    if stated in revisions.MODERN_SET:
        return errors.invalid_meta(f"_meta lacks {meta.PROTOCOL_VERSION}").for_request(request.id)
    return errors.unsupported_version(stated, list(revisions.MODERN)).for_request(request.id)


def _check_envelope(version: str, stated: str | None, peeked: RoutingFields) -> RpcError | None:
    if not meta.is_object(peeked.meta.client_capabilities):
        return errors.invalid_meta(f"_meta lacks {meta.CLIENT_CAPABILITIES}, an object")
    if stated is None:
        return errors.header_mismatch("MCP-Protocol-Version is missing")
    if stated != version:
        return errors.header_mismatch("MCP-Protocol-Version is not the version of the body")
    if version not in revisions.MODERN_SET:
        return errors.unsupported_version(version, list(revisions.MODERN))
    return None


def _unanswered(message: Notification | Response, stated: str | None) -> ModernNotification | Legacy | RpcError:
    if stated is None or stated in revisions.LEGACY_SET:
        return Legacy(message, stated)
    if stated not in revisions.MODERN_SET:
        return errors.unsupported_version(stated, list(revisions.MODERN))
    if isinstance(message, Response):
        return errors.invalid_request("a response is no message of this revision", message.id)
    return ModernNotification(message)


def _batch(body: bytes, stated: str | None) -> LegacyBatch | RpcError:
    if stated is not None and stated not in revisions.LEGACY_SET | revisions.MODERN_SET:
        return errors.unsupported_version(stated, list(revisions.MODERN))
    if stated in revisions.MODERN_SET:
        return errors.invalid_request("a batch is no message of this revision")
    messages = jsonrpc.parse_batch(body)
    if isinstance(messages, RpcError):
        return messages
    return LegacyBatch([_batch_item(message, stated) for message in messages], stated)


def _batch_item(message: Message | RpcError, stated: str | None) -> Legacy | RpcError:
    if isinstance(message, RpcError):
        return message
    if not isinstance(message, Request):
        return Legacy(message, stated)
    if message.method == "initialize":
        return errors.invalid_request("initialize must not be batched", message.id)
    peeked = _peek(message, stated)
    if not isinstance(peeked, RoutingFields):
        return peeked.for_request(message.id)
    return Legacy(message, stated, peeked)
