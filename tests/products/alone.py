"""A network namespace with loopback alone: products report home and look for updates, and none of it may leave."""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from typing import Final

UNSHARE: Final = ("unshare", "--net", "--map-root-user")
SIOCGIFFLAGS: Final = 0x8913
SIOCSIFFLAGS: Final = 0x8914
IFF_UP: Final = 0x1


def ensure() -> None:
    """Be in such a namespace: start this program anew in one where it is not. Exits where that cannot be."""
    if [name for _, name in socket.if_nameindex()] == ["lo"]:
        _raise_loopback()
        return
    program = shutil.which(UNSHARE[0])
    if program is None or subprocess.run([program, *UNSHARE[1:], "true"], check=False).returncode:
        sys.exit("a network namespace is needed (Linux, unshare, user namespaces): the products may not reach out")
    os.execv(program, [*UNSHARE, sys.executable, "-m", "tests.products", *sys.argv[1:]])


def _raise_loopback() -> None:
    with socket.socket() as any_socket:
        named = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, named))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
