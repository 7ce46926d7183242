"""The official JSON schemas: every message that a server of the tests sends is held against its revision's."""

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema_rs

from mcp_server.protocol import revisions

FOLDER = Path(__file__).parents[2] / "tests" / "kit" / "schemas"
TASKS = "ext-tasks"
RESULTS = {
    "initialize": "InitializeResult",
    "server/discover": "DiscoverResult",
    "tools/list": "ListToolsResult",
    "tools/call": "CallToolResult",
    "resources/list": "ListResourcesResult",
    "resources/templates/list": "ListResourceTemplatesResult",
    "resources/read": "ReadResourceResult",
    "prompts/list": "ListPromptsResult",
    "prompts/get": "GetPromptResult",
    "completion/complete": "CompleteResult",
    "subscriptions/listen": "SubscriptionsListenResult",
    "ping": "EmptyResult",
    "logging/setLevel": "EmptyResult",
    "resources/subscribe": "EmptyResult",
    "resources/unsubscribe": "EmptyResult",
}
TASK_RESULTS = {"tasks/get": "GetTaskResult", "tasks/update": "UpdateTaskResult", "tasks/cancel": "CancelTaskResult"}
_SAID = {
    "notifications/progress": "ProgressNotification",
    "notifications/message": "LoggingMessageNotification",
    "notifications/resources/updated": "ResourceUpdatedNotification",
    "notifications/resources/list_changed": "ResourceListChangedNotification",
    "notifications/tools/list_changed": "ToolListChangedNotification",
    "notifications/prompts/list_changed": "PromptListChangedNotification",
    "notifications/subscriptions/acknowledged": "SubscriptionsAcknowledgedNotification",
    "notifications/cancelled": "CancelledNotification",
    "elicitation/create": "ElicitRequest",
    "sampling/createMessage": "CreateMessageRequest",
    "roots/list": "ListRootsRequest",
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
    """Hold a message of the server's against the schema; `method` is what a response answers, if that is known.

    Raises `jsonschema_rs.ValidationError`.
    """
    if "method" in message:
        _check_said(message, revision)
    elif "error" in message:
        new = "JSONRPCErrorResponse" if revision >= "2025-11-25" else "JSONRPCError"
        if "id" in message or revision >= "2025-11-25":
            _validator(revision, new).validate(message)
    else:
        _check_result(message["result"], method, revision)


def _check_said(message: dict[str, Any], revision: str) -> None:
    if message["method"] == "notifications/tasks":
        _validator(TASKS, "TaskStatusNotification").validate(message)
        return
    name = _SAID[message["method"]]
    params = message.get("params", {})
    if name == "SubscriptionsAcknowledgedNotification" and "taskIds" in params.get("notifications", {}):
        params["notifications"].pop("taskIds")
    _validator(revision, name).validate(message)


def _check_result(result: dict[str, Any], method: str, revision: str) -> None:
    if revision in revisions.MODERN_SET:
        assert result.get("resultType") in ("complete", "input_required", "task"), result
    else:
        assert "resultType" not in result, result
    if method in TASK_RESULTS:
        _validator(TASKS, TASK_RESULTS[method]).validate(result)
    elif result.get("resultType") == "task":
        _validator(TASKS, "CreateTaskResult").validate(result)
    elif result.get("resultType") == "input_required":
        _validator(revision, "InputRequiredResult").validate(result)
    elif method in RESULTS:
        _validator(revision, RESULTS[method]).validate(result)
