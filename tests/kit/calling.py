"""Calls of a scripted API by our client, and what must be true of each fault."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_server.rest.client import Limits, UpstreamClient
from mcp_server.rest.model import UpstreamFault, WireAnswer, WireRequest
from tests.kit.upstreams import Api

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"
QUICK = Limits(connect_s=0.3, read_s=0.3, attempts=1)
PATIENT = Limits(attempts=1)
AGAIN = Limits(attempts=3, backoff_s=0.0)
SECRET = ("authorization", "Bearer s3cret")


@asynccontextmanager
async def calling(one: Api, limits: Limits = PATIENT, **more: Any) -> AsyncIterator[UpstreamClient]:
    async with UpstreamClient([one.base()], limits, **more) as made:
        yield made


async def sent(
    made: UpstreamClient, request: WireRequest, deadline_s: float = 10.0, max_bytes: int = 1_000_000
) -> WireAnswer:
    return await made.send(request, deadline_s=deadline_s, max_bytes=max_bytes, headers=[SECRET])


async def fault(made: UpstreamClient, request: WireRequest, deadline_s: float = 10.0) -> UpstreamFault:
    """The fault of a call, which tells nothing of where it went and what it carried."""
    with pytest.raises(UpstreamFault) as raised:
        await sent(made, request, deadline_s)
    found = raised.value
    assert found.__cause__ is None
    assert found.__context__ is None or found.__suppress_context__
    for hidden in ("127.0.0.1", "localhost", "s3cret", str(request.url), "aiohttp"):
        assert hidden not in found.text
    return found
