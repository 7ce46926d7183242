"""Host, Origin, method, media type and size, judged before anything is parsed (2026-07-28 transports §Security)."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from mcp_server.web.incoming.authority import name_of, origin_name
from mcp_server.web.render import Headers, Reply, plain

ALLOW: Final = (b"allow", b"POST, GET, HEAD, DELETE, OPTIONS")
_READING: Final = frozenset({"GET", "HEAD", "DELETE"})
WITHOUT_SESSION: Final = (b"allow", b"POST, OPTIONS")
_EXPOSED: Final = b"WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version, DPoP-Nonce, Retry-After"
_ASKABLE: Final = frozenset(
    {
        "authorization", "content-type", "accept", "mcp-protocol-version", "mcp-method", "mcp-name",
        "mcp-session-id", "last-event-id", "dpop", "traceparent", "tracestate", "baggage",
    }
)  # fmt: skip
JSON_TYPE: Final = b"application/json"
ACCEPT_ENCODING: Final = (b"accept-encoding", b"identity")
"""What a 415 says of codings (RFC 9110 §12.5.3, §15.5.16): a body is read as it is, never unpacked."""
SINGLE: Final = frozenset({b"host", b"origin", b"content-type", b"content-encoding", b"content-length"})
"""Headers that stand once: of two, a proxy before us may have believed the other one."""
USUAL_ACCEPT: Final = b"application/json, text/event-stream"
_STREAM_TYPE: Final = b"text/event-stream"
_WEIGHT: Final = re.compile(rb"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
MAX_ACCEPT: Final = 1024
"""Bytes of the header that are looked at."""
LOOPBACK: Final = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})


class HttpPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Whom we answer: `hosts` lower-case names with or without a port, `origins` exact ones, `*` in neither."""

    hosts: frozenset[bytes]
    origins: frozenset[bytes]
    max_body: int = 4 * 1024 * 1024
    body_timeout_s: float = 30
    loopback_origins: bool = False


def check(
    headers: Mapping[bytes, bytes], method: str, policy: HttpPolicy, twice: AbstractSet[bytes] = frozenset()
) -> Reply | None:
    """The answer to a request that goes no further, a refusal or a preflight's, else None.

    `twice` are the repeated headers.
    """
    refused = check_host(headers, policy, twice)
    if refused is not None:
        return refused
    origin = headers.get(b"origin")
    if origin is not None and not origin_allowed(origin, policy):
        return plain(403, "origin not allowed")
    if method != "POST":
        return _without_body(headers, method)
    coding = headers.get(b"content-encoding")
    if coding is not None and coding.strip().lower() not in (b"", b"identity"):
        return plain(415, "content-encoding is not supported", [ACCEPT_ENCODING])
    media = headers.get(b"content-type", b"")
    if media != JSON_TYPE and media.partition(b";")[0].strip().lower() != JSON_TYPE:
        return plain(415, "content-type must be application/json")
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 12 or int(length) > policy.max_body:
        return plain(413, "body too large")
    return None


def _without_body(headers: Mapping[bytes, bytes], method: str) -> Reply | None:
    if method == "OPTIONS":
        return preflight(headers)
    return None if method in _READING else plain(405, "method not allowed", [ALLOW])


def check_host(
    headers: Mapping[bytes, bytes],
    policy: HttpPolicy,
    twice: AbstractSet[bytes],
    *,
    listed: bool = True,
    optional: bool = False,
) -> Reply | None:
    """The refusal of a Host that no client of ours sends, else None.

    A Host that is missing, malformed or repeated is a bad request on any route (RFC 9112 §3.2). `listed` is whether
    it must also be a name of ours: probes and scrapers ask by address, and what they see is no secret. Those of
    HTTP/1.0 (a balancer's, `optional`) may know of no Host at all.
    """
    if twice and not twice.isdisjoint(SINGLE):
        return plain(400, "a header that may stand once is repeated")
    host = headers.get(b"host", b"")
    if host not in policy.hosts and not (optional and not host):
        name = name_of(host)
        if name is None:
            return plain(400, "host is missing or malformed")
        if listed and name not in policy.hosts and host.lower() not in policy.hosts:
            return plain(403, "host not allowed")
    return None


def origin_allowed(origin: bytes, policy: HttpPolicy) -> bool:
    """Whether a browser's origin is on the list; loopback ones are where our own address is loopback, too."""
    origin = origin.lower()
    if origin in policy.origins:
        return True
    if not policy.loopback_origins:
        return False
    return origin_name(origin) in LOOPBACK


def cors(headers: Mapping[bytes, bytes], policy: HttpPolicy) -> Headers:
    """What CORS asks of any answer; nothing for an origin not on the list."""
    origin = headers.get(b"origin")
    if origin is None or not origin_allowed(origin, policy):
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


def preflight(headers: Mapping[bytes, bytes]) -> Reply:
    """The answer to OPTIONS, before authentication; `Mcp-Param-*` names are dynamic, so they are echoed.

    `cors` comes to it as to any answer: a browser refuses one that repeats the origin.
    """
    asked = headers.get(b"access-control-request-headers", b"").decode("latin-1").lower()
    names = [name.strip() for name in asked.split(",")][:64]
    allowed = [n for n in names if n in _ASKABLE or _is_param_header(n)]
    more = [
        (b"access-control-allow-methods", b"POST, GET, DELETE"),
        (b"access-control-allow-headers", ", ".join(allowed).encode("latin-1")),
        (b"access-control-max-age", b"600"),
    ]
    return Reply(204, more)


def _is_param_header(name: str) -> bool:
    rest = name.removeprefix("mcp-param-")
    return rest != name and bool(rest) and all(c.isalnum() or c in "-_.!#$%&'*+^`|~" for c in rest)


def prefers_stream(headers: Mapping[bytes, bytes]) -> bool:
    """Whether `Accept` puts event streams before JSON: by quality, and between equals by the client's order.

    Every form of Accept is served; one that names neither gets JSON.
    """
    accept = headers.get(b"accept", b"")
    if accept == USUAL_ACCEPT:
        return False
    stream, json = _quality(accept, _STREAM_TYPE), _quality(accept, JSON_TYPE)
    return stream is not None and (json is None or stream > json)


def takes_stream(headers: Mapping[bytes, bytes]) -> bool:
    """Whether `Accept` names event streams at all."""
    accept = headers.get(b"accept", b"")
    return accept == USUAL_ACCEPT or _quality(accept, _STREAM_TYPE) is not None


def _quality(accept: bytes, media_type: bytes) -> tuple[float, int] | None:
    """How much a media type is wanted, greater is more; None where it is not named or not wanted (RFC 9110 §12.5.1)."""
    for place, item in enumerate(accept[:MAX_ACCEPT].split(b",")):
        name, *parameters = item.split(b";")
        if name.strip().lower() == media_type:
            weights = [p.strip()[2:] for p in parameters if p.strip()[:2].lower() == b"q="]
            weight = _WEIGHT.fullmatch(weights[0]) if weights else None  # any other is taken for 1
            wanted = float(weights[0]) if weight else 1.0
            return (wanted, -place) if wanted else None
    return None


def declared_length(headers: Mapping[bytes, bytes]) -> int | None:
    """The content-length; `check` has seen that it is a number."""
    length = headers.get(b"content-length")
    return None if length is None else int(length)
