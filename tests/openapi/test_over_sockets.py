"""The same reading once a request came through the client, a socket and a server: nothing in between changes it."""

from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from devstack.demo.api.app import DOCUMENT
from mcp_server.rest.client import UpstreamClient
from mcp_server.rest.document import read, source_of
from mcp_server.rest.offer.plan import plan
from mcp_server.rest.wire.address import base_of, request
from tests.corpus.job import CONFIG
from tests.kit.listening_api import ListeningApi
from tests.kit.stack import free_port, serving
from tests.kit.values import PLAIN, SPICY, Values
from tests.kit.wire_reader import WireReader
from tests.kit.wire_styles import Asked, Sent

FOLDER = Path(__file__).parent / "three_two"
DOCUMENTS = [DOCUMENT, *(FOLDER / name for name in ("02_additional_operations.yaml", "03_querystring.yaml", "09_reserved_path.yaml"))]  # fmt: skip


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("text", [SPICY, PLAIN], ids=["spicy", "plain"])
async def test_what_arrives_is_what_was_meant(path: Path, text: str) -> None:
    data = path.read_bytes()  # noqa: ASYNC240 - before anything waits
    port = free_port()
    base = base_of(f"http://127.0.0.1:{port}/base", private=True)
    api = ListeningApi(base.origin)
    document = read(source_of(data))
    reader = WireReader(yaml.safe_load(data))
    offers = plan(document, CONFIG).offers
    async with serving(api, port), UpstreamClient([base]) as client:
        for offer in offers:
            arguments: dict[str, Any] = Values(offer.arguments.schema_object(), text).value()
            values = offer.arguments.values(arguments)
            sent = request(offer.operation, values, base, document.definitions)
            answer = await client.send(sent, deadline_s=10, max_bytes=1000)
            assert answer.status == 204
            wanted = Sent(parameters=values.parameters, body=values.body)
            at = base.origin + base.path
            assert reader.problems(offer.operation.pointer, api.heard[-1], wanted, at) == []
    assert len(api.heard) == len(offers) > 0


def test_the_reader_finds_what_is_wrong() -> None:
    """The reader is no mirror: a request that differs in one place is found, whichever it is."""
    document = read(source_of(DOCUMENT.read_bytes()))
    reader = WireReader(yaml.safe_load(DOCUMENT.read_bytes()))
    offer = next(one for one in plan(document, CONFIG).offers if one.name == "list_products")
    values = offer.arguments.values({"q": "a b", "category": ["tea", "cup"], "max_price": 5, "in_stock": True})
    wanted = Sent(parameters=values.parameters, body=values.body)
    good = "https://api.test/products?q=a%20b&category=tea&category=cup&max_price=5&in_stock=true"
    for changed, found in (
        (good, 0),
        (good.replace("category=tea&category=cup", "category=tea,cup"), 1),
        (good.replace("a%20b", "a"), 1),
        (good.replace("in_stock=true", "in_stock=True"), 1),
        (good.replace("max_price=5", "max_price=5.5"), 1),
        (good + "&more=1", 1),
        (good.replace("/products", "/products/x"), 1),
        (good.replace("api.test", "evil.test"), 1),
    ):
        asked = Asked(method="GET", url=changed, headers=(), body=b"")
        assert len(reader.problems(offer.operation.pointer, asked, wanted, "https://api.test")) == found, changed
    other = Asked(method="POST", url=good, headers=(), body=b"")
    assert reader.problems(offer.operation.pointer, other, wanted, "https://api.test") == ["method POST"]
