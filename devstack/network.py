"""Whether this machine reaches the internet: only then an issuer may say that it understands metadata documents."""

import socket
import threading
from typing import Final

from devstack.realm.model import FEATURES
from devstack.realm.products import PUBLISHERS

WITHIN_S: Final = 2.0
OFFLINE: Final = "no internet: client ID metadata documents are off, clients register or use mcp-public"


def resolves(host: str, within_s: float = WITHIN_S) -> bool:
    """Whether the name has an address; a resolver that is silent counts as none."""
    found = threading.Event()

    def ask() -> None:
        try:
            socket.getaddrinfo(host, 443, proto=socket.IPPROTO_TCP)
        except OSError:
            return
        found.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(within_s)
    return found.is_set()


def usual_features() -> tuple[str, ...]:
    """Keycloak's features for this machine.

    A client whose document cannot be fetched does not fall back: it must not be told that documents are understood.
    """
    return FEATURES if resolves(PUBLISHERS["claude"].host) else ()
