"""`mcp-server serve` as an operator runs it: workers, metrics on a port of their own, logs in one stream, a clean stop."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from tests.kit.served import running_redis, running_server, threads
from tests.kit.stack import free_port, listens, running_stack, until

pytestmark = pytest.mark.live
BIN = Path(sys.executable).parent
COUNTED = 'mcp_calls_total{method="tools/call",outcome="ok",tool="list_orders"} 20.0'
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_orders"}}


async def test_two_workers_count_together_and_log_json(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        port, metrics_port = free_port(), free_port()
        environment = {
            **os.environ,
            "MCP_ISSUER": stack.issuer.realm.issuer,
            "MCP_RESOURCE": f"http://localhost:{port}/mcp",
            "MCP_AUDIENCES": stack.resource,
            "MCP_PORT": str(port),
            "MCP_WORKERS": "2",
            "MCP_ADMIN_PORT": str(metrics_port),
            "MCP_AUDIT_FILE": str(tmp_path / "workers.jsonl"),
        }
        child = subprocess.Popen(  # noqa: ASYNC220 - read by a thread of its own
            [BIN / "mcp-server", "serve", "tests.kit.servers.orders:server"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: list[str] = []
        assert child.stdout
        reader = threading.Thread(target=lambda: lines.extend(child.stdout or ()))
        reader.start()
        origin = f"http://localhost:{port}"
        try:
            async with httpx.AsyncClient(trust_env=False) as http:
                await _up(http, origin)
                token = await stack.token("alice")
                for _ in range(20):
                    async with httpx.AsyncClient(trust_env=False) as one:
                        answer = await one.post(
                            f"{origin}/mcp", json=CALL, headers={"authorization": f"Bearer {token}"}
                        )
                        assert answer.status_code == 200
                assert (await http.get(f"{origin}/metrics")).status_code == 404
                await until(lambda: listens(metrics_port))  # a process of its own, which may begin after the workers
                await _shows(http, metrics_port, COUNTED)
                await _shows(http, metrics_port, "mcp_streams_open 0.0")
                await until(lambda: _all_ready(http, metrics_port, 2))
                assert (await http.get(f"http://127.0.0.1:{metrics_port}/healthz")).status_code == 200
                init = await http.post(
                    f"{origin}/mcp",
                    json={
                        "jsonrpc": "2.0",
                        "id": 1,
                        "method": "initialize",
                        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}},
                    },
                    headers={"authorization": f"Bearer {token}"},
                )
                assert (init.status_code, "mcp-session-id" in init.headers) == (200, False)
                deleted = await http.delete(f"{origin}/mcp", headers={"authorization": f"Bearer {token}"})
                assert deleted.status_code == 405
                await _revoked(environment, origin, token)
        finally:
            child.send_signal(signal.SIGTERM)
            code = child.wait(30)
            reader.join(10)
            child.stdout.close()
        assert code == 0
        events = [json.loads(line) for line in lines]
        assert any("several workers" in one["event"] for one in events)
        assert any("Spawning worker" in one["event"] for one in events)
        audit = (tmp_path / "workers.jsonl").read_text().splitlines()
        assert sum('"tool":"list_orders"' in line for line in audit) == 20
        assert token not in "".join(lines) + "".join(audit)


SHOP = """
from mcp_server import McpServer
server = McpServer("shop")
@server.tool()
async def say() -> str:
    return "first"
"""


async def test_ctrl_c_is_no_crash_of_workers(tmp_path: Path) -> None:
    """A terminal sends it to all of them, and one that has nothing to do ends before its parent tells it to."""
    port, log = free_port(), tmp_path / "log"
    environment = {"MCP_ISSUER": "http://localhost:1", "MCP_RESOURCE": f"http://localhost:{port}/mcp"}
    with log.open("wb") as errors:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mcp_server", "serve", "tests.kit.servers.orders:server"),
            env={**os.environ, **environment, "MCP_PORT": str(port), "MCP_WORKERS": "2"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        async with httpx.AsyncClient(trust_env=False) as http:

            async def begun() -> bool:
                return log.read_bytes().count(b"Started worker") == 2

            await until(begun)
            assert (await http.get(f"http://localhost:{port}/healthz")).status_code == 200
        os.killpg(child.pid, signal.SIGINT)
        async with asyncio.timeout(60):
            assert await child.wait() == 0
    said = log.read_text()
    assert ("Stopping worker" in said, "crashed" in said, "Unexpected exit" in said) == (True, False, False)


async def test_an_edit_is_served_without_a_restart_by_hand(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        port, module = free_port(), tmp_path / "shop.py"
        module.write_text(SHOP)
        environment = {
            **os.environ,
            "MCP_ISSUER": stack.issuer.realm.issuer,
            "MCP_RESOURCE": f"http://localhost:{port}/mcp",
            "MCP_AUDIENCES": stack.resource,
            "MCP_PORT": str(port),
        }
        command = [str(BIN / "mcp-server"), "serve", "shop:server", "--reload"]
        child = subprocess.Popen(  # noqa: ASYNC220 - it writes to nowhere
            command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        headers = {"authorization": f"Bearer {await stack.token('alice')}"}
        say = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "say"}}
        try:
            async with httpx.AsyncClient(trust_env=False) as http:
                await _up(http, f"http://localhost:{port}")
                assert "first" in (await http.post(f"http://localhost:{port}/mcp", json=say, headers=headers)).text
                module.write_text(SHOP.replace("first", "second"))
                await until(lambda: _said(http, port, say, headers, "second"))
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)


async def _said(http: httpx.AsyncClient, port: int, say: dict[str, object], headers: dict[str, str], word: str) -> bool:
    """Whether the answer has it; a worker that was just replaced answers nothing."""
    try:
        return word in (await http.post(f"http://localhost:{port}/mcp", json=say, headers=headers)).text
    except httpx.TransportError:
        return False


async def _revoked(environment: dict[str, str], origin: str, token: str) -> None:
    """Without Redis: the command finds the server's folder, and each of the workers looks there."""
    command = [str(BIN / "mcp-server"), "revoke", "--client", "mcp-public", "--why", "a test"]

    def run() -> str:
        return subprocess.check_output(command, env=environment, text=True)

    assert "tokens of client mcp-public issued up to" in await asyncio.to_thread(run)

    async def over() -> bool:
        statuses = set()
        for _ in range(8):  # each on a connection of its own: whoever is free takes it
            async with httpx.AsyncClient(trust_env=False) as one:
                answer = await one.post(
                    f"{origin}/mcp", json={**CALL, "method": "ping"}, headers={"authorization": f"Bearer {token}"}
                )
                statuses.add(answer.status_code)
        return statuses == {401}

    await until(over)


