"""The load: one round of wrk on a core of its own, driven by a script that the harness writes."""

import json
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from bench import calls
from bench.calls import Era
from bench.paths import ROOT
from bench.processes import LOAD_CORE, SERVER_CORE
from bench.targets import Kind, Target
from bench.tokens import Tokens

CONNECTIONS: Final = 32
MARK: Final = "bench-round "


class Mode(StrEnum):
    """One token for all requests, or another for each; or one token and one request at a time."""

    CACHED = "cached"
    FRESH = "fresh"
    ALONE = "alone"

    @property
    def connections(self) -> int:
        """How many requests are on their way at once."""
        return 1 if self is Mode.ALONE else CONNECTIONS


class Cell(NamedTuple):
    """What one figure is about."""

    target: str
    era: Era
    mode: Mode


class Round(NamedTuple):
    """What wrk counted in one round; latencies are milliseconds.

    `cpu_us` is what the target used of the processor for each request, in microseconds: all of its processes and
    threads. Where it was not read, it is 0.
    """

    rate: float
    requests: int
    errors: int
    p50: float
    p99: float
    cpu_us: float = 0.0


class LoadError(Exception):
    """What makes the load failed itself."""


SUMMARY: Final = """
local worker
function setup(thread) worker = thread end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '%s{"requests":%d,"microseconds":%d,"status":%d,"socket":%d,"p50":%f,"p99":%f,"used":%d}\\n',
    "MARK", summary.requests, summary.duration, e.status,
    e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99), worker:get("used") or 0))
end
""".replace("MARK", MARK)

ONE_TOKEN: Final = """
wrk.method = "POST"
wrk.body = [==[BODY]==]
HEADERS
used = 0
"""

EACH_TOKEN: Final = """
local head = [==[HEAD]==]
local tail = "\\r\\n\\r\\n" .. [==[BODY]==]
local tokens, at = {}, START
used = 0
function init(args)
  for line in io.lines([==[FILE]==]) do
    if #tokens == TOTAL then break end
    tokens[#tokens + 1] = line
  end
end
function request()
  at = at % #tokens + 1
  used = used + 1
  return head .. tokens[at] .. tail
end
"""


class Generator:
    """Loads one target at a time; with fresh tokens it goes on where that target's last round ended."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._places: dict[str, int] = defaultdict(int)

    def run(self, target: Target, era: Era, mode: Mode, seconds: int) -> Round:
        """One round."""
        if target.kind is Kind.LOOP:
            said = _loop(target, mode.connections, seconds)
        elif mode is Mode.FRESH:
            script = _fresh_script(target, era, self._tokens, self._places[target.name])
            said = _wrk(target.port, script, mode.connections, seconds)
        else:
            script = _cached_script(target, era, self._tokens.one)
            said = _wrk(target.port, script, mode.connections, seconds)
        used = int(said["used"])
        self._places[target.name] = (self._places[target.name] + used) % self._tokens.total
        if used > self._tokens.total:
            raise LoadError(f"{used} requests had only {self._tokens.total} tokens; see --tokens")
        return Round(
            rate=said["requests"] / said["microseconds"] * 1e6,
            requests=int(said["requests"]),
            errors=int(said["status"] + said["socket"]),
            p50=said["p50"] / 1e3,
            p99=said["p99"] / 1e3,
        )


def _cached_script(target: Target, era: Era, token: str) -> str:
    headers = calls.head(era, target.call)
    if target.guarded:
        headers |= {"Authorization": f"Bearer {token}"}
    set_headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items())
    return SUMMARY + ONE_TOKEN.replace("HEADERS", set_headers).replace("BODY", calls.body(era, target.call))


def _fresh_script(target: Target, era: Era, tokens: Tokens, place: int) -> str:
    body = calls.body(era, target.call)
    headers = {"Host": f"127.0.0.1:{target.port}", **calls.head(era, target.call), "Content-Length": len(body)}
    lines = "".join(f"{name}: {value}\\r\\n" for name, value in headers.items())
    head = f'"POST /mcp HTTP/1.1\\r\\n{lines}Authorization: Bearer "'
    filled = EACH_TOKEN.replace("[==[HEAD]==]", head).replace("BODY", body)
    placed = filled.replace("START", str(place)).replace("TOTAL", str(tokens.total))
    return SUMMARY + placed.replace("FILE", str(tokens.path))


def _loop(target: Target, at_once: int, seconds: int) -> dict[str, float]:
    """A client that is its own load, on the core where the servers are."""
    pinned = ["taskset", "-c", str(SERVER_CORE), *target.command, str(at_once), str(seconds)]
    return _said("the loop", pinned, seconds)


def _wrk(port: int, script: str, connections: int, seconds: int) -> dict[str, float]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "round.lua"
        path.write_text(script)
        pinned = ["taskset", "-c", str(LOAD_CORE), "wrk", "--threads", "1"]
        options = ["--connections", str(connections), "--duration", f"{seconds}s"]
        url = f"http://127.0.0.1:{port}/mcp"
        command = [*pinned, *options, "--timeout", "5s", "--script", str(path), url]
        return _said("wrk", command, seconds)


def _said(what: str, command: Sequence[str], seconds: int) -> dict[str, float]:
    """The line of figures that it prints."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds + 60)
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            counted: dict[str, float] = json.loads(line.removeprefix(MARK))
            return counted
    raise LoadError(f"{what}: {(done.stderr or done.stdout).strip()[-300:]}")
