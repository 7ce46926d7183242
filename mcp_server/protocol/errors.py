"""The error codes of the protocol and the HTTP status each is mapped to (2026-07-28 basic §Error Codes, transports)."""

from typing import Any, Final

import msgspec

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
RESOURCE_NOT_FOUND: Final = -32002  # of the legacy eras only
HEADER_MISMATCH: Final = -32020
MISSING_CLIENT_CAPABILITY: Final = -32021
UNSUPPORTED_PROTOCOL_VERSION: Final = -32022

AUTHORIZATION_ERROR: Final = -31001
TRANSPORT_ERROR: Final = -31002
"""Codes of our own, outside the range that JSON-RPC reserves; over HTTP the status is what clients act on."""

RequestId = str | int
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a caller's bytes raises: depth that one decoder takes may be too much deeper in the stack."""


class RpcError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a message is not served: a JSON-RPC error and the HTTP status that goes with it.

    `message` is public. `request_id` stays None where the id could not be read: the member is then left out, for
    `id: null` is not in the schema.
    """

    code: int
    message: str
    status: int = 200
    data: Any = None
    request_id: RequestId | None = None

    def for_request(self, request_id: RequestId | None) -> "RpcError":
        """The same error as the answer to that request."""
        return msgspec.structs.replace(self, request_id=request_id)


def parse_error() -> RpcError:
    """The body is not JSON."""
    return RpcError(code=PARSE_ERROR, message="Parse error", status=400)


def invalid_request(why: str, request_id: RequestId | None = None) -> RpcError:
    """The body is JSON but no JSON-RPC message that may stand here."""
    message = f"Invalid request: {why}"
    return RpcError(code=INVALID_REQUEST, message=message, status=400, request_id=request_id)


def too_deep() -> RpcError:
    """The body is JSON that no decoder of ours climbs down to the end."""
    return invalid_request("nested too deeply")


def header_mismatch(why: str) -> RpcError:
    """A header of the transport is missing, malformed or not what the body says."""
    return RpcError(code=HEADER_MISMATCH, message=f"Header mismatch: {why}", status=400)


def invalid_meta(why: str) -> RpcError:
    """A required member of `params._meta` is missing or of the wrong type."""
    return RpcError(code=INVALID_PARAMS, message=f"Invalid params: {why}", status=400)


def invalid_params(why: str) -> RpcError:
    """The parameters of a known method are wrong; HTTP 200, for a bare 400 makes dual-era clients fall back."""
    return RpcError(code=INVALID_PARAMS, message=f"Invalid params: {why}")


def unsupported_version(requested: str, supported: list[str]) -> RpcError:
    """The revision asked for is not served."""
    return RpcError(
        code=UNSUPPORTED_PROTOCOL_VERSION,
        message="Unsupported protocol version",
        status=400,
        data={"supported": supported, "requested": requested},
    )


def missing_capability(required: dict[str, Any]) -> RpcError:
    """The call needs what the client did not declare; `required` is a ClientCapabilities object."""
    return RpcError(
        code=MISSING_CLIENT_CAPABILITY,
        message="Missing required client capability",
        status=400,
        data={"requiredCapabilities": required},
    )


def resource_not_found(uri: str, *, modern: bool) -> RpcError:
    """No such resource, or none that this caller may know of."""
    code = INVALID_PARAMS if modern else RESOURCE_NOT_FOUND
    return RpcError(code=code, message="Resource not found", data={"uri": uri})


def method_not_found(*, modern: bool) -> RpcError:
    """Unknown, removed, or of a capability not advertised: 404 in the modern era, 200 before it."""
    status = 404 if modern else 200
    return RpcError(code=METHOD_NOT_FOUND, message="Method not found", status=status)


def internal_error(status: int = 500) -> RpcError:
    """Something of ours failed; the log knows what. With 200 over HTTP where a handler had its call."""
    return RpcError(code=INTERNAL_ERROR, message="Internal error", status=status)
