"""`subscriptions/listen`: what of a filter is honoured, and the listener that carries it out."""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import Raw

from mcp_server.engine.call import Call, Challenged
from mcp_server.engine.methods import tasks as task_methods
from mcp_server.engine.outcome import Subscribed
from mcp_server.identity import Principal
from mcp_server.protocol import errors
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.notifications import ListenParams, SubscriptionFilter, acknowledged
from mcp_server.registry.requirement import Choice
from mcp_server.registry.server import McpServer
from mcp_server.sessions.subscriptions import MAX_URI_BYTES, MAX_URIS, Subscription
from mcp_server.sessions.tasks import Tasks
from mcp_server.sessions.tasks.record import TaskRecord

MAX_NAMED: Final = 64
"""Scopes that one challenge names: a header of more is refused by proxies and clients."""
_decode = msgspec.json.Decoder(ListenParams).decode
_encode = msgspec.json.Encoder().encode


def wanted(call: Call) -> SubscriptionFilter | RpcError:
    """The filter that a call names."""
    try:
        asked = _decode(call.request.params).notifications
    except errors.UNREADABLE as error:
        return errors.invalid_params(str(error))
    if len(asked.resource_subscriptions) > MAX_URIS or len(asked.task_ids) > MAX_URIS:
        return errors.invalid_params(f"at most {MAX_URIS} resources and as many tasks in one subscription")
    if sum(len(one.encode()) for one in (*asked.resource_subscriptions, *asked.task_ids)) > MAX_URI_BYTES:
        return errors.invalid_params(f"at most {MAX_URI_BYTES} bytes of addresses in one subscription")
    if asked.task_ids and not task_methods.declared(call):
        return errors.missing_capability(task_methods.REQUIRED)
    return asked


def refused(
    judged: Iterable[Choice | Challenged | RpcError], principal: Principal | None
) -> Challenged | RpcError | None:
    """What the caller lacks to subscribe to these resources: all that reading them needs, in one challenge."""
    needed, login, lacks = frozenset[str](), None, principal is None
    for one in judged:
        if isinstance(one, RpcError):
            return one
        needed |= one.needed
        if isinstance(one, Challenged):
            lacks, login = True, login or one.login
    if lacks and len(needed) > MAX_NAMED:
        return errors.invalid_params(f"these resources need more than {MAX_NAMED} scopes: subscribe to fewer at once")
    return Challenged(needed, login) if lacks else None


async def listen(
    server: McpServer,
    tasks: Tasks,
    call: Call,
    *,
    readable: Callable[[list[str]], list[str]],
    may_call: Callable[[TaskRecord], bool],
) -> Subscribed | RpcError:
    """The subscription to the subset that exists: unknown resources and foreign tasks are left out."""
    asked = wanted(call)
    if isinstance(asked, RpcError):
        return asked
    found = [await tasks.find(one, call.owner) for one in asked.task_ids]
    honoured = SubscriptionFilter(
        tools_list_changed=asked.tools_list_changed and bool(server.tools),
        prompts_list_changed=asked.prompts_list_changed and bool(server.prompts),
        resources_list_changed=asked.resources_list_changed and bool(server.resources),
        resource_subscriptions=readable(asked.resource_subscriptions),
        task_ids=[one.id for one in found if one is not None and may_call(one)],
    )
    listener = Subscription(call.owner, honoured, subscription=call.request.id, readable=readable, may_call=may_call)
    listener.principal = call.principal
    return Subscribed(listener, acknowledged(Raw(_encode(honoured)), call.request.id))
