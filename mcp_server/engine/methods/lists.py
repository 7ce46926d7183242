"""The lists of tools, resources, templates and prompts: encoded once, paged, filtered where settings say so."""

import secrets
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from mcp_server.engine.call import Call
from mcp_server.identity import missing
from mcp_server.protocol import cursor, downgrade, errors
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.sealed import NONCE_BYTES, SealingKeys
from mcp_server.protocol.types.results import (
    Cacheable,
    ListParams,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
)
from mcp_server.registry.server import McpServer, Protected

LIST_TTL_MS: Final = 60_000
_decode = msgspec.json.Decoder(ListParams).decode


class _Entry(msgspec.Struct, frozen=True):
    key: str
    needed: frozenset[str]
    shown: Raw


class Lists:
    """Every list in every revision, made when first asked for and again after a change."""

    def __init__(
        self,
        server: McpServer,
        scopes_of: Callable[[Protected], frozenset[str]],
        keyring: SealingKeys,
        *,
        granted: bool,
        page_size: int,
    ) -> None:
        self._server, self._scopes_of, self._keyring = server, scopes_of, keyring
        self._granted, self._page_size = granted, page_size
        self._made: dict[tuple[str, str], tuple[int, list[_Entry]]] = {}
        self._changes = 0

    def changed(self) -> None:
        """What was made is out of date; called from any thread.

        Counted, not cleared: a list that is being made of the registry as it was would be put in after the clearing.
        """
        self._changes += 1

    def page(self, call: Call, server_meta: Raw) -> Cacheable | RpcError:
        """One page; a cursor that we did not give to this caller for this list is refused."""
        method = call.request.method
        try:
            given = _decode(call.request.params).cursor
        except errors.UNREADABLE as error:
            return errors.invalid_params(str(error))
        entries = self._visible(call, method)
        place = (method, call.owner)
        start = 0
        if given is not UNSET:
            after = cursor.read(self._keyring, given, place, now=time.time())
            start = next((n + 1 for n, one in enumerate(entries) if one.key == after), -1)
            if start < 0:
                return errors.invalid_params("unknown cursor")
        page = entries[start : start + self._page_size]
        more: dict[str, Any] = {}
        if start + self._page_size < len(entries):
            nonce = secrets.token_bytes(NONCE_BYTES)
            more["next_cursor"] = cursor.make(self._keyring, page[-1].key, place, nonce=nonce, now=time.time())
        result = _RESULTS[method]([one.shown for one in page], more)
        public = self._server.has_public and not self._granted
        return downgrade.cacheable(result, call.revision, server_meta, ttl_ms=LIST_TTL_MS, public=public)

    def _visible(self, call: Call, method: str) -> list[_Entry]:
        made = self._made.get((method, call.revision))
        if made is None or made[0] != self._changes:
            changes = self._changes  # before the registry is read, which is changed first and counted then
            entries = [
                _Entry(key, self._scopes_of(one), downgrade.entry(one.entry, call.revision))
                for key, one in _REGISTRIES[method](self._server).items()
            ]
            made = self._made[method, call.revision] = changes, entries
        if not self._granted:
            return made[1]
        return [one for one in made[1] if not missing(one.needed, call.principal)]


_REGISTRIES: Final[dict[str, Callable[[McpServer], dict[str, Any]]]] = {
    "tools/list": lambda server: server.tools,
    "prompts/list": lambda server: server.prompts,
    "resources/list": lambda server: {k: one for k, one in server.resources.items() if one.template is None},
    "resources/templates/list": lambda server: {k: one for k, one in server.resources.items() if one.template},
}
_RESULTS: Final[dict[str, Callable[[list[Raw], dict[str, Any]], Cacheable]]] = {
    "tools/list": lambda page, more: ListToolsResult(tools=page, **more),
    "prompts/list": lambda page, more: ListPromptsResult(prompts=page, **more),
    "resources/list": lambda page, more: ListResourcesResult(resources=page, **more),
    "resources/templates/list": lambda page, more: ListResourceTemplatesResult(resource_templates=page, **more),
}
