"""What modelcontextprotocol/conformance#480 and #481 ask, from 2026-07-28 authorization §Runtime Insufficient Scope Errors.

A valid token with too few scopes gets 403, a Bearer challenge with `insufficient_scope`, the metadata's address and all
scopes of the operation at once; the same operation with a token that has them succeeds. For a tool, a resource, a
prompt, and a template whose scope comes from the address. Opaque tokens of those names, so that the scenario itself can
be run against such a server. Here in both eras, and each way in which a part of what is needed can be missing.
"""

import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from mcp_server import McpServer
from tests.conformance.eras import ERAS, asked, challenged
from tests.kit.stack import running_stack
from tests.kit.tokens import Forge

SECRET = "dev-only-server-secret"
LOW, FULL = "mcp-conformance-scope-low", "mcp-conformance-scope-full"
BASELINE = "mcp:conformance:baseline"


class Operation(NamedTuple):
    method: str
    params: dict[str, Any]
    scopes: tuple[str, str]
    shows: str


OPERATIONS = {
    "tool": Operation(
        "tools/call",
        {"name": "test_simple_text", "arguments": {}},
        ("mcp:conformance:tools:call", "mcp:conformance:tools:test_simple_text"),
        "a simple text",
    ),
    "resource": Operation(
        "resources/read",
        {"uri": "test://static-text"},
        ("mcp:conformance:resources:read", "mcp:conformance:resources:static"),
        "a static text",
    ),
    "template": Operation(
        "resources/read",
        {"uri": "test://template/123/data"},
        ("mcp:conformance:resources:read", "mcp:conformance:resources:template:123"),
        "data of 123",
    ),
    "prompt": Operation(
        "prompts/get",
        {"name": "test_simple_prompt", "arguments": {}},
        ("mcp:conformance:prompts:get", "mcp:conformance:prompts:test_simple_prompt"),
        "a simple prompt",
    ),
}
EVERY = sorted({scope for one in OPERATIONS.values() for scope in one.scopes})


class Fixture(msgspec.Struct):
    """The server of the scenario, and what its handlers did."""

    forge: Forge
    ran: list[str]

    def token(self, name: str, *scopes: str) -> str:
        """An opaque token of this name, which the issuer knows to hold these."""
        store = self.forge.stack.issuer.store
        return store.put(store.references, self.forge.token(scope=" ".join([BASELINE, *scopes]), jti=name), name)

    async def did(self, era: str, one: Operation, token: str) -> tuple[Any, bool]:
        """The answer, and whether a handler ran for it."""
        self.ran.clear()
        answer = await asked(self.forge.stack, era, one.method, one.params, authorization=f"Bearer {token}")
        return answer, bool(self.ran)


def offering(ran: list[str]) -> McpServer:
    server = McpServer("conformance")

    @server.tool(scopes=set(OPERATIONS["tool"].scopes))
    async def test_simple_text() -> str:
        """Give a text."""
        ran.append("tool")
        return "a simple text"

    @server.resource("test://static-text", scopes=set(OPERATIONS["resource"].scopes))
    async def static() -> str:
        """A text."""
        ran.append("resource")
        return "a static text"

    reading = {"mcp:conformance:resources:read", "mcp:conformance:resources:template:{id}"}

    @server.resource("test://template/{id}/data", scopes=reading)
    async def template(id: str) -> str:  # noqa: A002 - the scenario's name of the variable
        """Data of one."""
        ran.append("template")
        return f"data of {id}"

    @server.prompt(scopes=set(OPERATIONS["prompt"].scopes))
    async def test_simple_prompt() -> str:
        """Ask."""
        ran.append("prompt")
        return "a simple prompt"

    return server


@pytest.fixture(scope="module")
async def fixture(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fixture]:
    ran: list[str] = []
    folder = Path(tmp_path_factory.mktemp("scopes"))
    async with running_stack(folder, offering(ran), client_secret=SECRET, parameterized_scopes="true") as stack:
        found = Fixture(Forge(stack), ran)
        found.token(LOW)
        found.token(FULL, *EVERY)
        yield found


@pytest.mark.requirement("25.12")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", OPERATIONS)
async def test_one_challenge_names_all_that_is_needed_and_with_it_the_same_succeeds(
    fixture: Fixture, kind: str, era: str
) -> None:
    one, stack = OPERATIONS[kind], fixture.forge.stack
    refused, ran = await fixture.did(era, one, LOW)
    assert (refused.status_code, ran) == (403, False)
    scheme, said = challenged(refused)
    assert (scheme, said["error"]) == ("Bearer", "insufficient_scope")
    assert sorted(said["scope"].split(" ")) == sorted(one.scopes)
    metadata = (await stack.http.get(said["resource_metadata"])).json()
    assert metadata["resource"] == stack.resource
    served, ran = await fixture.did(era, one, FULL)
    assert (served.status_code, ran) == (200, True)
    assert one.shows in json.dumps(served.json()["result"])


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", OPERATIONS)
async def test_a_part_of_it_is_not_enough_whichever_it_is(fixture: Fixture, kind: str, era: str) -> None:
    """Of 2 scopes each alone, and all that the others need: the challenge is the same, for it names what is needed."""
    one = OPERATIONS[kind]
    others = [scope for scope in EVERY if scope not in one.scopes]
    for number, held in enumerate([*((scope,) for scope in one.scopes), others]):
        refused, ran = await fixture.did(era, one, fixture.token(f"{kind}{era}{number}", *held))
        assert (refused.status_code, ran) == (403, False), held
        assert set(one.scopes) <= set(challenged(refused)[1]["scope"].split(" "))


@pytest.mark.parametrize("era", ERAS)
async def test_a_scope_for_one_address_opens_no_other(fixture: Fixture, era: str) -> None:
    base = "mcp:conformance:resources:"
    cases = itertools.product(("12", "123", "1234", "%31%32%33"), ("12", "123", "1234"))
    for number, (asked_for, held) in enumerate(cases):
        one = OPERATIONS["template"]._replace(params={"uri": f"test://template/{asked_for}/data"})
        token = fixture.token(f"address{era}{number}", f"{base}read", f"{base}template:{held}")
        answer, ran = await fixture.did(era, one, token)
        named = "123" if asked_for.startswith("%") else asked_for
        assert (answer.status_code, ran) == ((200, True) if named == held else (403, False)), (asked_for, held)
        if not ran:
            assert f"{base}template:{named}" in challenged(answer)[1]["scope"].split(" ")


async def test_who_brings_no_token_is_told_to_log_in_as_before(fixture: Fixture) -> None:
    for era, one in itertools.product(ERAS, OPERATIONS.values()):
        answer = await asked(fixture.forge.stack, era, one.method, one.params)
        assert (answer.status_code, "error" in challenged(answer)[1]) == (401, False)
