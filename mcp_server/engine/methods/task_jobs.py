"""A call that is a task, as it is kept for another worker: what was asked in the open, by whom it was asked sealed.

The principal and the caller's token are sealed by the state keys, for this task and no other, and no longer than the
token itself is good. The token is kept, and not one that was exchanged for it: which APIs a handler calls nobody knows
before it runs. Nobody but the exchange opens it (`identity.Credential`).
"""

import math
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.authoring.interaction import RequestStateCodec
from mcp_server.engine.call import Call, NullChannel
from mcp_server.identity import Credential, Principal
from mcp_server.observe import tracing
from mcp_server.protocol import errors, meta
from mcp_server.protocol.errors import RequestId, RpcError
from mcp_server.protocol.jsonrpc import Request
from mcp_server.protocol.sealed import NONCE_BYTES, InvalidSealedValue, SealingKeys

PURPOSE: Final = "task-job"
EXPIRED: Final = RpcError(code=errors.AUTHORIZATION_ERROR, message="authorization expired")
UNREADABLE: Final = RpcError(
    code=errors.INTERNAL_ERROR, message="The server that ran this was replaced by one that cannot go on with it."
)
"""Sealed with other state keys: to log in again would help nobody."""
_UNKEPT: Final = frozenset({
    b"authorization", b"cookie", b"dpop", b"proxy-authorization", b"host", b"content-length", b"content-type",
    b"connection", b"transfer-encoding", b"accept", b"accept-encoding", b"user-agent",
})  # fmt: skip


class _Stored(msgspec.Struct, kw_only=True):
    """`principal`, `token` and `headers` are sealed; the first two end with the caller's token."""

    id: RequestId
    params: Raw
    revision: str
    request_id: str
    principal: str
    traceparent: str = ""
    token: str = ""
    headers: str = ""
    trace_id: str = ""
    """Read no more; workers of the release before take no record without it (a rolling upgrade)."""


class _Meta(msgspec.Struct):
    meta: Raw | UnsetType = msgspec.field(default=UNSET, name="_meta")


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Stored).decode
_decode_meta = msgspec.json.Decoder(_Meta).decode
_decode_principal = msgspec.json.Decoder(Principal).decode
_decode_headers = msgspec.json.Decoder(dict[str, str]).decode


class StoredChannel(NullChannel):
    """Nobody waits at the other end; the token and the headers are those of the call that began the task."""

    def __init__(self, caller: str, credential: Credential | None, headers: Mapping[str, str]) -> None:
        self.caller, self.credential, self._headers = caller, credential, headers

    def header(self, name: str) -> str | None:
        """A header of the request."""
        return self._headers.get(name.lower())


class TaskJobs:
    """Writes and reads jobs; `kept_s` is how long the longest is kept."""

    def __init__(self, keys: SealingKeys, kept_s: float) -> None:
        self._keys, self._kept_s = keys, kept_s

    def stored(self, call: Call, tool: str, task_id: str) -> bytes:
        """What another worker needs to make this call of a tool again."""
        asked: dict[str, Any] = {"name": tool}
        if call.peek.arguments is not UNSET:
            asked["arguments"] = call.peek.arguments
        if (said := _decode_meta(call.request.params).meta) is not UNSET:
            asked["_meta"] = said
        stored = _Stored(
            id=call.request.id,
            params=Raw(_encode(asked)),
            revision=call.revision,
            request_id=call.request_id,
            principal="",
            traceparent="" if call.trace is None else tracing.materialized(call.trace, call.request_id).traceparent,
        )
        if (headers := _kept_headers(call)) is not None:
            until = time.time() + self._kept_s
            stored.headers = self._seal(_encode(headers), ("headers", task_id, call.owner), until)
        return self._authorized(stored, call, task_id)

    def renewed(self, job: bytes, call: Call, task_id: str) -> bytes:
        """The same job by the authorization of another call of its owner, which has answered for it."""
        return self._authorized(_decode(job), call, task_id)

    def restored(self, job: bytes, task_id: str, owner: str) -> Call:
        """The call; raises `InvalidSealedValue` where its caller is authorized no more."""
        stored, now = _decode(job), time.time()
        principal = _decode_principal(self._keys.open(stored.principal, ("caller", task_id, owner), now=now))
        credential = None
        if stored.token:
            bound = ("token", task_id, owner)
            credential = Credential.unsealed(principal, lambda: self._keys.open(stored.token, bound, now=now))
        headers: dict[str, str] = {}
        if stored.headers:
            headers = _decode_headers(self._keys.open(stored.headers, ("headers", task_id, owner), now=now))
        if principal.key != owner:
            raise InvalidSealedValue("another's")
        return Call(
            request=Request(stored.id, "tools/call", stored.params),
            peek=meta.peek(stored.params),
            revision=stored.revision,
            principal=principal,
            request_id=stored.request_id,
            trace=tracing.restored(stored.traceparent),
            channel=StoredChannel(owner, credential, headers),
        )

    def _authorized(self, stored: _Stored, call: Call, task_id: str) -> bytes:
        principal, credential = call.principal, call.credential
        if principal is None:  # there are no tasks of strangers
            raise InvalidSealedValue("nobody's")
        until = principal.expires_at
        if math.isinf(until):  # of who started the process (stdio); JSON has no such number, and no job is kept so long
            until = time.time() + self._kept_s
            principal = msgspec.structs.replace(principal, expires_at=until)
        stored.principal = self._seal(_encode(principal), ("caller", task_id, call.owner), until)
        stored.token = ""
        if credential is not None:
            stored.token = credential.sealed_with(
                lambda token: self._seal(token, ("token", task_id, call.owner), until)
            )
        return _encode(stored)

    def _seal(self, payload: bytes, bound_to: tuple[str, ...], until: float) -> str:
        return self._keys.seal(payload, bound_to, nonce=secrets.token_bytes(NONCE_BYTES), expires_at=until)


class Codecs(msgspec.Struct, frozen=True):
    """What is sealed for later: the rounds of a call, which its client carries, and calls that are tasks."""

    rounds: RequestStateCodec
    jobs: TaskJobs


def _kept_headers(call: Call) -> dict[str, str] | None:
    """What an operator may have passed on to an API, and a handler's calls depend on: a tenant, a language."""
    if call.headers is None:
        return None
    values = ((name, value) for name, value in call.headers.values.items() if name not in call.headers.repeated)
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in values if name not in _UNKEPT}
