"""`python -m devstack.authserver`: the issuer on its own, on loopback."""

import asyncio
import os
import signal

from granian.constants import Interfaces
from granian.server.embed import Server

from devstack.authserver.app import application
from devstack.processes import port_of
from devstack.realm.model import ISSUER


async def serve() -> None:
    """Serve until SIGINT or SIGTERM, in this process alone.

    A worker of its own would have its parent's signal handlers until it is up, and one that came meanwhile would be
    lost: the parent would then wait for a child that nobody told to end.
    """
    port = port_of(os.environ.get("DEVSTACK_ISSUER", ISSUER))
    server = Server(application(), address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False)
    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, server.stop)
    await server.serve()


asyncio.run(serve())
