"""Admission: everything that is decided of a call before anything runs, and that has an HTTP status of its own."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from mcp_server.authoring.errors import BadArguments
from mcp_server.engine.call import Admission, Admitted, BadCall, Call, Challenged, ResourceMatch, Target
from mcp_server.engine.methods import lifecycle, listening, prompts, resources
from mcp_server.engine.methods import tasks as task_methods
from mcp_server.engine.needs import Needs, ScopeConfig
from mcp_server.identity import Principal, missing
from mcp_server.protocol import errors, meta, methods, param_headers, revisions
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.notifications import LogLevel
from mcp_server.registry.requirement import Choice, Login
from mcp_server.registry.resource import Resource
from mcp_server.registry.server import McpServer, Protected
from mcp_server.registry.tool import Tool
from mcp_server.sessions.event_log import StreamAccess
from mcp_server.sessions.tasks.record import TaskRecord

_decode_any = msgspec.json.Decoder().decode
_decode_level = msgspec.json.Decoder(LogLevel).decode


class AdmissionPolicy:
    """One server's registry and what its scopes are, asked what a call needs; `coordinated` as in `EngineConfig`.

    `extensions` are those of which others know whether they are true.
    """

    def __init__(
        self,
        server: McpServer,
        scopes: ScopeConfig,
        *,
        coordinated: bool,
        extensions: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._server, self._default, self._coordinated = server, scopes.default, coordinated
        self._extensions = extensions
        self.needs = Needs(server, scopes)
        self._finders: dict[str, Callable[[Call], Target | RpcError]] = {
            "prompts/get": self._find_prompt,
            "resources/read": lambda call: resources.named(server, call),
            "resources/subscribe": lambda call: resources.subscribed(server, call),
        }
        self.advertise()

    def advertise(self) -> None:
        """Take note of what the registry holds now: a method is there when something is registered for it."""
        self.needs.changed()
        self._declared = self._extensions()
        self.modern, self.legacy = (
            lifecycle.capabilities(
                self._server, modern=modern, coordinated=self._coordinated, extensions=self._declared
            )
            for modern in (True, False)
        )
        self._modern_methods = methods.available(revisions.LATEST, lifecycle.capability_names(self.modern))
        self._legacy_methods = methods.available(revisions.NEWEST_LEGACY, lifecycle.capability_names(self.legacy))

    def outdated(self) -> bool:
        """Whether what is advertised is no longer true: an issuer's metadata comes after the start and may change."""
        return self._declared != self._extensions()

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

    def readable(self, uris: list[str], principal: Principal | None) -> list[str]:
        """Those of these resources that exist and that the caller may read."""
        found = [(uri, resources.find_resource(self._server, uri)) for uri in uris]
        return [uri for uri, one in found if one is not None and self._reads(one, uri, principal)]

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
            return (
                tool is not None and not missing(record.needed, principal) and self.needs.within_reach(tool, principal)
            )

        return may_call

    def may_come_back(self, principal: Principal) -> Callable[[StreamAccess], bool]:
        """Whether the caller holds what the calls of a kept stream needed and need now; one that is gone refuses."""
        registries: dict[str, Mapping[str, Protected]] = {
            "tools/call": self._server.tools,
            "prompts/get": self._server.prompts,
            "resources/read": self._server.resources,
        }

        def needs_no_more(method: str, name: str) -> bool:
            if method not in registries:  # a completion has no name of its own
                return True
            one = registries[method].get(name)
            return one is not None and self.needs.within_reach(one, principal)

        return lambda kept: (
            principal.scopes.issuperset(kept.needed) and all(needs_no_more(method, name) for method, name in kept.about)
        )

    def may_hear(self, call: Call) -> Callable[[TaskRecord], bool]:
        """Whether a stream may tell of a task: what its owner may look at, by the login that opened the stream."""
        principal, may_call = call.principal, self.may_call(call)
        return lambda record: may_call(record) and self._weak_login(record, principal, fresh=False) is None

    def weak_login(self, call: Call) -> Callable[[TaskRecord], Challenged | None]:
        """What a caller is asked for who would go on with a task, and has logged in otherwise or too long ago."""
        fresh = call.request.method == "tasks/update"

        def challenge(record: TaskRecord) -> Challenged | None:
            login = self._weak_login(record, call.principal, fresh=fresh)
            return None if login is None else Challenged(frozenset(record.needed), login, scopes_held=True)

        return challenge

    def _weak_login(self, record: TaskRecord, principal: Principal | None, *, fresh: bool) -> Login | None:
        tool = self._server.tools.get(record.tool)
        return None if tool is None else self.needs.weak_login(tool, principal, fresh=fresh)

    def _admit_tool(self, call: Call, *, modern: bool) -> Admission:
        name = meta.text(call.peek.name)
        tool = None if name is None else self._server.tools.get(name)
        if tool is None:
            return errors.invalid_params("unknown tool" if name else "name must be a string")
        named = tool
        if tool.delegate is not None:
            tool, call = _meant(tool, call)
        if tool.conditional:
            admitted = self._judged(call, tool, tool, tool.name)
            if not isinstance(admitted, Admitted):
                return admitted
        else:  # nearly every tool, and the hottest lines there are
            needed = self._default if tool.plain is None else tool.plain
            principal = call.principal
            if not needed <= principal.scopes if principal is not None else needed:
                return Challenged(needed)
            admitted = Admitted(call, tool, needed, tool.name)
        if modern and (tool.demands or call.peek.meta.log_level is not UNSET):
            refused = self._unable(tool, call, repeats=tool is named)
            if refused is not None:
                return refused
        return admitted

    def _asked(self, call: Call, one: Protected, target: Target | None = None, name: str = "") -> Admission:
        """Whether the caller has what something needs; `target` is None where another function runs, a completer."""
        if one.conditional:
            return self._judged(call, one, target, name)
        needed = self._default if one.plain is None else one.plain
        return Challenged(needed) if missing(needed, call.principal) else Admitted(call, target, needed, name)

    def _judged(self, call: Call, one: Protected, target: Target | None, name: str) -> Admission:
        """What becomes of a call of something that needs more than a plain set of scopes."""
        read: dict[str, Any] | None = None

        def values() -> dict[str, Any]:
            nonlocal read
            read = _arguments(call, one, target)
            return one.values(read)

        try:
            judged = self.needs.judge(one, call.principal, values, whole=target is not None)
        except BadArguments as error:
            return BadCall(target, str(error))
        if not isinstance(judged, Choice):
            return judged
        return Admitted(call, target, judged.needed, name, relied_on=judged.relied_on, arguments=read)

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
            return Challenged(frozenset())
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
        found = ((uri, resources.find_resource(self._server, uri)) for uri in asked.resource_subscriptions)
        judged = [self._judge_resource(one, uri, call.principal) for uri, one in found if one is not None]
        return listening.refused(judged, call.principal) or Admitted(call)

    def _admit_completion(self, call: Call) -> Admission:
        found = prompts.completed(self._server, call)
        if isinstance(found, RpcError):
            return found
        return self._asked(call, found)

    def _with_scopes(self, call: Call, target: Target | RpcError) -> Admission:
        if isinstance(target, RpcError):
            return target
        one: Protected
        one, name = (
            (target.resource, target.resource.uri) if isinstance(target, ResourceMatch) else (target, target.name)
        )
        return self._asked(call, one, target, name)

    def _judge_resource(self, one: Resource, uri: str, principal: Principal | None) -> Choice | Challenged | RpcError:
        """What of a resource a caller lacks who would hear of it."""

        def values() -> dict[str, Any]:
            match = resources.find(self._server, uri)
            return {} if match is None else match.arguments

        try:
            return self.needs.judge(one, principal, values)
        except BadArguments as error:
            return errors.invalid_params(str(error))

    def _reads(self, one: Resource, uri: str, principal: Principal | None) -> bool:
        """Whether a caller holds what reading it needs; how old a login is counts where a stream is opened."""
        if not one.conditional:
            return not missing(self._default if one.plain is None else one.plain, principal)
        judged = self._judge_resource(one, uri, principal)
        return isinstance(judged, Choice) or (isinstance(judged, Challenged) and judged.scopes_held)

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


def _arguments(call: Call, one: Protected, target: Target | None) -> dict[str, Any]:
    """What the handler of a call gets, or a completion's client has settled; raises `BadArguments`."""
    if isinstance(target, ResourceMatch):
        return target.arguments
    if isinstance(one, Tool):
        return one.decode(call.peek.arguments)
    return prompts.settled(one, call) if target is None or isinstance(one, Resource) else prompts.arguments(one, call)


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


def log_level(call: Call) -> LogLevel | None:
    """From which level on a call's log is told its client."""
    if call.modern:
        named = level_named(call)
        return None if isinstance(named, RpcError) else named
    return call.session.log_level if call.session else None
