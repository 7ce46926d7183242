"""The proxies of compose on loopback: a template of devstack/nginx in front of a server of the test's own."""

import http.server
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.kit.background import served_in_a_thread

FOLDER = Path(__file__).parents[2] / "devstack" / "nginx"


@contextmanager
def behind(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The origin of a server that answers so."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with served_in_a_thread(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


@contextmanager
def proxying(folder: Path, template: str, changes: Mapping[str, str], client: httpx.Client) -> Iterator[None]:
    """Run it with parts of its text replaced, each of which must be there; `client` is asked until it answers."""
    program = shutil.which("nginx")
    if program is None:
        if os.environ.get("CI"):
            raise AssertionError("CI has nginx: see tests/system.sh")
        pytest.skip("nginx is missing: apt-get install nginx-light")
    text = (FOLDER / template).read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = f"daemon off; pid {folder}/pid; events {{}} http {{ access_log off; {temporary} {text} }}"
    (folder / "nginx.conf").write_text(whole)
    running = subprocess.Popen([program, "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    try:
        _up(client, running)
        yield
    finally:
        running.terminate()
        running.wait(60)


def _up(client: httpx.Client, running: subprocess.Popen[bytes]) -> None:
    """Wait until it listens."""
    for _ in range(600):
        try:
            client.get("/")
        except httpx.ConnectError:
            try:
                running.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            break
        return
    raise AssertionError("nginx did not come up")
