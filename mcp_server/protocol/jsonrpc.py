"""JSON-RPC 2.0 envelopes with raw parameters: decode and encode (2026-07-28 basic §Messages)."""

from typing import Final, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.nesting import too_deep
from mcp_server.protocol import errors, meta
from mcp_server.protocol.errors import RequestId, RpcError

MAX_BATCH: Final = 50  # 2025-03-26 sets no bound; each item is a whole call
EMPTY_OBJECT: Final = Raw(b"{}")


class Request(msgspec.Struct, frozen=True):
    """A call that is answered; `params` is always a JSON object, not yet parsed."""

    id: RequestId
    method: str
    params: Raw


class Notification(msgspec.Struct, frozen=True):
    """A message without an answer."""

    method: str
    params: Raw


class Response(msgspec.Struct, frozen=True):
    """What a client answers to a request of ours: `result` or `error`, the other unset."""

    id: RequestId
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


Message = Request | Notification | Response


class _Envelope(msgspec.Struct):
    jsonrpc: Literal["2.0"]
    id: str | int | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class _IdOnly(msgspec.Struct):
    id: str | int | None = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_id = msgspec.json.Decoder(_IdOnly).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode
_decode_any = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


def is_array(body: bytes) -> bool:
    """Whether the body is a batch: seen by its first character that is not white space."""
    return not body.startswith(b"{") and body.lstrip(b" \t\r\n").startswith(b"[")


def parse(body: bytes) -> Message | RpcError:
    """One message out of a body; a rejection carries the request's id where it could be read."""
    if not body.isascii() and not _is_utf8(body):
        return errors.parse_error()
    if too_deep(body):
        return errors.too_deep()
    try:
        envelope = _decode_envelope(body)
    except msgspec.ValidationError as error:
        return _not_an_envelope(body, str(error))
    except msgspec.DecodeError:
        return errors.parse_error()
    return _message(envelope)


def parse_batch(body: bytes) -> list[Message | RpcError] | RpcError:
    """The messages of a batch, each judged on its own; the whole is refused when empty or over `MAX_BATCH`."""
    if not body.isascii() and not _is_utf8(body):
        return errors.parse_error()
    if too_deep(body):
        return errors.too_deep()
    try:
        items = _decode_array(body)
    except msgspec.DecodeError:
        return errors.parse_error()
    if not 0 < len(items) <= MAX_BATCH:
        return errors.invalid_request(f"a batch holds 1 to {MAX_BATCH} messages")
    return [parse(bytes(item)) for item in items]


def _is_utf8(body: bytes) -> bool:
    """Whether the body is UTF-8 (2026-07-28 basic: MUST): the decoder skips what it leaves raw, whatever its bytes."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _message(envelope: _Envelope) -> Message | RpcError:
    method, request_id, params = envelope.method, envelope.id, envelope.params
    if method is UNSET:
        return _response(envelope)
    if params is UNSET:
        params = EMPTY_OBJECT
    elif not meta.is_object(params):
        known = None if request_id is UNSET else request_id
        return errors.invalid_request("params must be an object", known)
    if request_id is UNSET:
        return Notification(method, params)
    return Request(request_id, method, params)


def _response(envelope: _Envelope) -> Response | RpcError:
    answered = (envelope.result is UNSET) is not (envelope.error is UNSET)
    if envelope.id is UNSET or not answered:
        known = None if envelope.id is UNSET else envelope.id
        return errors.invalid_request("neither a request, a notification nor a response", known)
    return Response(envelope.id, envelope.result, envelope.error)


def _not_an_envelope(body: bytes, why: str) -> RpcError:
    try:
        _decode_any(body)
    except msgspec.DecodeError:
        return errors.parse_error()
    try:
        request_id = _decode_id(body).id
    except msgspec.ValidationError:
        request_id = None
    return errors.invalid_request(why, request_id)


class _Result(msgspec.Struct):
    id: RequestId
    result: object
    jsonrpc: Literal["2.0"] = "2.0"


class _Error(msgspec.Struct, omit_defaults=True):
    code: int
    message: str
    data: object = None


class _Failure(msgspec.Struct):
    error: _Error
    id: RequestId | UnsetType = UNSET
    jsonrpc: Literal["2.0"] = "2.0"


class _Ask(msgspec.Struct):
    id: str
    method: str
    params: object = UNSET
    jsonrpc: Literal["2.0"] = "2.0"


def request(request_id: str, method: str, params: object = UNSET) -> bytes:
    """The bytes of a request to a client of the legacy eras."""
    return encode(_Ask(request_id, method, params))


def result(request_id: RequestId, value: object) -> bytes:
    """The bytes of a successful answer."""
    return encode(_Result(request_id, value))


def failure(rejection: RpcError) -> bytes:
    """The bytes of an error answer."""
    request_id = UNSET if rejection.request_id is None else rejection.request_id
    return encode(_Failure(_Error(rejection.code, rejection.message, rejection.data), request_id))
