"""`prompts/get` and `completion/complete`."""

from collections.abc import Callable
from typing import Any

import msgspec

from mcp_server.authoring.context import Context
from mcp_server.authoring.errors import BadArguments
from mcp_server.engine.call import Call
from mcp_server.protocol import errors
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.prompts import (
    CompleteParams,
    CompleteResult,
    GetPromptParams,
    GetPromptResult,
    PromptRef,
)
from mcp_server.registry.prompt import Prompt, cut
from mcp_server.registry.resource import Resource
from mcp_server.registry.server import McpServer

_decode_get = msgspec.json.Decoder(GetPromptParams).decode
_decode_complete = msgspec.json.Decoder(CompleteParams).decode


async def get(
    prompt: Prompt, call: Call, context: Callable[[], Context], decoded: dict[str, Any] | None = None
) -> GetPromptResult | RpcError:
    """A prompt's messages; raises what its handler raises. `decoded` are the arguments that admission has read."""
    try:
        given = arguments(prompt, call) if decoded is None else decoded
    except BadArguments as error:
        return errors.invalid_params(str(error))
    return await prompt.get(given, context)


def arguments(prompt: Prompt, call: Call) -> dict[str, Any]:
    """The handler's arguments; raises `BadArguments`."""
    try:
        return prompt.arguments(_decode_get(call.request.params).arguments)
    except errors.UNREADABLE as error:
        raise BadArguments(str(error)) from error


def settled(one: Prompt | Resource, call: Call) -> dict[str, Any]:
    """The arguments that a completion has beside the one that it completes; raises `BadArguments`."""
    params = _decode_complete(call.request.params)
    given = {name: text for name, text in params.context.arguments.items() if name != params.argument.name}
    return one.settled(given)


def completed(server: McpServer, call: Call) -> Prompt | Resource | RpcError:
    """The prompt or template whose argument a `completion/complete` completes."""
    try:
        ref = _decode_complete(call.request.params).ref
    except errors.UNREADABLE as error:
        return errors.invalid_params(str(error))
    found: Prompt | Resource | None = server.prompts.get(ref.name) if isinstance(ref, PromptRef) else None
    if found is None and not isinstance(ref, PromptRef):
        found = server.resources.get(ref.uri)
    return errors.invalid_params("unknown ref") if found is None else found


async def complete(server: McpServer, call: Call, context: Callable[[], Context]) -> CompleteResult:
    """Values for an argument: from its completer, else from the choices of its type, else none."""
    params = _decode_complete(call.request.params)
    argument = params.argument
    name = params.ref.name if isinstance(params.ref, PromptRef) else params.ref.uri
    completer = server.completions.get((name, argument.name))
    if completer is not None:
        found = await completer.complete(argument.value, params.context.arguments, context)
        return CompleteResult(completion=found)
    prompt = server.prompts.get(name) if isinstance(params.ref, PromptRef) else None
    choices = prompt.choices.get(argument.name, ()) if prompt else ()
    return CompleteResult(completion=cut([one for one in choices if one.startswith(argument.value)]))
