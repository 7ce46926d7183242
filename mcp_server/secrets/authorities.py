"""Who is believed, and by which proxy they are reached: an operator's authorities are in addition to the known ones."""

import contextlib
import os
import ssl
import sys
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
    text = "".join(ssl.DER_cert_to_PEM_cert(one) for one in known) + Path(route.ca_file).read_text("ascii", "replace")
    with _held(text) as path:
        yield path


@contextlib.contextmanager
def _held(text: str) -> Iterator[str]:
    """A file in memory where there is such a thing.

    Who reads settings is killed while a store does not answer: one on disk would be left there at each reading.
    """
    if sys.platform == "linux":
        handle = os.memfd_create("mcp-authorities")
        path, gone = f"/proc/self/fd/{handle}", contextlib.nullcontext()
    else:
        handle, path = tempfile.mkstemp(prefix="mcp-authorities-", suffix=".pem")
        gone = contextlib.ExitStack()
        gone.callback(Path(path).unlink, missing_ok=True)
    with gone, os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        yield path


def proxies_of(route: Route, host: str) -> dict[str, str]:
    """The proxy for a host, by scheme, as these clients take it; empty where it is reached directly."""
    proxy = route.through(host)
    return {"http": proxy, "https": proxy} if proxy else {}
