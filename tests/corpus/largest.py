"""What the largest documents cost a whole server: seconds to import, a page of the list, memory. A process for each.

Seconds are the processor's own, so that a busy machine shows the same. The first page of a list is asked for twice: the
first time all its entries are made.
"""

import asyncio
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from mcp_server import McpPlugin, McpServer, create_app, settings
from mcp_server.engine.pipeline import Pipeline
from mcp_server.engine.supervisor import CallSupervisors
from mcp_server.observe.recorder import CallRecorder
from mcp_server.stdio.channel import Output
from mcp_server.stdio.transport import Connection
from tests.corpus import cache
from tests.kit import wire
from tests.kit.calls import limits
from tests.kit.inside import caller

OPERATIONS: Final = 1_000
SIZE: Final = 8_000_000
ALSO: Final = frozenset({"kubernetes.io.json"})
ANY_SIZE: Final = 20_000_000
"""Bytes from which on a document only has to be imported at all: Microsoft Graph's."""
IMPORT_S, PAGE_MS, MIB = 2.0, 20.0, 150
METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


class Cost(msgspec.Struct, kw_only=True):
    """What one document costs; `resident` and `peak` are MiB of a process that has nothing else to do."""

    name: str
    size: int
    tools: int
    import_s: float
    first_page_ms: float
    page_ms: float
    resident: float
    peak: float

    @property
    def kept(self) -> bool:
        """Whether it keeps to what the project aims at."""
        return self.size >= ANY_SIZE or (self.import_s < IMPORT_S and self.page_ms < PAGE_MS and self.resident < MIB)


def documents() -> list[Path]:
    """Those of the corpora with a thousand operations or eight megabytes, and Kubernetes'."""
    return [path for path in [*cache.documents(), *cache.github()] if _is_large(path)]


def measured(path: Path) -> Cost | str:
    """What it costs, in a process of its own; a text where that ends otherwise."""
    done = subprocess.run([sys.executable, "-m", __name__, str(path)], capture_output=True, check=False)
    if done.returncode:
        return f"{path.name}: {done.stderr.decode(errors='replace').strip()[-300:]}"
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Cost)


def lines(costs: list[Cost | str]) -> Iterator[str]:
    """As a person reads it."""
    yield f"{'':28}{'MB':>6}{'tools':>7}{'import s':>10}{'first ms':>10}{'page ms':>9}{'MiB':>6}{'peak':>6}"
    for one in costs:
        if isinstance(one, str):
            yield f"FAILED {one}"
            continue
        figures = f"{one.size / 1e6:6.1f}{one.tools:7}{one.import_s:10.2f}{one.first_page_ms:10.1f}{one.page_ms:9.2f}"
        missed = "" if one.kept else "  MISSED"
        yield f"{one.name:28}{figures}{one.resident:6.0f}{one.peak:6.0f}{missed}"
    yield f"aims, below {ANY_SIZE // 1_000_000} MB: {IMPORT_S:g} s, {PAGE_MS:g} ms a page, {MIB} MiB"


def _is_large(path: Path) -> bool:
    if path.name in ALSO or path.stat().st_size >= SIZE:
        return True
    if path.stat().st_size < SIZE // 8:
        return False
    paths = msgspec.json.decode(path.read_bytes()).get("paths") or {}
    return sum(len(METHODS & item.keys()) for item in paths.values() if isinstance(item, dict)) >= OPERATIONS


class _Kept(Output):
    """What was said, as it is: reading it is the client's time."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.said = asyncio.Queue[bytes]()

    async def send(self, message: bytes) -> None:
        self.said.put_nowait(message)


async def _cost(document: str) -> tuple[int, float, list[float]]:
    """Tools, seconds of the import, milliseconds of pages."""
    server = McpServer("largest")
    server.include_openapi(
        document,
        name="api",
        base_url="https://api.example.test",
        list="full",
        identity={"mode": "none"},
        scopes={"unmapped": "keep"},
    )
    with tempfile.TemporaryDirectory() as folder:
        given = {"MCP_ISSUER": "http://localhost:9/realms/mcp", "MCP_AUDIT_FILE": f"{folder}/audit.jsonl"}
        app = create_app(server, settings.load(given))
        plugin = app.plugins.get(McpPlugin)
        began = time.process_time()
        async with app.lifespan():
            took = time.process_time() - began
            return len(server.tools), took, await _pages(plugin)


async def _pages(plugin: McpPlugin) -> list[float]:
    """The first page as it is made, then three times as it is there."""
    pipeline = Pipeline(plugin.runtime, limits(), CallRecorder(plugin._audit), CallSupervisors())
    said, took = _Kept(), []
    connection = Connection(pipeline, caller({"mcp:read"}), said)
    for _ in range(4):
        began = time.process_time()
        await connection.take(msgspec.json.encode(wire.modern("tools/list")))
        answer = await said.said.get()
        took.append((time.process_time() - began) * 1e3)
        if b'"tools":[{' not in answer:
            raise AssertionError(answer[:300])
    await connection.close()
    return took


def main() -> None:
    """One document; the figures are one line of JSON."""
    path = Path(sys.argv[1])
    tools, import_s, pages = asyncio.run(_cost(str(path)))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    cost = Cost(
        name=path.name if "generated" not in path.parts else f"github/{path.name}",
        size=path.stat().st_size,
        tools=tools,
        import_s=import_s,
        first_page_ms=pages[0],
        page_ms=max(pages[1:]),
        resident=_mib(status["VmRSS"]),
        peak=_mib(status["VmHWM"]),
    )
    print(msgspec.json.encode(cost).decode())


def _mib(text: str) -> float:
    return int(text.split(maxsplit=1)[0]) / 1024


if __name__ == "__main__":
    main()
