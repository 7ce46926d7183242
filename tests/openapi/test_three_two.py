"""What is new in OpenAPI 3.2, in ten documents of our own: the public directories have none."""

from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.document import read, source_of
from mcp_server.rest.model import Document, WireRequest
from mcp_server.rest.offer.offered import Offer
from mcp_server.rest.offer.plan import plan
from mcp_server.rest.wire.address import base_of, document_base, request
from tests.corpus.job import CONFIG, broken
from tests.kit.wire_reader import WireReader
from tests.kit.wire_styles import Asked, Sent

FOLDER = Path(__file__).parent / "three_two"
SERVED = "https://served.example.test/docs/openapi.yaml"
BASE = base_of("https://api.example.test/v1")


def imported(name: str) -> tuple[Document, dict[str, Offer]]:
    """The document by the beginning of its name, and its tools."""
    (path,) = FOLDER.glob(f"{name}*")
    document = read(source_of(path.read_bytes(), SERVED))
    offered = plan(document, CONFIG)
    assert list(broken(offered)) == []
    assert offered.report.refused == ()
    return document, {one.name: one for one in offered.offers}


def sent(name: str, tool: str, arguments: dict[str, Any]) -> WireRequest:
    """The request of a call, which another reader of the document understood as it was meant."""
    document, offers = imported(name)
    offer = offers[tool]
    values = offer.arguments.values(arguments)
    made = request(offer.operation, values, BASE, document.definitions)
    asked = Asked(method=made.method, url=made.url, headers=made.headers, body=made.body)
    (path,) = FOLDER.glob(f"{name}*")
    reader = WireReader(yaml.safe_load(path.read_bytes()))
    wanted = Sent(parameters=values.parameters, body=values.body)
    assert reader.problems(offer.operation.pointer, asked, wanted, f"{BASE.origin}{BASE.path}") == []
    return made


@pytest.mark.parametrize(
    ("document", "tool", "arguments", "method", "path", "more"),
    [
        ("01", "search_orders", {"where": "a=1", "limit": 5}, "QUERY", "/orders", b'{"where":"a=1","limit":5}'),
        ("02", "copy_file", {"name": "a/b", "Destination": "/c"}, "COPY", "/files/a%2Fb", ("destination", "/c")),
        ("02", "purge_file", {"name": "a b"}, "PURGE", "/files/a%20b", b""),
        ("03", "find", {"filter": {"q": "é&=", "tag": ["a", "b"]}}, "GET", "/find?q=%C3%A9%26%3D&tag=a&tag=b", b""),
        ("03", "find_by_json", {"filter": {"a": 1}}, "GET", "/json?%7B%22a%22%3A1%7D", b""),
        ("04", "get_thing", {"id": 7}, "GET", "/things/7", b""),
        ("05", "follow_events", {}, "GET", "/events", ("accept", "text/event-stream, */*;q=0.1")),
        ("06", "me", {"theme": "dark", "sizes": {"w": 1, "h": 2}}, "GET", "/me", ("cookie", "theme=dark; w=1; h=2")),
        ("07", "add_note", {"text": "Hi"}, "POST", "/notes", b'{"text":"Hi"}'),
        ("08", "add_thing", {"name": "x"}, "POST", "/things", b'{"name":"x"}'),
        ("09", "get_urn", {"urn": "a:b/c?#d", "near": "x/y?z&"}, "GET", "/urns/a:b%2Fc%3F%23d?near=x/y?z%26", b""),
        ("10", "add_pet", {"body": {"kind": "dog", "name": "Rex"}}, "POST", "/pets", b'{"kind":"dog","name":"Rex"}'),
    ],
)  # fmt: skip
def test_calls_go_out_as_the_document_says(
    document: str, tool: str, arguments: dict[str, Any], method: str, path: str, more: bytes | tuple[str, str]
) -> None:
    made = sent(document, tool, arguments)
    assert (made.method, made.url) == (method, f"https://api.example.test/v1{path}")
    if isinstance(more, bytes):
        assert made.body == more
    else:
        assert more in made.headers


def test_a_query_reads_and_a_method_that_nobody_knows_may_destroy() -> None:
    hints = {
        name: (one.annotations.read_only_hint, one.annotations.destructive_hint)
        for document in ("01", "02")
        for name, one in imported(document)[1].items()
    }
    assert hints == {"search_orders": (True, None), "copy_file": (None, True), "purge_file": (None, True)}


def test_relative_servers_lie_where_the_document_was_fetched_whatever_it_says_of_itself() -> None:
    document, _ = imported("04")
    base = document_base(document.servers, fetched_from=SERVED)
    assert (base.origin, base.path) == ("https://served.example.test", "/v2")  # type: ignore[union-attr]


def test_answers_of_items_are_streams_and_promise_nothing() -> None:
    _, offers = imported("05")
    assert all(one.operation.answers[0].stream for one in offers.values())
    assert all(one.output_schema is None for one in offers.values())


def test_schemes_are_named_by_address_too() -> None:
    _, offers = imported("08")
    assert [sorted(one) for one in offers["list_things"].needs.alternatives] == [["things:read"]]
    assert [sorted(one) for one in offers["add_thing"].needs.alternatives] == [["things:write"], ["things:admin"]]


@pytest.mark.parametrize(
    ("document", "tool", "arguments"),
    [
        ("06", "me", {"theme": "a; admin=1"}),
        ("09", "get_urn", {"urn": ".."}),
        ("10", "add_pet", {"body": {"kind": "cat", "name": "Rex"}}),
        ("01", "search_orders", {"limit": 5}),
    ],
)
def test_what_would_be_something_else_on_the_wire_is_refused(
    document: str, tool: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(BadArguments):
        sent(document, tool, arguments)


def test_there_are_ten() -> None:
    assert [path.name[:2] for path in sorted(FOLDER.iterdir())] == [f"{number:02}" for number in range(1, 11)]
