"""The kinds of calls: what is sent, with whose token, and what a right answer is."""

import base64
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from tests.kit import wire
from tests.operate.client import ACCEPT, LEGACY

ARGUMENTS: Final = {"name": "add", "arguments": {"a": 1, "b": 2}}
SUM: Final = {"total": 3}
METADATA: Final = "/.well-known/oauth-protected-resource/mcp"

ONCE: Final = ("new", "forged")
"""Callers whose tokens are sent once each."""
Check = Callable[[int, bytes], str]
Callers = Literal["known", "new", "forged", "in sessions"]
"""Whose tokens calls carry."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the report: `share` is its rate in relation to that of a modern call."""

    name: str
    about: str
    message: Mapping[str, Any] | None
    fields: Mapping[str, str] = {}
    path: str = "/mcp"
    check: Check
    callers: Callers = "known"
    share: float = 1.0


def _summed(status: int, body: bytes) -> str:
    return _result(status, body, lambda result: result.get("structuredContent") == SUM)


def _listed(status: int, body: bytes) -> str:
    return _result(status, body, lambda result: bool(result.get("tools")))


def _result(status: int, body: bytes, right: Callable[[Mapping[str, Any]], bool]) -> str:
    """What is wrong with it, if anything; a legacy session is answered in a stream of one message."""
    if status != 200:
        return str(status)
    if body.startswith((b"event:", b"id:", b"data:", b":")):
        data = [line[6:] for line in body.splitlines() if line.startswith(b"data: {")]
        body = data[-1] if data else b"{}"
    message = msgspec.json.decode(body)
    if "error" in message:
        return f"200 with {message['error'].get('code')}"
    result = message.get("result", {})
    return "" if not result.get("isError") and right(result) else "200 with another result"


def _status(expected: int) -> Check:
    return lambda status, _: "" if status == expected else str(status)


def _modern(method: str, params: dict[str, Any]) -> dict[str, str]:
    fields = wire.headers(method, params.get("name"))
    return {name.replace("_", "-"): value for name, value in fields.items()}


CALL: Final = Kind(
    name="call, modern",
    about="`tools/call` of revision 2026-07-28, tokens that the worker knows",
    message=wire.modern("tools/call", ARGUMENTS),
    fields=_modern("tools/call", ARGUMENTS),
    check=_summed,
)
OTHERS: Final = (
    Kind(
        name="call, legacy",
        about="the same of revision 2025-11-25, without a session",
        message=wire.legacy("tools/call", ARGUMENTS),
        fields={"mcp-protocol-version": LEGACY},
        check=_summed,
    ),
    Kind(
        name="call, legacy, in a session",
        about="the same in one of 500 sessions, which are in Redis",
        message=wire.legacy("tools/call", ARGUMENTS),
        fields={"mcp-protocol-version": LEGACY},
        check=_summed,
        callers="in sessions",
        share=0.5,
    ),
    Kind(
        name="list, modern",
        about="`tools/list`",
        message=wire.modern("tools/list", {}),
        fields=_modern("tools/list", {}),
        check=_listed,
    ),
    Kind(
        name="call, new token",
        about="`tools/call`, modern, each with a token that the worker sees for the first time: its signature is verified",
        message=wire.modern("tools/call", ARGUMENTS),
        fields=_modern("tools/call", ARGUMENTS),
        check=_summed,
        callers="new",
        share=0.5,
    ),
    Kind(
        name="refused: forged",
        about="the same with a signature of somebody else: 401",
        message=wire.modern("tools/call", ARGUMENTS),
        fields=_modern("tools/call", ARGUMENTS),
        check=_status(401),
        callers="forged",
        share=0.5,
    ),
    Kind(
        name="metadata",
        about="GET of the protected resource's metadata (RFC 9728), without a token",
        message=None,
        path=METADATA,
        check=_status(200),
    ),
    Kind(name="readiness", about="GET of /readyz", message=None, path="/readyz", check=_status(200)),
)


def targets(kind: Kind, at: str, tokens: Iterable[str], sessions: Iterable[tuple[str, str]] = ()) -> Iterator[bytes]:
    """A line for vegeta of each token, or of each session and the token that it belongs to."""
    body = {} if kind.message is None else {"body": base64.b64encode(msgspec.json.encode(kind.message)).decode()}
    if kind.message is None:
        yield msgspec.json.encode({"method": "GET", "url": at + kind.path})
        return
    whose = sessions if kind.callers == "in sessions" else zip(itertools.repeat(""), tokens)
    for session, token in whose:
        fields = {
            "authorization": f"Bearer {forged(token) if kind.callers == 'forged' else token}",
            "content-type": "application/json",
            "accept": ACCEPT,
            **kind.fields,
            **({"mcp-session-id": session} if session else {}),
        }
        said = {"method": "POST", "url": at + kind.path, "header": {name: [value] for name, value in fields.items()}}
        yield msgspec.json.encode(said | body)


def forged(token: str) -> str:
    """The same claims under a signature that is not the issuer's."""
    signed, _, signature = token.rpartition(".")
    return f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
