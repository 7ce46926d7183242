"""A classified request → its answer: method, scopes, handler, shape. Handlers' failures end here.

`admit` decides everything that has an HTTP status of its own, before anything runs; `run` does the work.
"""

from typing import Literal

import msgspec
from msgspec import Raw

from mcp_server.engine.context import Context
from mcp_server.engine.features import lifecycle, tools
from mcp_server.engine.server import FALLBACK_SCOPES, McpServer
from mcp_server.engine.tool import Tool
from mcp_server.identity import Principal, missing
from mcp_server.observe.log import logger
from mcp_server.protocol import faults, meta, methods, revisions, shape
from mcp_server.protocol.faults import Rejection
from mcp_server.protocol.jsonrpc import Request
from mcp_server.protocol.meta import Peek
from mcp_server.protocol.types.tools import CallToolResult

ListMode = Literal["all", "granted"]


class EngineConfig(msgspec.Struct, frozen=True):
    """What settings say about offering: scopes of tools that name none, and whom `tools/list` shows what."""

    default_scopes: frozenset[str] = FALLBACK_SCOPES
    listing: ListMode = "all"


class Call(msgspec.Struct, frozen=True):
    """A request on its way: who calls, in which revision, under which ids."""

    request: Request
    peek: Peek
    revision: str
    principal: Principal | None
    request_id: str
    trace_id: str


class NeedsScopes(msgspec.Struct, frozen=True):
    """The caller lacks scopes; `needed` is all that the operation asks for. Nobody known → log in first."""

    needed: frozenset[str]


class Admitted(msgspec.Struct, frozen=True):
    """A call that may run; `tool` is set for `tools/call`."""

    call: Call
    tool: Tool | None = None
    needed: frozenset[str] = frozenset()


class Dispatcher:
    """One server, compiled: the registry must not change afterwards."""

    def __init__(self, server: McpServer, config: EngineConfig) -> None:
        self._server = server
        self.needed = {name: server.scopes_of(tool, config.default_scopes) for name, tool in server.tools.items()}
        self._capabilities = frozenset(lifecycle.capabilities(server))
        self.server_meta = Raw(msgspec.json.encode({meta.SERVER_INFO: server.info}))
        self._list = tools.ToolList(
            server,
            self.needed,
            granted=config.listing == "granted",
            server_meta=self.server_meta,
        )
        self._discovered = Raw(msgspec.json.encode(lifecycle.discover(server)))

    def admit(self, call: Call) -> Admitted | NeedsScopes | Rejection:
        """Method known, tool known, scopes held: in this order, and nothing has run yet."""
        method = call.request.method
        if not methods.exists(method, call.revision, self._capabilities):
            return faults.method_not_found(modern=call.revision in revisions.MODERN_SET)
        if method != "tools/call":
            return Admitted(call)
        name = meta.text(call.peek.name)
        tool = None if name is None else self._server.tools.get(name)
        if tool is None:
            return faults.invalid_params("unknown tool" if name else "name must be a text")
        needed = self.needed[tool.name]
        if missing(needed, call.principal):
            return NeedsScopes(needed)
        return Admitted(call, tool, needed)

    def negotiated(self, request: Request) -> str:
        """The revision that an `initialize` which succeeded has agreed on."""
        return lifecycle.agreed_revision(request.params)

    def tool_name(self, call: Call) -> str:
        """The registered tool that a call names, or the empty text: never a caller's own words."""
        name = meta.text(call.peek.name) if call.request.method == "tools/call" else None
        return name if name in self.needed else ""

    async def run(self, admitted: Admitted) -> object | Rejection:
        """The result in the revision's shape, or the rejection that stands in its place."""
        call = admitted.call
        if admitted.tool is not None:
            return await self._call_tool(admitted.tool, call)
        return self._answer(call)

    def _answer(self, call: Call) -> object | Rejection:
        match call.request.method:
            case "tools/list":
                return self._list.page(call.request.params, call.revision, call.principal)
            case "server/discover":
                return self._discovered
            case "initialize":
                return lifecycle.initialize(self._server, call.request.params)
            case _:
                return {}  # ping: exactly an empty object

    async def _call_tool(self, tool: Tool, call: Call) -> CallToolResult | Rejection:
        try:
            result = await tools.call(tool, call.peek.arguments, call.revision, lambda: self._context(call))
        except Exception:  # noqa: BLE001 - the model learns that it failed, the log why
            logger.exception("tool failed", tool=tool.name)
            result = tools.failed(f"{tool.name} failed; the server's log has request {call.request_id}")
        if isinstance(result, Rejection):
            return result
        return shape.call_result(result, call.revision, self.server_meta)

    def _context(self, call: Call) -> Context:
        return Context(
            principal=call.principal,
            request_id=call.request_id,
            trace_id=call.trace_id,
            revision=call.revision,
            state=self._server.state,
        )
