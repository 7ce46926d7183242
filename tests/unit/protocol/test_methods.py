"""The method table, held against the official schemas."""

import json
from typing import Any

import msgspec
import pytest

from mcp_server.engine.methods.lifecycle import capability_names
from mcp_server.protocol import headers, methods, revisions
from mcp_server.protocol.meta import RoutingFields, peek, text
from mcp_server.protocol.methods import METHODS, Method
from mcp_server.protocol.types.results import Result
from tests.kit import schema as kit_schema
from tests.kit.schema import FOLDER, TASKS

TASK_REQUESTS = [{"$ref": name} for name in ("GetTaskRequest", "UpdateTaskRequest", "CancelTaskRequest")]
NOT_SERVED = {"2025-11-25": {"tasks/get", "tasks/result", "tasks/cancel", "tasks/list"}}
"""The experimental tasks of that revision are not those of the extension."""
MODERN_MEMBERS = {"resultType", "_meta"}
REVISIONS = [*revisions.LEGACY, *revisions.MODERN]


def _definitions(revision: str) -> dict[str, Any]:
    document = json.loads((FOLDER / f"schema-{revision}.json").read_text("utf-8"))
    found: dict[str, Any] = document.get("$defs") or document["definitions"]
    return found


def _requests(definitions: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Method → definition, of the requests that a client sends."""
    names = [one["$ref"].rpartition("/")[2] for one in definitions.get("ClientRequest", {}).get("anyOf", TASK_REQUESTS)]
    found = [definitions[name].get("allOf", [definitions[name]])[-1] for name in names]
    return {one["properties"]["method"]["const"]: one for one in found}


def _members(definitions: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    """The members that a schema names, those of what it refers to among them."""
    if "$ref" in schema:
        return _members(definitions, definitions[schema["$ref"].rpartition("/")[2]])
    inner = [_members(definitions, one) for key in ("allOf", "anyOf") for one in schema.get(key, [])]
    return set(schema.get("properties", {})).union(*inner)


def _wire_names(struct: type[Any]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(struct)}


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_revision_has_the_methods_of_its_schema(revision: str) -> None:
    expected = set(_requests(_definitions(revision))) - NOT_SERVED.get(revision, set())
    if revision in revisions.MODERN_SET:
        expected |= set(_requests(_definitions(TASKS)))
    assert {method.name for method in METHODS if revision in method.revisions} == expected


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_params_and_result_have_members_of_the_newest_schema_alone(method: Method) -> None:
    newest = next(revision for revision in reversed(REVISIONS) if revision in method.revisions)
    tasks = method.name.startswith("tasks/")
    definitions = _definitions(TASKS if tasks else newest)
    if method.params is not None:
        schema = _requests(definitions)[method.name]["properties"]["params"]
        assert _wire_names(method.params) <= _members(definitions, schema)
    result = (kit_schema.TASK_RESULTS if tasks else kit_schema.RESULTS)[method.name]
    if method.result is not None and method.result is not Result:
        assert _wire_names(method.result) <= _members(definitions, definitions[result]) | MODERN_MEMBERS


def test_every_name_is_there_once() -> None:
    assert len(methods.BY_NAME) == len(METHODS)


@pytest.mark.parametrize("method", [one for one in METHODS if one.named_by], ids=lambda one: one.name)
def test_the_header_of_the_name_reads_a_member_that_routing_knows(method: Method) -> None:
    wire = {field.name: field.encode_name for field in msgspec.structs.fields(RoutingFields)}
    peeked = peek(msgspec.Raw(msgspec.json.encode({wire[method.named_by or ""]: "x"})))
    assert text(headers.NAMED_BY[method.name](peeked)) == "x"


def test_capabilities_open_their_methods_and_no_others() -> None:
    everything = capability_names(
        {
            "tools": {"listChanged": True},
            "prompts": {},
            "resources": {"subscribe": True},
            "completions": {},
            "logging": {},
            "extensions": {"io.modelcontextprotocol/tasks": {}},
        }
    )
    for revision in REVISIONS:
        whole = {method.name for method in METHODS if revision in method.revisions}
        assert methods.available(revision, everything) == whole
        bare = {method.name for method in METHODS if revision in method.revisions and method.capability is None}
        assert methods.available(revision, frozenset()) == bare
    assert "tools/call" not in methods.available(revisions.LATEST, everything - {"tools"})


def test_who_may_ask_runs_a_handler() -> None:
    assert methods.ASKS < methods.RUNS_HANDLER
