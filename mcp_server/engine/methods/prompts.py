"""`prompts/get` and `completion/complete`."""

from collections.abc import Callable

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
from mcp_server.registry.server import McpServer, Protected

_decode_get = msgspec.json.Decoder(GetPromptParams).decode
_decode_complete = msgspec.json.Decoder(CompleteParams).decode


async def get(prompt: Prompt, call: Call, context: Callable[[], Context]) -> GetPromptResult | RpcError:
    """A prompt's messages; raises what its handler raises."""
    try:
        arguments = prompt.arguments(_decode_get(call.request.params).arguments)
    except (BadArguments, *errors.UNREADABLE) as error:
        return errors.invalid_params(str(error))
    return await prompt.get(arguments, context)


def completed(server: McpServer, call: Call) -> Protected | RpcError:
    """The prompt or template whose argument a `completion/complete` completes."""
    try:
        ref = _decode_complete(call.request.params).ref
    except errors.UNREADABLE as error:
        return errors.invalid_params(str(error))
    found: Protected | None = server.prompts.get(ref.name) if isinstance(ref, PromptRef) else None
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
