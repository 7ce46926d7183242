"""Connections that end with their answer: the drain's word to clients that they shall go elsewhere."""

from typing import Any

from mcp_server.engine.drain import Drain
from mcp_server.web import render


def closing_while(drain: Drain, send: Any) -> Any:
    """Each head that is sent while it drains says that its connection ends: the next request shall go elsewhere.

    Whenever its request came: the connection of a call that was running would else be kept, and closed as idle when the
    lame duck is over, in the face of a client that has just sent its next call on it.
    """

    def sent(message: Any) -> Any:
        if drain.draining and message["type"] == "http.response.start":
            others = [one for one in message.get("headers", ()) if one != render.CLOSE]
            message = {**message, "headers": [*others, render.CLOSE]}
        return send(message)

    return sent
