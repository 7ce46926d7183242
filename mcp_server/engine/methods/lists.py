"""The lists of tools, resources, templates and prompts: encoded once, paged, filtered where settings say so."""

import secrets
import time
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Raw

from mcp_server.engine.call import Call
from mcp_server.engine.needs import within_reach
from mcp_server.protocol import cursor, downgrade, errors, methods
from mcp_server.protocol.downgrade import Listed
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.sealed import NONCE_BYTES, SealingKeys
from mcp_server.protocol.types.results import Cacheable, ListParams, Page
from mcp_server.registry.requirement import ParameterRules, Requirement
from mcp_server.registry.server import McpServer, Protected
from mcp_server.registry.tool import Tool

LIST_TTL_MS: Final = 60_000
_decode = msgspec.json.Decoder(ListParams).decode


class _Entry(msgspec.Struct, frozen=True):
    key: str
    needed: frozenset[str] | Requirement
    shown: Raw


class Lists:
    """Every list in every revision, made when first asked for and again after a change."""

    def __init__(
        self,
        server: McpServer,
        scopes_of: Callable[[Protected], frozenset[str] | Requirement],
        keyring: SealingKeys,
        *,
        granted: bool,
        page_size: int,
        rules: Callable[[], ParameterRules] = ParameterRules,
        security_schemes: bool = False,
    ) -> None:
        self._server, self._scopes_of, self._keyring = server, scopes_of, keyring
        self._granted, self._page_size, self._rules = granted, page_size, rules
        self._schemes = security_schemes
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
        members: dict[str, Any] = {_SOURCES[method].member: [one.shown for one in page]}
        if start + self._page_size < len(entries):
            nonce = secrets.token_bytes(NONCE_BYTES)
            members["next_cursor"] = cursor.make(self._keyring, page[-1].key, place, nonce=nonce, now=time.time())
        result = _RESULTS[method](**members)
        public = self._server.has_public and not self._granted
        return downgrade.cacheable(result, call.revision, server_meta, ttl_ms=LIST_TTL_MS, public=public)

    def _visible(self, call: Call, method: str) -> list[_Entry]:
        made = self._made.get((method, call.revision))
        if made is None or made[0] != self._changes:
            changes = self._changes  # before the registry is read, which is changed first and counted then
            entries = [
                _Entry(key, self._scopes_of(one), downgrade.entry(self._entry(one), call.revision))
                for key, one in _SOURCES[method].entries(self._server).items()
            ]
            made = self._made[method, call.revision] = changes, entries
        if not self._granted:
            return made[1]
        rules = self._rules()
        return [one for one in made[1] if within_reach(one.needed, call.principal, rules)]

    def _entry(self, one: Protected) -> Listed:
        """What is listed of it; a tool says in `securitySchemes` how it is authorized, and in `_meta` for old readers.

        OpenAI's documents have both places (decision 15). Nobody is let in by it: the check is the call's.
        """
        if not self._schemes or not isinstance(one, Tool):
            return one.entry
        schemes = _schemes(one, self._scopes_of(one), parameterized=self._rules().on)
        meta = {**(one.entry.meta or {}), "securitySchemes": schemes}
        return msgspec.structs.replace(one.entry, security_schemes=schemes, meta=meta)


def _schemes(tool: Tool, needed: frozenset[str] | Requirement, *, parameterized: bool) -> list[dict[str, Any]]:
    """No login, or OAuth with the scopes that a token needs: of alternatives each, of variables what stands before.

    Where values count, an issuer knows that by no name without one: a login for it would fail, and for all else too.
    """
    if tool.public:
        return [{"type": "noauth"}]
    if not isinstance(needed, Requirement):
        return [{"type": "oauth2", "scopes": sorted(needed)}]
    sets = [one.scopes if parameterized else one.named(parameterized=False) for one in needed.alternatives]
    return [{"type": "oauth2", "scopes": sorted(one)} for one in sets or [frozenset[str]()]]  # a function needs a call


class _Source(msgspec.Struct, frozen=True):
    """Where a list comes from in the registry, and the member of its result that holds the page."""

    entries: Callable[[McpServer], dict[str, Any]]
    member: str


_SOURCES: Final = {
    "tools/list": _Source(lambda server: {key: one for key, one in server.tools.items() if one.listed}, "tools"),
    "prompts/list": _Source(lambda server: server.prompts, "prompts"),
    "resources/list": _Source(
        lambda server: {key: one for key, one in server.resources.items() if one.template is None}, "resources"
    ),
    "resources/templates/list": _Source(
        lambda server: {key: one for key, one in server.resources.items() if one.template}, "resource_templates"
    ),
}
_RESULTS: Final = {name: cast("type[Page]", methods.BY_NAME[name].result) for name in _SOURCES}
