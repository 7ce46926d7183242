"""Clients that keep connections and pause between calls: what the end of a connection costs httpx and undici."""

import asyncio
import contextlib
import functools
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import httpx
import msgspec

from tests.kit import wire
from tests.kit.served import ROOT
from tests.operate.client import ACCEPT, new_call, trace
from tests.operate.load import work
from tests.operate.section import Place
from tests.operate.verdicts import Executions, Judged

SCRIPT: Final = ROOT / "tests" / "operate" / "kept.mjs"
AT_ONCE: Final = 20
PAUSE_S: Final = 6.0
"""At the longest: longer than the lame duck, and than either client keeps a connection by itself."""


PATIENCE_S: Final = 120.0
"""Twice what a call and its repetition may take at the longest."""


class Tried(msgspec.Struct, kw_only=True):
    """One call: what became of it, and of its one repetition where it met the end of its connection."""

    call: str
    again: str = ""
    first: str
    second: str = ""


class Called:
    """Which clients have called since somebody asked."""

    def __init__(self) -> None:
        self._since, self._all = set[int](), asyncio.Event()

    def by(self, client: int) -> None:
        """A client has had its answer, whatever that was."""
        self._since.add(client)
        if len(self._since) == AT_ONCE:
            self._all.set()

    async def by_all(self) -> None:
        """Wait until every one has called since now; their pauses bound that."""
        self._since.clear()
        self._all.clear()
        async with asyncio.timeout(PATIENCE_S):
            await self._all.wait()


async def clients(place: Place) -> None:
    """Both, while each process is restarted as often as asked."""
    over, tokens = asyncio.Event(), place.folder / "token"
    _written(tokens, place.tokens[0])
    writing = asyncio.create_task(_tokens(place, tokens))
    called = Called()
    python = asyncio.create_task(_python(place, over, called))
    try:
        async with _node(place, tokens) as node:
            for _ in range(place.times):
                for server in place.servers:
                    await called.by_all()  # so each has a connection that it keeps, of whatever age
                    await place.restart(server)
            await called.by_all()
            over.set()
            found = {f"httpx {httpx.__version__}": await python}
            found.update(await node())
    finally:
        over.set()
        writing.cancel()
        await asyncio.wait([python, writing])
    ran = Executions.read(place.folder / "tally")
    for name, tried in found.items():
        place.more += judged(name, tried, ran)


def judged(name: str, tried: Sequence[Tried], ran: Executions) -> tuple[Judged, Judged]:
    """A client may lose a call on a connection that ends; then it has not run, and a repetition is answered."""
    lost = [one for one in tried if one.first != "good"]
    told = ", ".join(f"{count} {what}" for what, count in Counter(one.first for one in lost).most_common())
    acted = [one for one in lost if one.call in ran.begun]
    figures = f"{len(tried)} calls, {len(lost)} lost{f' ({told})' if told else ''}, of which {len(acted)} had run"
    again = [one.second for one in lost if one.second != "good"]
    repeated = f"{len(lost)} repeated once, {len(again)} lost again{f' ({again[0]})' if again else ''}"
    return (
        Judged(f"what {name} loses with a kept connection has not run", bool(tried) and not acted, figures),
        Judged(f"{name}: one repetition is enough", bool(tried) and not again, repeated),
    )


async def _tokens(place: Place, file: Path) -> None:
    """For the client that is not in this process."""
    while True:
        await asyncio.sleep(2)  # a pace: tokens are renewed more seldom
        await asyncio.to_thread(_written, file, place.tokens[0])


def _written(file: Path, token: str) -> None:
    """In one step: it is read at any time."""
    half = file.with_suffix(".new")
    half.write_text(token)
    half.replace(file)


async def _python(place: Place, over: asyncio.Event, called: Called) -> list[Tried]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        loops = (_loop(place, http, over, functools.partial(called.by, one)) for one in range(AT_ONCE))
        found = await asyncio.gather(*loops)
    return [one for some in found for one in some]


async def _loop(place: Place, http: httpx.AsyncClient, over: asyncio.Event, called: Callable[[], None]) -> list[Tried]:
    found = []
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), random.uniform(0, PAUSE_S))
        one = Tried(call=new_call(), first="")
        one.first = await _once(place, http, one.call)
        if one.first != "good":
            one.again = new_call()
            one.second = await _once(place, http, one.again)
        found.append(one)
        called()
    return found


async def _once(place: Place, http: httpx.AsyncClient, call: str) -> str:
    params = work(call, 0)
    names = {name.replace("_", "-"): value for name, value in wire.headers("tools/call", "work").items()}
    fields = {"authorization": f"Bearer {place.tokens[0]}", "accept": ACCEPT, **names, **trace(call)}
    try:
        answer = await http.post(place.url, json=wire.modern("tools/call", params), headers=fields)
    except httpx.TransportError as error:
        return type(error).__name__
    return "good" if answer.status_code == 200 and f"done {call}" in answer.text else str(answer.status_code)


class Said(msgspec.Struct):
    """What the other process says at its end."""

    version: str
    tried: list[Tried]


@contextlib.asynccontextmanager
async def _node(place: Place, tokens: Path) -> AsyncIterator[Callable[[], Awaitable[dict[str, list[Tried]]]]]:
    """undici as Node has it built in (`fetch`); without a Node it is left out."""
    program = shutil.which("node")
    if program is None:
        place.note("no Node: undici was left out")
        yield _nothing
        return
    child = await asyncio.create_subprocess_exec(
        *(program, str(SCRIPT), place.url, str(tokens), str(AT_ONCE), str(PAUSE_S)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )

    async def said() -> dict[str, list[Tried]]:
        out, _ = await child.communicate(b"")  # its standard input ends: it stops
        found = msgspec.json.decode(out, type=Said)
        return {f"undici {found.version}": found.tried}

    try:
        yield said
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def _nothing() -> dict[str, list[Tried]]:
    return {}
