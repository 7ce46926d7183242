"""The method table: one row a method, and what the code asks of it derived once, at import.

A new method is a row here and a handler in `engine/methods`. Absence from a revision is the gate: what a revision does
not have is answered -32601 (2026-07-28 basic/versioning).
"""

from typing import Any, Final, Literal

import msgspec

from mcp_server.protocol import revisions
from mcp_server.protocol.types.lifecycle import DiscoverResult, InitializeParams, InitializeResult
from mcp_server.protocol.types.notifications import ListenParams, SetLevelParams
from mcp_server.protocol.types.prompts import CompleteParams, CompleteResult, GetPromptParams, GetPromptResult
from mcp_server.protocol.types.resources import ReadResourceResult
from mcp_server.protocol.types.results import (
    ListParams,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    Result,
)
from mcp_server.protocol.types.tasks import DetailedTask, TaskParams, UpdateTaskParams
from mcp_server.protocol.types.tools import CallToolResult

_LEGACY: Final = frozenset(revisions.LEGACY)
_MODERN: Final = frozenset(revisions.MODERN)
_ALWAYS: Final = _LEGACY | _MODERN


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """One method of the protocol.

    - `capability`: the server capability it belongs to; None: it is there in any server.
    - `named_by`: the member of `params` that the header `Mcp-Name` repeats, by its name in `RoutingFields`.
    - `personal`: it keeps something for its caller, and so needs one even where anonymous callers are served.
    - `runs_handler`: an author's code runs behind it, for as long as it likes.
    - `may_ask`: it may end in `input_required` (2026-07-28 basic/patterns/mrtr).
    - `params`, `result`: the wire types, where the protocol knows them; a tool's arguments are its own.
    """

    name: str
    revisions: frozenset[str] = _ALWAYS
    capability: str | None = None
    named_by: Literal["name", "uri", "task_id"] | None = None
    personal: bool = False
    runs_handler: bool = False
    may_ask: bool = False
    params: type[Any] | None = None
    result: type[Any] | None = None


METHODS: Final = (
    # The life of a connection
    Method(name="initialize", revisions=_LEGACY, params=InitializeParams, result=InitializeResult),
    Method(name="ping", revisions=_LEGACY, result=Result),
    Method(name="server/discover", revisions=_MODERN, result=DiscoverResult),
    # Tools
    Method(name="tools/list", capability="tools", params=ListParams, result=ListToolsResult),
    Method(
        name="tools/call",
        capability="tools",
        named_by="name",
        runs_handler=True,
        may_ask=True,
        result=CallToolResult,
    ),
    # Resources
    Method(name="resources/list", capability="resources", params=ListParams, result=ListResourcesResult),
    Method(
        name="resources/templates/list", capability="resources", params=ListParams, result=ListResourceTemplatesResult
    ),
    Method(
        name="resources/read",
        capability="resources",
        named_by="uri",
        runs_handler=True,
        may_ask=True,
        result=ReadResourceResult,
    ),
    Method(
        name="resources/subscribe", revisions=_LEGACY, capability="resources.subscribe", personal=True, result=Result
    ),
    Method(
        name="resources/unsubscribe", revisions=_LEGACY, capability="resources.subscribe", personal=True, result=Result
    ),
    # Prompts and completion
    Method(name="prompts/list", capability="prompts", params=ListParams, result=ListPromptsResult),
    Method(
        name="prompts/get",
        capability="prompts",
        named_by="name",
        runs_handler=True,
        may_ask=True,
        params=GetPromptParams,
        result=GetPromptResult,
    ),
    Method(
        name="completion/complete",
        capability="completions",
        runs_handler=True,
        params=CompleteParams,
        result=CompleteResult,
    ),
    # Notifications to the client
    Method(
        name="logging/setLevel",
        revisions=_LEGACY,
        capability="logging",
        personal=True,
        params=SetLevelParams,
        result=Result,
    ),
    Method(name="subscriptions/listen", revisions=_MODERN, capability="listen", personal=True, params=ListenParams),
    # The extension of tasks
    Method(
        name="tasks/get",
        revisions=_MODERN,
        capability="tasks",
        named_by="task_id",
        personal=True,
        params=TaskParams,
        result=DetailedTask,
    ),
    Method(
        name="tasks/update",
        revisions=_MODERN,
        capability="tasks",
        named_by="task_id",
        personal=True,
        params=UpdateTaskParams,
        result=Result,
    ),
    Method(
        name="tasks/cancel",
        revisions=_MODERN,
        capability="tasks",
        named_by="task_id",
        personal=True,
        params=TaskParams,
        result=Result,
    ),
)
BY_NAME: Final = {method.name: method for method in METHODS}

# Constants, for they are asked on each call: a look-up in a set costs less than one in the table and then of a member.
REVISIONS_OF: Final = {method.name: method.revisions for method in METHODS}
PERSONAL: Final = frozenset(method.name for method in METHODS if method.personal)
RUNS_HANDLER: Final = frozenset(method.name for method in METHODS if method.runs_handler)
ASKS: Final = frozenset(method.name for method in METHODS if method.may_ask)


def available(revision: str, capabilities: frozenset[str]) -> frozenset[str]:
    """The methods that a revision has and whose capability the server advertises."""
    return frozenset(
        method.name
        for method in METHODS
        if revision in method.revisions and (method.capability is None or method.capability in capabilities)
    )
