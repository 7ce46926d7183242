"""Who is believed, and by which proxy they are reached: an operator's authorities are in addition to the known ones."""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from mcp_server.route import Route


def trusted(route: Route) -> ssl.SSLContext:
    """The system's authorities, those of the client, and the operator's."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    if route.ca_file:
        context.load_verify_locations(route.ca_file)
    return context


@contextlib.contextmanager
def file_of(route: Route) -> Iterator[str | None]:
    """All of them in a file, for clients that take no other form; None where their own are enough."""
    if not route.ca_file:
        yield None
        return
    known = trusted(Route()).get_ca_certs(binary_form=True)
    handle, path = tempfile.mkstemp(prefix="mcp-authorities-", suffix=".pem")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.writelines(ssl.DER_cert_to_PEM_cert(one) for one in known)
            file.write(Path(route.ca_file).read_text("ascii", "replace"))
        yield path
    finally:
        Path(path).unlink(missing_ok=True)


def proxies_of(route: Route, host: str) -> dict[str, str]:
    """The proxy for a host, by scheme, as these clients take it; empty where it is reached directly."""
    proxy = route.through(host)
    return {"http": proxy, "https": proxy} if proxy else {}
