"""`python -m devstack.demo.api`: the sample REST API on its own, on loopback unless ORDERS_HOST says otherwise."""

import asyncio
import os
import signal

from granian.constants import Interfaces
from granian.server.embed import Server

from devstack.demo.api.app import application


async def serve() -> None:
    """Serve until SIGINT or SIGTERM, in this process alone, as the embedded issuer does."""
    address, port = os.environ.get("ORDERS_HOST", "127.0.0.1"), int(os.environ.get("ORDERS_PORT", "8100"))
    server = Server(application(), address=address, port=port, interface=Interfaces.ASGI, log_enabled=False)
    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, server.stop)
    await server.serve()


asyncio.run(serve())
