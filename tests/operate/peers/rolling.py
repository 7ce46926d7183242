"""The rolling restart of a peer: the same proxy, the same calls, each process restarted once."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

import httpx
import msgspec
from joserfc import jws
from joserfc.jwk import RSAKey

from tests.operate import verdicts
from tests.operate.around import Around, Ports, ports
from tests.operate.client import connected
from tests.operate.load import Load, Shape
from tests.operate.processes import Process, until_listens
from tests.operate.report import judgements, milliseconds
from tests.operate.section import WARM_S, Seen
from tests.operate.tally import TALLY
from tests.operate.tokens import Tokens

PEERS: Final = {"fastmcp": "tests.operate.peers.fastmcp_server", "mcp": "tests.operate.peers.sdk_server"}
KINDS: Final = {"modern kept": 45, "modern fresh": 30, "legacy fresh": 15, "list": 10}
"""Both serve without sessions here, so that a balancer may send each call anywhere."""
TOKEN_S: Final = 1800
"""One of them allows no leeway of clocks: what is measured is the restart, not the end of tokens."""
CHECK: Final = ""
"""They have no readiness of their own: haproxy asks whether they take a connection."""
ABOUT: Final = """\
Each process restarted once by SIGTERM, behind the same haproxy (which asks them for a connection: they have no
readiness), the same calls without listeners, sessions and tasks, with tokens that live half an hour. Their servers are
those of the benchmark: uvicorn with its own graceful stop, stateless, JSON answers. Ours is the section `haproxy`
above, where each process was restarted as often as it says.
"""


class Rolled(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one peer."""

    name: str
    calls: int
    failed: int
    faults: str
    latencies: str
    stops: str


async def run(shape: Shape, folder: Path, ours: Seen | None) -> str:
    """Both, beside ours; in Markdown."""
    rows = []
    for name, module in PEERS.items():
        print(f"peer {name}", file=sys.stderr, flush=True)
        (place := folder / f"peer-{name}").mkdir()
        rows.append(await _roll(name, module, shape, place))
    head = "## Peers\n\n" + ABOUT + "\n| server | calls | failed | how | p50 | p90 | p99 | p99.9 | max (ms) | stops |\n"
    text = head + "|---" * 10 + "|\n" + "".join(_row(one) for one in rows)
    return text if ours is None else text + f"\nOurs:\n\n{judgements([ours.judged[0], ours.judged[-1]])}"


def _row(one: Rolled) -> str:
    return (
        f"| {one.name} {version(one.name)} | {one.calls} | {one.failed} | {one.faults} | {one.latencies} "
        f"| {one.stops} |\n"
    )


async def _roll(name: str, module: str, shape: Shape, folder: Path) -> Rolled:
    at = ports()
    async with Around(folder, at, CHECK, TOKEN_S).running(), connected(at.resource) as client:
        tokens = Tokens(at.issuer_url, at.resource, every_s=15)
        async with (
            tokens.kept(),
            _servers(module, folder, at.servers, await _environment(folder, tokens, at)) as servers,
        ):
            load, over = Load(client, tokens, shape, kinds=KINDS), asyncio.Event()
            job = asyncio.create_task(load.run(over))
            await asyncio.sleep(WARM_S)
            stops = []
            for server, port in zip(servers, at.servers, strict=True):
                began = time.monotonic()
                stops.append((await server.stop(), time.monotonic() - began))
                await server.start()
                await until_listens(port)
                await asyncio.sleep(1)
            over.set()
            await job
    calls = verdicts.calls_good(load.calls, frozenset())
    faults = "; ".join(f"{count} {what}" for what, count in load.calls.faults().most_common(4))
    codes, longest = sorted({code for code, _ in stops}), max(seconds for _, seconds in stops)
    return Rolled(
        name=name,
        calls=len(load.calls.all),
        failed=0 if calls.held else len(load.calls.all) - len(load.calls.of("good")),
        faults=faults or "-",
        latencies=milliseconds(load.calls.latencies()),
        stops=f"codes {codes}, longest {longest:.1f} s",
    )


async def _environment(folder: Path, tokens: Tokens, at: Ports) -> dict[str, str]:
    """What the benchmark's peers are told; the issuer's key lies in a file."""
    kid = jws.extract_compact(tokens[0].encode()).headers()["kid"]
    async with httpx.AsyncClient(trust_env=False) as http:
        keys = (await http.get(f"{at.issuer_url}/protocol/openid-connect/certs")).json()["keys"]
    key = RSAKey.import_key(next(one for one in keys if one["kid"] == kid))
    (folder / "key.pem").write_bytes(key.as_pem(private=False))
    return {
        "BENCH_ISSUER": at.issuer_url,
        "BENCH_AUDIENCE": at.resource,
        "BENCH_KEY": str(folder / "key.pem"),
        "FASTMCP_LOG_LEVEL": "WARNING",
        TALLY: str(folder / "tally"),
    }


@contextlib.asynccontextmanager
async def _servers(
    module: str, folder: Path, at: tuple[int, ...], environment: dict[str, str]
) -> AsyncIterator[list[Process]]:
    command = (sys.executable, "-m", module)
    servers = [
        Process(command, environment | {"BENCH_PORT": str(port)}, folder / f"peer-{number}.log")
        for number, port in enumerate(at)
    ]
    try:
        for server in servers:
            await server.start()
        for port in at:
            await until_listens(port)
        await asyncio.sleep(1)
        yield servers
    finally:
        for server in servers:
            await server.gone()
