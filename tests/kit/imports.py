"""An imported API in this process: a document on disk, a scripted API on loopback, and whoever gives out tokens."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from mcp_server import McpServer
from mcp_server.identity import Credential
from mcp_server.rest.client import Limits, UpstreamClient
from mcp_server.rest.exchange import Identity, NoAccess
from mcp_server.rest.importing.live_apis import LiveApis, MakeClient
from mcp_server.rest.importing.watch import Watching
from mcp_server.rest.offer import config_file
from mcp_server.rest.upstream_api import UpstreamContext

AT_ONCE = Watching(settle_s=0)
"""Nobody writes a document while a test reads it."""


class Desk:
    """Gives tokens out, each time another one, and remembers for whom and for what; `refuses` says no instead."""

    def __init__(self) -> None:
        self.asked: list[tuple[Identity, Credential | None, str]] = []
        self.refuses = False
        self.secret = "s3cret"

    def monotonic(self) -> float:
        """The clock by which calls end."""
        return time.monotonic()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def headers(
        self,
        identity: Identity,
        credential: Credential | None,
        rejected: str = "",
        *,
        within_s: float | None = None,
    ) -> tuple[tuple[str, str], ...]:
        self.asked.append((identity, credential, rejected))
        if self.refuses or (identity.mode == "exchange" and credential is None):
            raise NoAccess("refused" if self.refuses else "no_caller")
        if identity.mode == "none":
            return ()
        if identity.mode == "secret":
            return ((identity.header, self.secret),)
        return (("authorization", f"Bearer token-{len(self.asked)}"),)


def document(paths: Mapping[str, Any], **more: Any) -> bytes:
    """A document with these paths, whose one scheme is called `realm`."""
    scheme = {"type": "oauth2", "flows": {"authorizationCode": {"authorizationUrl": "https://i.test", "tokenUrl": "https://i.test", "scopes": {}}}}  # fmt: skip
    usual = {
        "openapi": "3.1.0",
        "info": {"title": "T", "version": "1"},
        "paths": paths,
        "components": {"securitySchemes": {"realm": scheme}},
    }
    return msgspec.json.encode(usual | more)


def get(name: str, scope: str = "", *parameters: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A path with a GET that answers an object."""
    answer = {"200": {"description": "ok", "content": {"application/json": {"schema": {"type": "object"}}}}}
    operation = {"operationId": name, "summary": f"Does {name}", "parameters": list(parameters), "responses": answer}
    return {"get": operation | ({"security": [{"realm": [scope]}]} if scope else {}) | more}


def in_path(name: str) -> dict[str, Any]:
    """A parameter in the path."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


@asynccontextmanager
async def imported(
    server: McpServer, file: Path, base_url: str, desk: Desk | None = None, granted: bool = False, **table: Any
) -> AsyncIterator[LiveApis]:
    """The API of a document in a server, opened; `table` is what `mcp.toml` says of it."""
    imports = closed(server, file, base_url, desk, granted, **table)
    try:
        await imports.start()
        yield imports
    finally:
        await imports.stop()


def closed(
    server: McpServer, file: Path, base_url: str, desk: Desk | None = None, granted: bool = False,
    watching: Watching = AT_ONCE, client: MakeClient | None = None, apis: Any = None, **table: Any
) -> LiveApis:  # fmt: skip
    """The same, still closed; `apis` are tables of several in place of the one."""
    table = {"document": str(file), "identity": {"audience": "api"}, **table}
    if base_url:
        table["base_url"] = base_url
    access = desk or Desk()
    return LiveApis(
        server,
        list(config_file.of_tables({"apis": apis or {"shop": table}}).values()),
        UpstreamContext(
            default_scopes=frozenset({"mcp:read"}),
            access=access,
            declared=frozenset(server.scopes),
            deadline_s=5,
            monotonic=access.monotonic,
        ),
        client or (lambda bases: UpstreamClient(bases, Limits(attempts=1))),
        access=access,
        granted=granted,
        watching=watching,
    )
