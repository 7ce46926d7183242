"""What the official suite expects of resources, prompts and completion."""

import base64
from typing import Any

from mcp_server import Completion, Context, EmbeddedResource, ImageContent, PromptMessage, ResourceContents, TextContent
from tests.kit.servers.conformance.base import PIXEL, server
from tests.kit.servers.conformance.questions import Purpose


@server.resource("test://static-text", name="Static text", mime_type="text/plain")
async def static_text() -> str:
    """Hold a text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", name="Static binary", mime_type="image/png")
async def static_binary() -> bytes:
    """Hold an image."""
    return base64.b64decode(PIXEL)


@server.resource("test://watched-resource", name="Watched resource", mime_type="text/plain")
async def watched() -> str:
    """Hold what changes."""
    return "watched"


@server.resource("test://template/{id}/data", name="Template", mime_type="application/json")
async def templated(id: str) -> dict[str, Any]:  # noqa: A002 - the suite's variable
    """Hold what the address names."""
    return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


@server.tool()
async def touch_watched(ctx: Context) -> str:
    """Change the watched resource."""
    ctx.resource_updated("test://watched-resource")
    return "touched"


@server.prompt()
async def test_simple_prompt() -> str:
    """Be simple."""
    return "This is a simple prompt for testing."


@server.prompt()
async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """Take two arguments.

    Args:
        arg1: The first.
        arg2: The second.

    """
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.completion("test_prompt_with_arguments", "arg1")
async def complete_arg1(value: str) -> list[str]:
    """Complete the first argument."""
    return [one for one in ("test", "testing", "other") if one.startswith(value)]


@server.completion("test_prompt_with_arguments", "arg2")
async def complete_arg2(value: str, arguments: dict[str, str]) -> Completion:
    """Complete the second argument by the first."""
    return Completion([f"{arguments.get('arg1', '')}{value}"])


@server.prompt()
async def test_prompt_with_embedded_resource(resourceUri: str) -> list[PromptMessage]:  # noqa: N803 - the suite's name
    """Hold a resource."""
    resource = ResourceContents(resourceUri, text="Embedded resource content for testing.", mime_type="text/plain")
    return [
        PromptMessage("user", EmbeddedResource(resource)),
        PromptMessage("user", TextContent("Please process the embedded resource above.")),
    ]


@server.prompt()
async def test_prompt_with_image() -> list[PromptMessage]:
    """Hold an image."""
    return [PromptMessage("user", ImageContent(PIXEL, "image/png")), PromptMessage("user", TextContent("Analyse it."))]


@server.prompt()
async def test_input_required_result_prompt(ctx: Context) -> str:
    """Ask before it answers."""
    answer = await ctx.elicit("What context should the prompt use?", Purpose, key="user_context")
    return f"Context: {answer.content.context}" if answer.content else "No context"
