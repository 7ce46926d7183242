"""How APIs are reached: what all calls of one have in common, and what all APIs of a server share."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

import msgspec

from mcp_server.identity import Credential
from mcp_server.rest import exchange
from mcp_server.rest.model import Header, SecurityScheme, WireAnswer, WireRequest
from mcp_server.rest.needs.operation_index import OperationIndex
from mcp_server.rest.offer.config import Identity, ScopeMap
from mcp_server.rest.wire.address import Base


class Sender(Protocol):
    """What carries requests: `rest/client`."""

    async def send(
        self, request: WireRequest, *, deadline_s: float, max_bytes: int, headers: Iterable[Header] = ()
    ) -> WireAnswer:
        """One answer, asked with these headers, too; raises `UpstreamFault`."""

    async def retire(self) -> None:
        """Keep nothing open but for calls that are under way, or come from whoever still holds this one."""


class Access(Protocol):
    """Who knows as whom an API is called: `rest/exchange.py`."""

    async def headers(
        self,
        identity: exchange.Identity,
        credential: Credential | None,
        rejected: str = "",
        *,
        within_s: float | None = None,
    ) -> tuple[Header, ...]:
        """The credential of a call, had in time; `rejected` is a token that the API did not accept.

        Raises `NoAccess`.
        """


class UpstreamContext(msgspec.Struct, frozen=True, kw_only=True):
    """What all APIs of a server share. `issuer` is where this server gets tokens of its own.

    `declared` are the scopes that the server declares: with any, a tool needs no other ones. `deadline_s` is for a call
    with all that it takes: the token, the request, and both once more. So many long answers as `reading` lets are read
    at once.
    """

    default_scopes: frozenset[str]
    access: Access
    issuer: str = ""
    declared: Collection[str] = ()
    deadline_s: float = 30
    monotonic: Callable[[], float] = time.monotonic
    reading: asyncio.Semaphore = msgspec.field(default_factory=lambda: asyncio.Semaphore(2))


class UpstreamApi(msgspec.Struct, frozen=True, kw_only=True):
    """How one API is reached: what all its calls have in common."""

    name: str
    base: Base
    sender: Sender
    context: UpstreamContext
    identity: Identity
    scopes: ScopeMap = msgspec.field(default_factory=ScopeMap)
    schemes: Mapping[str, SecurityScheme] = msgspec.field(default_factory=dict)
    operations: OperationIndex = msgspec.field(default_factory=OperationIndex)
