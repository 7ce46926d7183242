"""`python -m devstack.authserver`: the issuer on its own, on loopback."""

import os
from urllib.parse import urlsplit

from granian.constants import Interfaces
from granian.server.mp import MPServer

from devstack.realm.model import ISSUER

MPServer(
    "devstack.authserver.app:application",
    factory=True,
    address="127.0.0.1",
    port=urlsplit(os.environ.get("DEVSTACK_ISSUER", ISSUER)).port or 8180,
    interface=Interfaces.ASGI,
    workers=1,
    log_enabled=False,
).serve()
