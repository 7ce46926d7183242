"""The yardstick: bare ASGI applications that answer every request with the same bytes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

ANSWER: Final = (
    b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"{\\"total\\":3}"}],'
    b'"structuredContent":{"total":3},"isError":false}}'
)
ORDER: Final = b'{"id":7,"item":"teapot","total":12.5,"status":"open"}'

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Mapping[str, object]], Awaitable[None]]
App = Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]


def _constant(answer: bytes) -> App:
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))],
    }
    body = {"type": "http.response.body", "body": answer}

    async def app(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer, reading neither the token nor the body."""
        del receive
        if scope["type"] == "http":
            await send(start)
            await send(body)

    return app


app = _constant(ANSWER)
order = _constant(ORDER)
"""The API behind imported tools."""
