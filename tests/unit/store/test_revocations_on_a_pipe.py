"""A process on stdio with a token hears of revocations by the store that the workers share, and keeps nothing else there."""

import contextlib
import secrets
import time

from mcp_server import settings
from mcp_server.cli.stdio import followed_revocations
from mcp_server.store.events import EventBus
from mcp_server.store.redis import RedisBackend
from mcp_server.store.revocations import EVER, Revocation, Revocations, StoreLedger
from tests.kit.backends import until
from tests.kit.principals import principal


async def test_what_a_worker_is_told_a_process_on_a_pipe_hears(redis_url: str) -> None:
    resource = f"http://localhost:8000/{secrets.token_hex(4)}"
    given = {"MCP_ISSUER": "https://issuer", "MCP_RESOURCE": resource, "MCP_ACCESS_TOKEN": "x"}
    one = Revocation(issuer="https://issuer", kind="sub", name="user", before=EVER, until=time.time() + 60)
    worker = RedisBackend(redis_url, resource)
    async with contextlib.AsyncExitStack() as opened:
        opened.push_async_callback(worker.stop)
        revocations = await followed_revocations(settings.load({**given, "MCP_REDIS_URL": redis_url}), opened)
        opened.push_async_callback(revocations.stop)
        await revocations.start()
        await Revocations(EventBus(worker), ledgers=[StoreLedger(worker)]).revoke(one)

        async def known() -> bool:
            return bool(revocations.known.over(principal()))

        await until(known)


async def test_without_a_store_or_a_token_nobody_is_asked() -> None:
    for more in ({"MCP_REDIS_URL": "redis://127.0.0.1:9/0"}, {"MCP_ACCESS_TOKEN": "x"}):
        async with contextlib.AsyncExitStack() as opened:
            found = settings.load({"MCP_ISSUER": "https://issuer", **more})
            assert not (await followed_revocations(found, opened)).bus.backend.distributed
