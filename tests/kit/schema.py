"""The official JSON schemas, where they are at hand: every message of every test is held against its revision's."""

import functools
import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs

from mcp_server.protocol import revisions

FOLDER = Path(__file__).parents[2] / "tests" / "kit" / "schemas"
_RESULTS = {
    "initialize": "InitializeResult",
    "server/discover": "DiscoverResult",
    "tools/list": "ListToolsResult",
    "tools/call": "CallToolResult",
    "ping": "EmptyResult",
}


@functools.cache
def _validator(revision: str, name: str) -> Any:
    document = json.loads((FOLDER / f"schema-{revision}.json").read_text("utf-8"))
    key = "$defs" if "$defs" in document else "definitions"
    root = {key: document[key], "$ref": f"#/{key}/{name}"}
    if "$schema" in document:
        root["$schema"] = document["$schema"]
    return jsonschema_rs.validator_for(root)


def check(message: dict[str, Any], method: str, revision: str) -> None:
    """Hold an answer against the schema of its revision."""
    if "error" in message:
        new = "JSONRPCErrorResponse" if revision >= "2025-11-25" else "JSONRPCError"
        if "id" in message or revision >= "2025-11-25":
            _validator(revision, new).validate(message)
        return
    if method in _RESULTS:
        _validator(revision, _RESULTS[method]).validate(message["result"])


def check_answer(asked: Any, answer: httpx.Response, stated: str | None) -> None:
    """Hold what came back against the schema of the revision it was asked in."""
    if not answer.content:
        return
    said = answer.json()
    for one in said if isinstance(said, list) else [said]:
        method = asked.get("method", "") if isinstance(asked, dict) else ""
        agreed = one.get("result", {}).get("protocolVersion") if method == "initialize" else None
        known = stated if stated in (*revisions.LEGACY, *revisions.MODERN) else None
        check(one, method, agreed or known or revisions.BATCHING)
