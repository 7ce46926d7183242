"""Lists of a registry that other threads change meanwhile."""

import threading
from typing import Any

import pytest
from msgspec import Raw

from mcp_server import McpServer
from mcp_server.engine.call import Call
from mcp_server.engine.methods.lists import Lists
from mcp_server.protocol import meta
from mcp_server.protocol.jsonrpc import Request
from mcp_server.protocol.sealed import SealingKeys
from tests.kit.principals import principal

SCOPES = frozenset({"mcp:read"})


async def nothing() -> str:
    """Do nothing."""
    return ""


class Meddler:
    """Judges scopes, and lets something happen while it is asked about a tool the first time."""

    def __init__(self, meddle: Any) -> None:
        self._meddle = meddle

    def __call__(self, _: Any) -> frozenset[str]:
        meddle, self._meddle = self._meddle, lambda: None
        meddle()
        return SCOPES


def listing(server: McpServer, scopes_of: Any) -> Lists:
    lists = Lists(server, scopes_of, SealingKeys([b"k" * 32], "cursor"), granted=False, page_size=100)
    server.watchers.append(lambda kind, uri: lists.changed())
    return lists


def listed(lists: Lists, method: str = "tools/list") -> list[str]:
    params = Raw(b"{}")
    call = Call(
        request=Request(1, method, params),
        peek=meta.peek(params),
        revision="2025-11-25",
        principal=principal(),
        request_id="r",
    )
    page: Any = lists.page(call, params)
    return [bytes(one).decode() for one in getattr(page, method.split("/", maxsplit=1)[0])]


def in_a_thread(work: Any) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize("change", ["add", "remove"])
def test_a_list_that_is_being_made_while_its_registry_changes_is_made_again(change: str) -> None:
    server = McpServer("s")
    for name in ("a", "b", "c"):
        server.tool(name)(nothing)

    def meddle() -> None:
        in_a_thread(lambda: server.remove_tool("c") if change == "remove" else server.tool("d")(nothing))

    lists = listing(server, Meddler(meddle))
    assert len(listed(lists)) == 3  # as it was when the list was asked for
    assert len(listed(lists)) == (2 if change == "remove" else 4)


def test_what_many_threads_register_at_once_is_there() -> None:
    server = McpServer("s")
    lists = listing(server, lambda _: SCOPES)
    start = threading.Barrier(4)

    def register(thread: int) -> None:
        start.wait()
        for number in range(25):
            server.tool(f"tool-{thread}-{number}")(nothing)
            server.resource(f"a://{thread}/{number}", name="one")(nothing)

    threads = [threading.Thread(target=register, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        listed(lists)
        listed(lists, "resources/list")
        assert server.declared_scopes() == SCOPES
    assert (len(listed(lists)), len(listed(lists, "resources/list"))) == (100, 100)
    assert len(server.addresses) == 100
    with pytest.raises(KeyError):
        server.remove_tool("unknown")
