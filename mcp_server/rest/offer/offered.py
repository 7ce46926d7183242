"""What is offered of an API, as values: the operations as tools would show them, and what was left out and why."""

from collections.abc import Mapping
from typing import Final

import msgspec

from mcp_server.protocol.types.tools import ToolAnnotations
from mcp_server.rest.model import Document, Operation
from mcp_server.rest.offer.arguments import Arguments
from mcp_server.rest.offer.config import ApiConfig, Form, Identity, Page
from mcp_server.rest.offer.report import Report
from mcp_server.rest.offer.security import Needs

GROUP: Final = "group"
"""The member of a tool's `_meta` that names its group: for clients that sort by it, and for `search_tools`."""


class CallSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How an operation is called and shown where the configuration has a say: as whom, in which pages, as what.

    `pinned` is whether a list shows it beside the search tools.
    """

    identity: Identity
    page: Page | None = None
    form: Form = "tool"
    group: str = ""
    pinned: bool = False
    limits: tuple[str, ...] = ()


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One operation as it is offered: `output_schema` is JSON, and None where nothing is promised of the result."""

    operation: Operation
    name: str
    title: str
    description: str
    arguments: Arguments
    output_schema: bytes | None
    needs: Needs
    annotations: ToolAnnotations
    manner: CallSettings


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """One API as it is offered; `search` is whether a list shows the search tools in place of these offers.

    `report.refused` has the document's faults and those of operations that cannot be offered. `scope_texts` is what the
    document says of scopes, by their names in the realm: one line each, for the page of consent.
    """

    document: Document
    config: ApiConfig
    offers: tuple[Offer, ...]
    search: bool
    report: Report
    scope_texts: Mapping[str, str] = msgspec.field(default_factory=dict)
