"""An ASGI application that looks over another's shoulder: every MCP message it sends is held against the schema."""

import json
from typing import Any

import jsonschema_rs

from mcp_server.protocol import revisions
from tests.kit import schema

KNOWN = (*revisions.LEGACY, *revisions.MODERN)


class Watched:
    """The application; `wrong` has a line for each message that its schema does not allow."""

    def __init__(self, app: Any, path: str) -> None:
        self._app, self._path = app, path
        self.wrong: list[str] = []
        self.seen = 0
        self._sessions: dict[str, str] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass everything on, unchanged."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(self, dict(scope["headers"]), self._sessions)

        async def hear() -> Any:
            message = await receive()
            exchange.asked += message.get("body", b"")
            return message

        async def say(message: Any) -> None:
            exchange.said(message)
            await send(message)

        await self._app(scope, hear, say)


class _Exchange:
    def __init__(self, watched: Watched, headers: dict[bytes, bytes], sessions: dict[str, str]) -> None:
        self._watched, self._headers, self._sessions = watched, headers, sessions
        self.asked = b""
        self._kind, self._answer, self._new_session = b"", b"", ""

    def said(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            fields = dict(message["headers"])
            self._kind = fields.get(b"content-type", b"")
            self._new_session = fields.get(b"mcp-session-id", b"").decode()
            return
        self._answer += message.get("body", b"")
        if self._kind == b"text/event-stream":
            *whole, self._answer = self._answer.split(b"\n\n")
            for event in whole:
                data = b"".join(line[6:] for line in event.split(b"\n") if line.startswith(b"data: "))
                if data:
                    self._check(data)
        elif not message.get("more_body") and self._answer:
            self._check(self._answer)

    def _check(self, data: bytes) -> None:
        said = json.loads(data)
        for one in said if isinstance(said, list) else [said]:
            self._watched.seen += 1
            method = self._method_of(one.get("id"))
            revision = self._revision(one, method)
            try:
                schema.check(one, method, revision)
            except (jsonschema_rs.ValidationError, AssertionError, KeyError) as error:
                self._watched.wrong.append(f"{revision} {method}: {error} in {data.decode()[:500]}")

    def _method_of(self, request_id: Any) -> str:
        try:
            asked = json.loads(self.asked)
        except (ValueError, RecursionError):
            return ""
        for one in asked if isinstance(asked, list) else [asked]:
            if isinstance(one, dict) and one.get("id") == request_id and isinstance(one.get("method"), str):
                return str(one["method"])
        return ""

    def _revision(self, message: dict[str, Any], method: str) -> str:
        if method == "initialize" and "result" in message:
            agreed = str(message["result"]["protocolVersion"])
            if self._new_session:
                self._sessions[self._new_session] = agreed
            return agreed
        session = self._headers.get(b"mcp-session-id", b"").decode()
        stated = self._headers.get(b"mcp-protocol-version", b"").decode()
        found = self._sessions.get(session) or stated
        return found if found in KNOWN else revisions.BATCHING