async def _all_ready(http: httpx.AsyncClient, port: int, workers: int) -> bool:
    """Whether the admin port knows of so many; each says once a second how ready it is."""
    answer = await http.get(f"http://localhost:{port}/readyz")
    return answer.status_code == 200 and [one["status"] for one in answer.json()["workers"]] == ["ok"] * workers


async def _shows(http: httpx.AsyncClient, port: int, line: str) -> None:
    """Wait until the counters of all workers say so: each worker hands on what it gathered."""

    async def shown() -> bool:
        return line in (await http.get(f"http://localhost:{port}/metrics")).text

    await until(shown)


async def _up(http: httpx.AsyncClient, origin: str) -> None:
    await until(lambda: _is_ready(http, origin))


async def _is_ready(http: httpx.AsyncClient, origin: str) -> bool:
    """Whether tokens can be judged; nobody listening, or a worker just replaced, is a no."""
    try:
        return (await http.get(f"{origin}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def test_every_thread_of_a_worker_takes_whole_turns(tmp_path: Path) -> None:
    async with running_server(tmp_path, "tests.kit.servers.orders:server", workers=2) as served:

        async def batched() -> bool:
            return [policies(worker) for worker in served.workers()] == [{os.SCHED_BATCH}] * 2

        await until(batched)


def policies(pid: int) -> set[int]:
    found = set()
    for thread in threads(pid):
        with contextlib.suppress(ProcessLookupError):  # it has ended since
            found.add(os.sched_getscheduler(thread))
    return found


FORBIDDEN = """
import importlib, os, sys
serve = importlib.import_module("mcp_server.cli.serve")
def forbidden(*_):
    raise OSError(38, "Function not implemented")
setattr(os, sys.argv[1], forbidden)
serve._take_whole_turns()
print(os.SCHED_OTHER)
"""


@pytest.mark.parametrize("call", ["sched_getscheduler", "sched_setscheduler"])
def test_a_sandbox_that_forbids_a_call_costs_nothing_but_speed(call: str) -> None:
    said = subprocess.run([sys.executable, "-c", FORBIDDEN, call], capture_output=True, check=True)
    assert int(said.stdout) == os.SCHED_OTHER


def test_a_policy_that_an_operator_chose_stays() -> None:
    code = (
        "import importlib, os; serve = importlib.import_module('mcp_server.cli.serve');"
        "serve._take_whole_turns(); print(os.sched_getscheduler(0))"
    )
    said = subprocess.run(["chrt", "--idle", "0", sys.executable, "-c", code], capture_output=True, check=True)
    assert int(said.stdout) == os.SCHED_IDLE


async def test_several_servers_and_workers_let_through_what_one_worker_does(tmp_path: Path) -> None:
    """120 calls of one principal, each over a connection of its own; an hour's rate, so that time plays no part."""
    limits = json.dumps({"*": ["1/h burst 21 per principal"]})
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    async with contextlib.AsyncExitStack() as opened:
        redis = await opened.enter_async_context(running_redis(tmp_path))
        orders = "tests.kit.servers.orders:server"
        first = await opened.enter_async_context(running_server(one, orders, workers=2, redis=redis, limits=limits))
        second = await opened.enter_async_context(
            running_server(other, orders, redis=redis, limits=limits, issuer=first.issuer, resource=first.resource)
        )
        headers = {"authorization": f"Bearer {await first.token('alice', 'mcp:read')}"}
        each_alone = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(trust_env=False, limits=each_alone) as http:
            ports = [(first, second)[number % 2].port for number in range(120)]
            asked = [http.post(f"http://localhost:{port}/mcp", json=CALL, headers=headers) for port in ports]
            statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
    assert set(statuses) == {200, 429}
    assert 21 <= statuses.count(200) <= 21 + 3
