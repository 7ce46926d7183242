"""`python -m tests.operate.issuer ISSUER RESOURCE SECONDS`: the embedded issuer, whose access tokens live that long."""

import asyncio
import signal
import sys

import msgspec
from granian.constants import Interfaces
from granian.server.embed import Server

from devstack.authserver.app import create
from devstack.processes import port_of
from devstack.realm.model import read


async def serve(issuer: str, resource: str, token_s: int) -> None:
    """Serve until SIGTERM."""
    realm = msgspec.structs.replace(read(issuer, resource), access_token_s=token_s)
    app, _ = create(realm)
    server = Server(app, address="127.0.0.1", port=port_of(issuer), interface=Interfaces.ASGI, log_enabled=False)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()


asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
