"""A stream that is read slowly holds back who speaks on it, and one that nobody reads ends, too."""

import asyncio
import socket
from pathlib import Path

import httpx
import msgspec
import pytest

from mcp_server.sessions.subscriptions import Notice
from mcp_server.web.outgoing import event_stream as stream_module
from tests.flows.test_listening import listen, make
from tests.kit import wire
from tests.kit.servers import streams
from tests.kit.stack import running_stack


async def test_a_listener_that_does_not_read_ends_with_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "MUTE_S", 0.1)
    async with running_stack(tmp_path, make(), keep_alive_s="0.1") as stack:
        token = await stack.token("alice")
        uris = [f"news://{number}{'y' * 240}" for number in range(200)]
        message, headers = listen({"resourceSubscriptions": uris})
        body, port = msgspec.json.encode(message), int(stack.resource.split(":")[2].partition("/")[0])
        fields = {
            "host": f"localhost:{port}",
            "content-type": "application/json",
            "authorization": f"Bearer {token}",
            "content-length": str(len(body)),
            **headers,
        }
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        listeners, changed = stack.plugin.runtime.listeners, stack.plugin.runtime._changed
        with socket.socket() as mute:
            mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await asyncio.to_thread(mute.connect, ("127.0.0.1", port))
            mute.sendall(f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
            async with asyncio.timeout(60):
                while not len(listeners):
                    await asyncio.to_thread(lambda: None)
                (listener,) = listeners
                stuck = 0
                while stuck < 50:  # nothing is taken any more
                    for uri in uris:
                        changed("resources", uri)
                    before = len(listener.waiting)
                    await asyncio.to_thread(lambda: None)
                    stuck = stuck + 1 if len(listener.waiting) == before == len(uris) else 0
                listener.end()
                changed("resources", uris[0])
                while len(listeners):
                    await asyncio.to_thread(lambda: None)
            assert not listeners._limiter.holders
        listener.waiting.clear()
        listener.offer("late", Notice("late"))
        assert not listener.waiting


async def test_a_slow_reader_holds_the_handler_back(tmp_path: Path) -> None:
    """Looked at once nothing is taken any more: a slow machine's handler has not come far in any number of seconds."""
    size = 500_000
    level = {wire.PREFIX + "logLevel": "info"}
    message, headers = streams.call("flood", {"count": 90, "size": size}, **level)
    streams.server.state["sent"] = -1
    few = httpx.AsyncHTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)])
    async with (
        running_stack(tmp_path, streams.server) as stack,
        httpx.AsyncClient(trust_env=False, transport=few) as http,
    ):
        token = await stack.token("alice")
        reader = msgspec.structs.replace(stack, http=http)
        async with reader.open(message, token, **headers) as (response, _):
            before, stuck = -1, 0
            while stuck < 50:
                assert (await stack.post(wire.legacy("ping"), token)).status_code == 200  # it has a turn at least
                sent = streams.server.state["sent"]
                before, stuck = sent, stuck + 1 if 0 <= sent == before else 0
            assert before < 60
            received = 0
            async for chunk in response.aiter_bytes():
                received += len(chunk)
        assert streams.server.state["sent"] == 89
        assert received > 90 * size
