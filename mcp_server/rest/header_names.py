"""Headers that are nobody's to choose: one list for documents, callers' values, handlers and an operator's words."""

import functools
import re
from typing import Final

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
TRANSPORT: Final = frozenset({
    "host", "content-length", "transfer-encoding", "content-encoding", "accept-encoding", "connection", "keep-alive",
    "te", "trailer", "upgrade", "http2-settings", "expect",
})  # fmt: skip
"""Where a request goes, where it ends and how it is packed (RFC 9110 §7.6.1, RFC 9112 §6): the client's alone."""
CREDENTIALS: Final = frozenset({"authorization", "cookie", "dpop"})
BODY: Final = frozenset({"accept", "content-type"})
"""Said by the operation, or by the handler that makes a request of its own."""
METHOD: Final = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
TARGET: Final = frozenset({"x-original-url", "x-rewrite-url", "x-original-host", "x-host", "x-http-host-override"})
"""By these frameworks take a request for another one than its line says: of another method, to another path or host."""
_PROXIES: Final = frozenset({
    "forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip",
    "fastly-client-ip",
})  # fmt: skip
"""Where a call came from, as a proxy tells it, of which an API believes that it is in front."""
_PROXY: Final = "proxy-"
_RESERVED_START: Final = ("x-forwarded-", "sec-")


@functools.lru_cache(maxsize=1024)
def is_token(text: str) -> bool:
    """Whether it is a token (RFC 9110 §5.6.2), as the names of headers and methods are."""
    return _TOKEN.fullmatch(text) is not None


def folded(name: str) -> str:
    """A header's name as a server may read it: CGI has one variable for `X-Key` and `X_Key`."""
    return name.lower().replace("_", "-")


def transports(name: str) -> bool:
    """Whether a header frames the request: a secret in it, or a value, would make another request of it."""
    name = name.lower()
    return name in TRANSPORT or name.startswith(_PROXY)


def callers(name: str) -> bool:
    """Whether a caller's value may stand in it."""
    return not transports(name) and name.lower() not in CREDENTIALS


def forwardable(name: str) -> bool:
    """Whether an operator may have it passed on from the client's request: its credentials never are."""
    return callers(name) and name.lower() not in BODY and folded(name) not in METHOD | TARGET


def handlers(name: str) -> bool:
    """Whether an author's handler may send it; of what says a method an operator may, as the document has it."""
    name = name.lower()
    return callers(name) and name not in _PROXIES | TARGET and not name.startswith(_RESERVED_START)


def arguments(name: str) -> bool:
    """Whether a document may make an argument of it."""
    return handlers(name) and name.lower() not in BODY
