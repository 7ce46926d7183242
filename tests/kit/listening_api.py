"""An API that says nothing and remembers what it heard, byte for byte, for `wire_reader` to read."""

from typing import Any

from tests.kit.wire_styles import Asked


class ListeningApi:
    """An ASGI application; `heard` has each request in turn."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.heard: list[Asked] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        query = scope["query_string"].decode()
        path = (scope.get("raw_path") or scope["path"].encode()).decode().partition("?")[0]
        headers = tuple((name.decode("latin-1"), value.decode()) for name, value in scope["headers"])
        url = f"{self.origin}{path}" + (f"?{query}" if query else "")
        self.heard.append(Asked(method=scope["method"], url=url, headers=headers, body=body))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
