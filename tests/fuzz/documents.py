"""Documents of APIs, addresses and answers: what others wrote, which a model or an API gets in the end."""

import json
import re
from typing import Any, Final

import jsonschema_rs
import msgspec
from msgspec import Raw

from mcp_server.registry.addresses.uri_template import BadTemplate, UriTemplate
from mcp_server.rest.document import read, source_of
from mcp_server.rest.model import UnusableDocument, WireAnswer
from mcp_server.rest.offer import config_file
from mcp_server.rest.offer.config import ConfigError
from mcp_server.rest.offer.plan import plan
from mcp_server.rest.wire import answers, masks
from mcp_server.rest.wire.answers import Asked, Expected
from tests.fuzz.pieces import parts
from tests.kit.document_checks import check_schemas
from tests.kit.offers import config

CONFIG: Final = config()
HOST: Final = "orders.svc.internal.example"
SECRET: Final = "Bearer 5ecretValueOfTheExchange"
ASKED: Final = Asked(f"https://{HOST}:8443/v2/orders", {"status": "open"})
KINDS: Final = (
    "application/json", "text/plain", "text/html; charset=utf-16", "application/problem+json", "text/csv",
    "application/x-ndjson", "text/event-stream", "image/png", "application/xml", "",
)  # fmt: skip


def document(data: bytes) -> None:
    """A document and its overlay: refused with a place, or tools whose schemas are valid and can be written."""
    main, *overlays = data.split(b"\n\x1e\n")
    try:
        found = read(source_of(main, overlays=overlays[:2]))
    except UnusableDocument:
        return
    check_schemas(found)
    offered = plan(found, CONFIG)
    assert len({one.name for one in offered.offers}) == len(offered.offers)
    for one in offered.offers:
        schema = one.arguments.schema_object()
        jsonschema_rs.meta.validate(schema)
        msgspec.json.encode(schema)


def configuration(data: bytes) -> None:
    """`mcp.toml`: a report, or the configuration of APIs."""
    try:
        found = config_file.read(data)
    except ConfigError:
        return
    assert all(isinstance(name, str) for name in found)


_APART = re.compile(r"\}([A-Za-z0-9._~%-]|\{\.)|\{\.[^}]*,|\{[+#]([^}]*,|[^}]*\}.)")
"""Where an address does not tell variables apart: what follows is the same with an escape (RFC 3986 §6.2.2.2), or is a
reserved character, which `{+path}` and `{#path}` leave as it is (RFC 6570 §3.2.3)."""


def template(data: bytes) -> None:
    """A URI template and an address: what is expanded of what was matched is matched alike."""
    pattern, uri = (one.decode("utf-8", "replace") for one in parts(data, 2))
    try:
        found = UriTemplate(pattern)
    except BadTemplate:
        return
    assert isinstance(found.relative, frozenset)
    values = found.match(uri)
    if values is None:
        return
    assert values.keys() <= set(found.names)
    assert isinstance(found.expand(values), str)
    if _APART.search(pattern) is None:
        assert found.match(found.expand(values)) in (values, {name: one for name, one in values.items() if one})


def answer(data: bytes) -> None:
    """An API's answer: text that can be sent, which has neither the API's host nor what it was sent."""
    head, body = parts(data, 2)
    status = (200, 201, 204, 301, 400, 403, 404, 429, 500, 503)[head[0] % 10] if head else 200
    stated = KINDS[head[1] % len(KINDS)] if len(head) > 1 else "application/json"
    flags = head[2] if len(head) > 2 else 0
    headers = {
        "content-type": stated or "",
        "retry-after": head[3:20].decode("latin-1"),
        "link": head[3:].decode("latin-1"),
    }
    given = masks.without_credential(
        WireAnswer(status=status, headers=headers, body=body, cut=bool(flags & 1)), masks.of_header(SECRET)
    )
    expected = Expected(json=bool(flags & 2), structured=bool(flags & 4), max_bytes=2_000)
    found = answers.result(given, expected, ASKED)
    whole: Any = json.loads(msgspec.json.encode(found))
    assert isinstance(whole["content"], list)
    if flags & 4 and isinstance(found.structured_content, Raw) and found.is_error is not True:
        assert isinstance(json.loads(bytes(found.structured_content)), dict)
    if status >= 300:
        said = json.dumps(whole, ensure_ascii=False)
        assert HOST not in said.lower()
        assert SECRET.partition(" ")[2] not in said
        assert len(said) < 8_000
