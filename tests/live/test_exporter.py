"""The exporter as a process: there while the server is, gone with it, however the server ends."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import msgspec
import pytest

from mcp_server.observe.admin import exporter
from mcp_server.observe.sampling import SAMPLED
from tests.kit.stack import free_port

pytestmark = pytest.mark.live
PARENT = """
import sys
from mcp_server.observe.admin import exporter
with exporter.running("127.0.0.1", int(sys.argv[1])):
    sys.stdin.read()
"""


async def _answers(port: int, *, wanted: bool) -> None:
    """Wait until it does, or does not."""
    async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as http:
        while True:
            try:
                found = (await http.get(f"http://127.0.0.1:{port}/metrics")).status_code == 200
            except httpx.TransportError:
                found = False
            if found is wanted:
                return
            await asyncio.to_thread(lambda: None)


async def test_it_is_there_for_as_long_as_it_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    port = free_port()
    with exporter.running("127.0.0.1", port):
        await _answers(port, wanted=True)
    await _answers(port, wanted=False)


async def test_it_ends_with_a_parent_that_could_not_end_it(tmp_path: Path) -> None:
    port = free_port()
    parent = subprocess.Popen(  # noqa: ASYNC220 - its end is awaited in a thread
        [sys.executable, "-c", PARENT, str(port)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        stdin=subprocess.PIPE,
    )
    try:
        await _answers(port, wanted=True)
        parent.send_signal(signal.SIGKILL)
        await asyncio.to_thread(parent.wait, 30)
        await _answers(port, wanted=False)
    finally:
        parent.kill()
        parent.wait()
        assert parent.stdin
        parent.stdin.close()


async def test_a_connection_that_is_open_at_the_end_leaves_nothing_on_standard_error(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "mcp_server.observe.admin.exporter", "127.0.0.1", str(port), str(os.getpid())]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    child = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    await _answers(port, wanted=True)
    answered, answered_writer = await asyncio.open_connection("127.0.0.1", port)
    _, silent_writer = await asyncio.open_connection("127.0.0.1", port)
    answered_writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert await answered.read()  # to the end of what is sent; this side stays open
    child.terminate()
    _, told = await asyncio.wait_for(child.communicate(), 30)
    for writer in (answered_writer, silent_writer):
        writer.close()
    assert (child.returncode, told.decode()) == (0, "")


async def test_counters_that_cannot_be_read_are_told_by_a_line_and_a_500(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "mcp_server.observe.admin.exporter", "127.0.0.1", str(port), str(os.getpid())]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    child = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    await _answers(port, wanted=True)
    (tmp_path / "counter_1.db").write_bytes(b"\xff\xff\x00\x00" + b"\xff" * 60)
    for _ in range(2 * SAMPLED):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 500 ")
        writer.close()
    child.terminate()
    _, told = await asyncio.wait_for(child.communicate(), 30)
    lines = [msgspec.json.decode(line) for line in told.splitlines()]
    failed = [one for one in lines if one["event"] == "a scrape has failed: the counters cannot be read"]
    assert sum(one.get("more", 1) for one in failed) == 2 * SAMPLED
    assert len(failed) < 2 * SAMPLED  # who scrapes needs no token


async def test_an_address_that_it_cannot_have_is_one_line() -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "mcp_server.observe.admin.exporter", "192.0.2.1", "9000", str(os.getpid())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("admin port: cannot listen on 192.0.2.1, port 9000: ")
    assert len(done.stderr.splitlines()) == 1
