"""What the official suite expects of tools that ask, and of tasks."""

from typing import Any

import msgspec

from mcp_server import Context, ProtocolError, ToolError, elicitation, roots, sampling
from tests.kit.servers.conformance.base import moment, server


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
async def test_streaming_elicitation(ctx: Context) -> str:
    """Ask on a stream."""
    await ctx.progress(1)
    answer = await ctx.elicit("Please confirm", Confirmation)
    return f"User response: {answer.action}"


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
