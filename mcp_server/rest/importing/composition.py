"""What the APIs of a server are made of: clients, the exchange and what all of them share, from plain values."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from mcp_server.auth.authenticator import Authenticator
from mcp_server.registry.server import McpServer
from mcp_server.rest.client import UpstreamClient
from mcp_server.rest.exchange import TOTAL_S, Exchange, ExchangeConfig
from mcp_server.rest.importing.documents import Documents
from mcp_server.rest.importing.live_apis import LiveApis
from mcp_server.rest.importing.shared import SharedDocuments
from mcp_server.rest.importing.watch import Watching
from mcp_server.rest.offer.config import ApiConfig
from mcp_server.rest.upstream_api import UpstreamContext
from mcp_server.rest.wire.grants import ClientAuth
from mcp_server.route import Route

OF_A_CALL: Final = 0.95
"""A call of an API ends a little before the call that it is made in: so the model is told what became of it."""


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What settings say of all APIs: who this server is to its issuer, what tools need, how long a call may take."""

    client: ClientAuth
    issuer: str
    default_scopes: frozenset[str]
    secrets: Mapping[str, str]
    call_timeout_s: float
    granted: bool
    watching: Watching
    route: Route


def watching(reload_s: float, folder: Path | None) -> Watching:
    """How documents are looked at; workers that share what they serve have a folder."""
    documents = Documents() if folder is None else SharedDocuments(folder)
    return Watching(reload_s=reload_s, documents=documents)


def live_apis(
    server: McpServer, apis: Sequence[ApiConfig], wanted: ApiSettings, authenticator: Authenticator | None
) -> LiveApis:
    """The APIs behind a server, still closed. Without an authenticator no token can be had."""

    async def endpoint(issuer: str) -> str | None:
        known = None if authenticator is None else authenticator.issuers.get(issuer)
        return None if known is None else await known.token_endpoint()

    ended = None if authenticator is None else authenticator.end
    deadline_s = wanted.call_timeout_s * OF_A_CALL
    means = ExchangeConfig(total_s=min(TOTAL_S, deadline_s), route=wanted.route)
    client = functools.partial(UpstreamClient, route=wanted.route)
    own = None if authenticator is None else authenticator.own_secret
    exchange = Exchange(wanted.client, endpoint, wanted.secrets, means, on_ended=ended, own=own)
    if authenticator is not None:
        authenticator.revocations.followers["exchanged"] = exchange.revoked
    context = UpstreamContext(
        default_scopes=wanted.default_scopes,
        access=exchange,
        issuer=wanted.issuer,
        declared=frozenset(server.scopes),
        deadline_s=deadline_s,
    )
    return LiveApis(server, apis, context, client, access=exchange, granted=wanted.granted, watching=wanted.watching)
