"""What the official suite expects of tools that answer without asking."""

from typing import Annotated, Any

import msgspec

from mcp_server import (
    AudioContent,
    CallToolResult,
    Context,
    EmbeddedResource,
    ImageContent,
    ResourceContents,
    TextContent,
    ToolError,
    mcp_header,
)
from tests.kit.servers.conformance.base import PIXEL, WAVE, moment, server


@server.tool()
async def test_simple_text() -> str:
    """Answer with a text."""
    return "This is a simple text response for testing."


@server.tool()
async def test_image_content() -> ImageContent:
    """Answer with an image."""
    return ImageContent(PIXEL, "image/png")


@server.tool()
async def test_audio_content() -> AudioContent:
    """Answer with sound."""
    return AudioContent(WAVE, "audio/wav")


@server.tool()
async def test_embedded_resource() -> EmbeddedResource:
    """Answer with a resource in place."""
    uri, text = "test://embedded-resource", "This is an embedded resource content."
    return EmbeddedResource(ResourceContents(uri, text=text, mime_type="text/plain"))


@server.tool()
async def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    """Answer with a text, an image and a resource."""
    resource = ResourceContents("test://mixed-content-resource", text='{"test":"data"}', mime_type="application/json")
    return [
        TextContent("Multiple content types test:"),
        ImageContent(PIXEL, "image/png"),
        EmbeddedResource(resource),
    ]


@server.tool()
async def test_error_handling() -> str:
    """Fail."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    """Say how far it is."""
    for progress in (0, 50, 100):
        await ctx.progress(progress, 100, f"Completed step {progress} of 100")
        await moment()
    return "progress was told"


@server.tool(requires={"sampling"})
async def test_missing_capability() -> str:
    """Need a client that samples."""
    return "the client samples"


@server.tool()
async def test_logging_tool(ctx: Context) -> str:
    """Log a line."""
    await ctx.log("info", "a line of the log")
    return "logged"


@server.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    """Log three lines."""
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.log("info", text)
        await moment()
    return "logged"


@server.tool()
async def test_trigger_tool_change() -> str:
    """Change the list of tools."""
    server.list_changed("tools")
    return "changed"


@server.tool()
async def test_trigger_prompt_change() -> str:
    """Change the list of prompts."""
    server.list_changed("prompts")
    return "changed"


@server.tool()
async def test_reconnection(ctx: Context) -> str:
    """Let the connection go and go on."""
    await ctx.pause(retry_ms=100)
    await moment()
    return "Reconnection test completed"


@server.tool(
    input_schema={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    }
)
async def json_schema_2020_12_tool(arguments: dict[str, Any]) -> str:
    """Take what a rich schema describes."""
    return msgspec.json.encode(arguments).decode()


@server.tool()
async def test_custom_header(region: Annotated[str, mcp_header("Region")]) -> str:
    """Take a parameter that a header repeats."""
    return f"region {region}"


@server.tool()
async def greet(name: str) -> str:
    """Greet at once."""
    return f"Hello, {name}!"


@server.tool()
async def error_result() -> CallToolResult:
    """Choose every member of the result."""
    return CallToolResult([TextContent("chosen")], meta={"example.org/chosen": True})
