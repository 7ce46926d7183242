"""What the official suite expects of the server under test; the names and texts are the suite's."""

import asyncio
import base64
from typing import Annotated, Any

import msgspec

from mcp_server import (
    AudioContent,
    CallToolResult,
    Completion,
    Context,
    EmbeddedResource,
    ImageContent,
    McpServer,
    PromptMessage,
    ProtocolError,
    ResourceContents,
    TextContent,
    ToolError,
    elicitation,
    mcp_header,
    roots,
    sampling,
)

server = McpServer("conformance", version="1.0.0", title="Conformance fixtures")

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WAVE = base64.b64encode(b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00").decode()
BEAT = 0.05


async def moment(seconds: float = BEAT) -> None:
    """What a tool does that works: it waits for something."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    timer = loop.call_later(seconds, done.set_result, None)
    try:
        await done
    finally:
        timer.cancel()


class Name(msgspec.Struct):
    name: str


class Colour(msgspec.Struct):
    color: str


class Confirmation(msgspec.Struct):
    ok: bool


class Confirm(msgspec.Struct):
    confirm: bool


class Person(msgspec.Struct):
    username: str
    email: str


class Purpose(msgspec.Struct):
    context: str


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
async def test_streaming_elicitation(ctx: Context) -> str:
    """Ask on a stream."""
    await ctx.progress(1)
    answer = await ctx.elicit("Please confirm", Confirmation)
    return f"User response: {answer.action}"


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
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Have the client's model answer."""
    return f"LLM response: {(await ctx.sample(prompt, max_tokens=100)).text}"


@server.tool()
async def test_elicitation(message: str, ctx: Context) -> str:
    """Ask the user who they are."""
    answer = await ctx.elicit(message, Person)
    return f"User response: {answer.action}, {msgspec.json.encode(answer.content).decode()}"


@server.tool()
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Ask with defaults."""
    fields: dict[str, Any] = {
        "name": {"type": "string", "description": "User name", "default": "John Doe"},
        "age": {"type": "integer", "description": "User age", "default": 30},
        "score": {"type": "number", "description": "User score", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "description": "Whether verified", "default": True},
    }
    answer = await ctx.elicit("Please review", {"type": "object", "properties": fields, "required": []})
    return f"Elicitation completed: action={answer.action}"


@server.tool()
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Ask with choices of every kind."""
    titled = [
        {"const": f"value{n}", "title": f"{word} Option"} for n, word in enumerate(("First", "Second", "Third"), 1)
    ]
    plain = ["option1", "option2", "option3"]
    fields: dict[str, Any] = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    answer = await ctx.elicit("Please choose", {"type": "object", "properties": fields, "required": []})
    return f"Elicitation completed: action={answer.action}"


@server.tool()
async def test_reconnection(ctx: Context) -> str:
    """Let the connection go and go on."""
    await ctx.pause(retry_ms=100)
    await moment()
    return "Reconnection test completed"


@server.tool()
async def test_input_required_result_elicitation(ctx: Context) -> str:
    """Ask for a name."""
    answer = await ctx.elicit("What is your name?", Name, key="user_name")
    return f"Hello, {answer.content.name}!" if answer.content else f"No name: {answer.action}"


@server.tool()
async def test_input_required_result_sampling(ctx: Context) -> str:
    """Ask the client's model."""
    return (await ctx.sample("What is the capital of France?", max_tokens=100, key="capital_question")).text


@server.tool()
async def test_input_required_result_list_roots(ctx: Context) -> str:
    """Ask for the roots."""
    return ", ".join(root.uri for root in await ctx.roots(key="client_roots"))


@server.tool()
async def test_input_required_result_request_state(ctx: Context) -> str:
    """Ask, with a state."""
    ctx.notes["begun"] = True
    answer = await ctx.elicit("Please confirm", Confirmation, key="confirm")
    return f"state-ok: {answer.action}"


@server.tool()
async def test_input_required_result_multiple_inputs(ctx: Context) -> str:
    """Ask for several things at once."""
    answers = await ctx.ask(
        user_name=elicitation("What is your name?", Name),
        greeting=sampling("Generate a greeting", max_tokens=50),
        client_roots=roots(),
    )
    return f"{answers['user_name'].action} {answers['greeting'].text} {len(answers['client_roots'])}"


@server.tool()
async def test_input_required_result_multi_round(ctx: Context) -> str:
    """Ask twice."""
    name = await ctx.elicit("Step 1: What is your name?", Name, key="step1")
    colour = await ctx.elicit("Step 2: What is your favorite color?", Colour, key="step2")
    return f"{name.content} {colour.content}"


@server.tool(single_use=True)
async def test_input_required_result_tampered_state(ctx: Context) -> str:
    """Ask, and mind the state."""
    answer = await ctx.elicit("Please confirm", Confirmation, key="confirm")
    return f"confirmed: {answer.action}"


@server.tool()
async def test_input_required_result_capabilities(ctx: Context) -> str:
    """Ask what the client can answer."""
    return (await ctx.sample("What is 2+2?", max_tokens=10)).text


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


@server.tool(task="allowed")
async def slow_compute(seconds: float, label: str = "") -> str:
    """Take its time."""
    await moment(seconds)
    return f"Computed {label} in {seconds} s"


@server.tool(task="required")
async def failing_job() -> str:
    """Fail after a while."""
    await moment(1)
    raise ToolError("The job failed")


@server.tool(task="allowed")
async def protocol_error_job() -> str:
    """Fail below the level of tools."""
    await moment()
    raise ProtocolError(-31500, "The job crashed")


@server.tool(task="allowed")
async def confirm_delete(filename: str, ctx: Context) -> str:
    """Ask before it deletes."""
    answer = await ctx.elicit(f"Delete {filename}?", Confirm, key="confirm")
    return f"{filename} deleted" if answer.content and answer.content.confirm else f"{filename} kept"


@server.tool(task="allowed")
async def multi_input(ctx: Context) -> str:
    """Ask for two things at once."""
    answers = await ctx.ask(first=elicitation("First?", Name), second=elicitation("Second?", Name))
    return f"{answers['first'].content} {answers['second'].content}"


@server.tool(task="required", ask_first=True)
async def test_tool_with_task(ctx: Context) -> str:
    """Ask for a name, then go on as a task."""
    answer = await ctx.elicit("What is your name?", Name, key="user_name")
    await moment()
    return f"Hello, {answer.content.name}!" if answer.content else "Nobody"


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


@server.tool()
async def error_result() -> CallToolResult:
    """Choose every member of the result."""
    return CallToolResult([TextContent("chosen")], meta={"example.org/chosen": True})
