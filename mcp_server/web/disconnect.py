"""When a client hangs up, as ASGI tells it."""

from typing import Any


async def disconnected(receive: Any) -> None:
    """Returns when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass
