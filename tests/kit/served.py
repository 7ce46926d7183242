"""`mcp-server serve` as operators run it: processes of its own, Redis where asked for."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import msgspec

from devstack.authserver.app import AuthServer
from devstack.authserver.app import create as create_issuer
from devstack.login import fetch_token
from devstack.realm.model import read
from devstack.up import LOGOUT_CLIENTS, SERVICE_CLIENT
from tests.kit.stack import IMPLIES, free_port, listens, serving, until, until_ready

ROOT = Path(__file__).parents[2]


class Served(msgspec.Struct):
    """A running server and its issuer."""

    issuer: str
    resource: str
    log: Path
    pid: int
    authority: AuthServer
    """The issuer, whose parts a test may bend."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.resource.split(":")[2].partition("/")[0])

    def workers(self) -> list[int]:
        """The processes that answer."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def resident_kib(self) -> int:
        """Memory of the server's processes, in KiB."""
        return sum(resident_kib(pid) for pid in (self.pid, *self.workers()))

    async def token(self, user: str, scope: str) -> str:
        """An access token by a real login."""
        answer = await asyncio.to_thread(fetch_token, self.issuer, user, f"openid {scope}", self.resource)
        return str(answer["access_token"])


def running(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it ends between the opening and the reading, too
        return False


def threads(pid: int) -> list[int]:
    """The threads of a process."""
    return [int(one.name) for one in Path(f"/proc/{pid}/task").iterdir()]


def resident_kib(pid: int) -> int:
    """Memory of one process, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@asynccontextmanager
async def running_redis(
    folder: Path, port: int | None = None, *, maxmemory: str = "0", tls: tuple[Path, Path] | None = None
) -> AsyncIterator[str]:
    """A Redis or Valkey of our own on loopback that keeps nothing on disk; its address. `tls`: certificate and key."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server or valkey-server is needed: sh tests/system.sh")
    port = port or free_port()
    listening: tuple[str, ...] = ("--port", str(port))
    if tls is not None:
        files = ("--tls-cert-file", str(tls[0]), "--tls-key-file", str(tls[1]), "--tls-auth-clients", "no")
        listening = ("--port", "0", "--tls-port", str(port), *files)
    process = await asyncio.create_subprocess_exec(
        *(program, *listening, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)),
        *("--maxmemory", maxmemory, "--maxmemory-policy", "noeviction"),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: listens(port))
        yield f"redis://127.0.0.1:{port}/0" if tls is None else f"rediss://localhost:{port}/0"
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def running_server(
    folder: Path,
    target: str,
    *,
    workers: int = 1,
    redis: str | None = None,
    allocator: str = "",
    output: tuple[int, int] | None = None,
    beside: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
    **more: str,
) -> AsyncIterator[Served]:
    """The embedded issuer in this process, `mcp-server serve` in others; `allocator` are options of granian's jemalloc.

    `output` are descriptors for standard output and error; else the log is a file. `beside` are variables by their whole
    names, `more` those that begin with MCP_. `under` is a command that starts it.
    """
    issuer_port, port = free_port(), free_port()
    resource = f"http://localhost:{port}/mcp"
    app, issuer = create_issuer(read(f"http://localhost:{issuer_port}/realms/mcp", resource))
    environment = {
        "PATH": os.environ["PATH"],
        "_RJEM_MALLOC_CONF": allocator,
        "MCP_ISSUER": issuer.realm.issuer,
        "MCP_RESOURCE": resource,
        "MCP_PORT": str(port),
        "MCP_WORKERS": str(workers),
        "MCP_AUDIT_FILE": str(folder / "audit.jsonl"),
        "MCP_SCOPE_IMPLIES": IMPLIES,
        "MCP_SERVICE_CLIENTS": SERVICE_CLIENT,
        "MCP_LOGOUT_CLIENTS": LOGOUT_CLIENTS,
        "MCP_DRAIN_S": "0",
        **({"MCP_REDIS_URL": redis} if redis else {}),
        **{f"MCP_{name.upper()}": value for name, value in more.items()},
        **(beside or {}),
    }
    log = folder / "server.log"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(app, issuer_port))
        process = await asyncio.create_subprocess_exec(
            *(*under, sys.executable, "-m", "mcp_server", "serve", target),
            cwd=ROOT,
            env=environment,
            stdout=output[0] if output else asyncio.subprocess.DEVNULL,
            stderr=output[1] if output else stack.enter_context(log.open("wb")),
        )
        try:
            async with httpx.AsyncClient(trust_env=False, transport=httpx.AsyncHTTPTransport(retries=20)) as http:
                await until(lambda: listens(port))
                await until_ready(http, f"http://localhost:{port}")
            yield Served(issuer=issuer.realm.issuer, resource=resource, log=log, pid=process.pid, authority=issuer)
        finally:
            with contextlib.suppress(ProcessLookupError):  # some tests end it
                process.terminate()
            await process.wait()
