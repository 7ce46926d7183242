"""The yardstick: a bare ASGI application that answers every request with the same bytes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

ANSWER: Final = (
    b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"{\\"total\\":3}"}],'
    b'"structuredContent":{"total":3},"isError":false}}'
)
START: Final = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))],
}
BODY: Final = {"type": "http.response.body", "body": ANSWER}

Send = Callable[[Mapping[str, object]], Awaitable[None]]


async def app(scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
    """Answer, reading neither the token nor the body."""
    del receive
    if scope["type"] == "http":
        await send(START)
        await send(BODY)
