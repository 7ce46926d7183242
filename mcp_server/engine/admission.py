"""Admission: everything that is decided of a call before anything runs, and that has an HTTP status of its own."""

from collections.abc import Callable

import msgspec
from msgspec import UNSET

from mcp_server.engine.call import Admission, Admitted, Call, NeedsScopes, ResourceMatch, Target
from mcp_server.engine.methods import lifecycle, listening, prompts, resources
from mcp_server.engine.methods import tasks as task_methods
from mcp_server.identity import Principal, missing
from mcp_server.protocol import errors, meta, methods, param_headers, revisions
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.notifications import LogLevel
from mcp_server.registry.server import McpServer, Protected
from mcp_server.registry.tool import Tool
from mcp_server.sessions.tasks.record import TaskRecord

_decode_any = msgspec.json.Decoder().decode
_decode_level = msgspec.json.Decoder(LogLevel).decode


class AdmissionPolicy:
    """One server's registry and its default scopes, asked what a call needs; `whole` as in `EngineConfig`."""

    def __init__(self, server: McpServer, default_scopes: frozenset[str], *, whole: bool) -> None:
        self._server, self._default, self._whole = server, default_scopes, whole
        self._finders: dict[str, Callable[[Call], Target | RpcError]] = {
            "prompts/get": self._find_prompt,
            "resources/read": lambda call: resources.named(server, call),
            "resources/subscribe": lambda call: resources.subscribed(server, call),
        }
        self.advertise()

    def advertise(self) -> None:
        """Take note of what the registry holds now: a method is there when something is registered for it."""
        self.modern = lifecycle.capabilities(self._server, modern=True, whole=self._whole)
        self.legacy = lifecycle.capabilities(self._server, modern=False, whole=self._whole)
        self._modern_methods = methods.available(revisions.LATEST, lifecycle.gates(self.modern))
        self._legacy_methods = methods.available(revisions.NEWEST_LEGACY, lifecycle.gates(self.legacy))

    def admit(self, call: Call) -> Admission:
        """Method known, target known, scopes held, client able: in this order, and nothing has run yet."""
        method, modern = call.request.method, call.modern
        if method not in (self._modern_methods if modern else self._legacy_methods):
            return errors.method_not_found(modern=modern)
        if method == "tools/call":
            return self._admit_tool(call, modern=modern)
        admitted = self._admit_other(call, method)
        level = level_named(call) if modern and isinstance(admitted, Admitted) else None
        return level if isinstance(level, RpcError) else admitted

    def scopes_of(self, one: Protected) -> frozenset[str]:
        """What a tool, resource or prompt needs."""
        return self._server.scopes_of(one, self._default)

    def readable(self, uris: list[str], principal: Principal | None) -> list[str]:
        """Those of these resources that exist and that the caller may read."""
        found = [(uri, resources.find_resource(self._server, uri)) for uri in uris]
        return [uri for uri, one in found if one is not None and not missing(self.scopes_of(one), principal)]

    def tool_name(self, call: Call) -> str:
        """The registered tool that a call names, or the empty string: never a caller's own words."""
        name = meta.text(call.peek.name) if call.request.method == "tools/call" else None
        tool = None if name is None else self._server.tools.get(name)
        return "" if tool is None else _meant(tool, call)[0].name

    def may_call(self, call: Call) -> Callable[[TaskRecord], bool]:
        """Whether the caller holds what a task's tool needed when it began and needs now; one that is gone refuses."""
        principal = call.principal  # a stream asks for as long as it is open, and its call may be long

        def may_call(record: TaskRecord) -> bool:
            tool = self._server.tools.get(record.tool)
            return tool is not None and not missing(self.scopes_of(tool) | record.needed, principal)

        return may_call

    def _admit_tool(self, call: Call, *, modern: bool) -> Admission:
        name = meta.text(call.peek.name)
        tool = None if name is None else self._server.tools.get(name)
        if tool is None:
            return errors.invalid_params("unknown tool" if name else "name must be a string")
        named = tool
        if tool.delegate is not None:
            tool, call = _meant(tool, call)
        needed = self._default if tool.scopes is None else tool.scopes
        if missing(needed, call.principal):
            return NeedsScopes(needed)
        if modern and (tool.demands or call.peek.meta.log_level is not UNSET):
            refused = self._unable(tool, call, repeats=tool is named)
            if refused is not None:
                return refused
        return Admitted(call, tool, needed, tool.name)

    def _unable(self, tool: Tool, call: Call, *, repeats: bool) -> RpcError | None:
        """What else a modern client must bring for a tool: capabilities, and headers that repeat parameters.

        Of a tool that another one called for it the client has not read which parameters it `repeats` in headers.
        """
        level = level_named(call)
        if isinstance(level, RpcError):
            return level
        if tool.requires and (lacking := tool.requires - call.capabilities().keys()):
            return errors.missing_capability({name: {} for name in sorted(lacking)})
        if tool.task == "required" and not task_methods.declared(call):
            return errors.missing_capability(task_methods.REQUIRED)
        if repeats and tool.param_headers and call.headers is not None:
            try:
                arguments = None if call.peek.arguments is UNSET else _decode_any(call.peek.arguments)
            except errors.UNREADABLE as error:
                return errors.invalid_params(str(error))
            return param_headers.check(tool.param_headers, call.headers.values, arguments, call.headers.repeated)
        return None

    def _admit_other(self, call: Call, method: str) -> Admission:
        if method in methods.PERSONAL and call.principal is None:
            return NeedsScopes(frozenset())
        if method == "subscriptions/listen":
            return self._admit_subscription(call)
        if method == "completion/complete":
            return self._admit_completion(call)
        finder = self._finders.get(method)
        return Admitted(call) if finder is None else self._with_scopes(call, finder(call))

    def _admit_subscription(self, call: Call) -> Admission:
        asked = listening.wanted(call)
        if isinstance(asked, RpcError):
            return asked
        return listening.needed(self._server, asked, call, self.scopes_of) or Admitted(call)

    def _admit_completion(self, call: Call) -> Admission:
        found = prompts.completed(self._server, call)
        if isinstance(found, RpcError):
            return found
        needed = self.scopes_of(found)
        return NeedsScopes(needed) if missing(needed, call.principal) else Admitted(call, None, needed)

    def _with_scopes(self, call: Call, target: Target | RpcError) -> Admission:
        if isinstance(target, RpcError):
            return target
        needed = self.scopes_of(target.resource if isinstance(target, ResourceMatch) else target)
        if missing(needed, call.principal):
            return NeedsScopes(needed)
        return Admitted(call, target, needed, target.resource.uri if isinstance(target, ResourceMatch) else target.name)

    def _find_prompt(self, call: Call) -> Target | RpcError:
        name = meta.text(call.peek.name)
        found = None if name is None else self._server.prompts.get(name)
        return errors.invalid_params("unknown prompt" if name else "name must be a string") if found is None else found


def _meant(tool: Tool, call: Call) -> tuple[Tool, Call]:
    """The tool that a call is about in truth, and the call as one of it: what follows knows no other."""
    inner = None if tool.delegate is None else tool.delegate(call.peek.arguments)
    if inner is None:
        return tool, call
    peek = msgspec.structs.replace(call.peek, arguments=inner[1])
    return inner[0], msgspec.structs.replace(call, peek=peek)


def level_named(call: Call) -> LogLevel | RpcError | None:
    """The log level that a modern request asks for; an unknown one is refused."""
    raw = call.peek.meta.log_level
    if raw is UNSET:
        return None
    try:
        level: LogLevel = _decode_level(raw)
    except errors.UNREADABLE:
        return errors.invalid_params("logLevel is none of the eight levels")
    return level
