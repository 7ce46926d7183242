"""Where the load runs: an issuer that only publishes keys, a Redis, one server of so many workers, tokens for it."""

import contextlib
import itertools
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.issuer import issuer_url, issuing
from bench.tokens import claims_of, mint
from tests.kit.served import resident_kib, running_redis
from tests.kit.stack import free_port
from tests.operate.processes import Server, descriptors, processor_s
from tests.operate.section import STATE_KEY

TARGET: Final = "tests.load.server:server"
SERVER_CORE: Final = "0"
LOAD_CORE: Final = "1"
BOTH: Final = "0,1"


class Tokens:
    """Access tokens that the issuer's key has signed, each of a subject of its own."""

    def __init__(self, issuer: str, resource: str) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._claims, self._numbers = claims_of(issuer, resource), itertools.count()

    @property
    def key(self) -> rsa.RSAPrivateKey:
        """What the issuer publishes the other half of."""
        return self._key

    def minted(self, count: int) -> list[str]:
        """So many more."""
        subjects = [f"00000000-0000-4000-8000-{next(self._numbers):012d}" for _ in range(count)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda sub: mint(self._key, {**self._claims, "sub": sub}), subjects))


class Used(msgspec.Struct, frozen=True):
    """What the workers of a server have used and hold: seconds of the processor, KiB, descriptors."""

    seconds: float
    kib: int
    files: int


class Around(msgspec.Struct, frozen=True):
    """What stands around the servers that are measured, one after the other at one port."""

    folder: Path
    port: int
    issuer: str
    store: str
    tokens: Tokens

    @property
    def url(self) -> str:
        """Where the server is."""
        return f"http://localhost:{self.port}"

    @contextlib.asynccontextmanager
    async def serving(self, *, workers: int = 1, cores: str = SERVER_CORE, store: bool = True) -> AsyncIterator[Server]:
        """`mcp-server serve` at its defaults: audit to a file, metrics counted, limits on."""
        environment = {
            "MCP_ISSUER": self.issuer,
            "MCP_RESOURCE": f"{self.url}/mcp",
            "MCP_WORKERS": str(workers),
            "MCP_STATE_KEYS": STATE_KEY,
            "MCP_DRAIN_S": "0",
            **({"MCP_REDIS_URL": self.store} if store else {}),
        }
        server = Server(0, self.port, self.folder, environment, ("taskset", "-c", cores), target=TARGET)
        try:
            await server.start()
            await server.ready()
            yield server
        finally:
            await server.gone()


def used(server: Server) -> Used:
    """By now."""
    pids = server.workers()
    return Used(
        sum(processor_s(pid) for pid in pids),
        sum(resident_kib(pid) for pid in pids),
        sum(descriptors(pid) for pid in pids),
    )


@contextlib.asynccontextmanager
async def around(folder: Path) -> AsyncIterator[Around]:
    """The issuer and the Redis, until the block ends."""
    port, issuer_port = free_port(), free_port()
    tokens = Tokens(issuer_url(issuer_port), f"http://localhost:{port}/mcp")
    (folder / "redis").mkdir()
    with issuing(issuer_port, tokens.key):
        async with running_redis(folder / "redis") as store:
            yield Around(folder=folder, port=port, issuer=issuer_url(issuer_port), store=store, tokens=tokens)
