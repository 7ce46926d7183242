"""The server that the official suite tests, empty, and what its handlers share."""

import asyncio
import base64

from mcp_server import McpServer

server = McpServer("conformance", version="1.0.0", title="Conformance fixtures")

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WAVE = base64.b64encode(b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00").decode()
BEAT = 0.05


async def moment(seconds: float = BEAT) -> None:
    """What a tool does that works: it waits for something."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    timer = loop.call_later(seconds, done.set_result, None)
    try:
        await done
    finally:
        timer.cancel()
