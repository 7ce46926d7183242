"""What each reason in the audit means, for `docs/errors.md`."""

AUDIT: dict[str, str] = {
    "aborted": "The client hung up before there was an answer.",
    "audit_failing": "The audit cannot be written, and MCP_AUDIT_ON_FAIL is `refuse`.",
    "body_too_large": "A logout (method `backchannel-logout`) of more bytes than a logout token has.",
    "body_too_slow": "The body was not there within MCP_BODY_TIMEOUT_S; of a logout, within 2 s.",
    "cancelled": "The client cancelled the call, hung up in the modern era, or closed its pipe.",
    "failed": "The call ended in an error of ours; the log has it.",
    "logged_out": "The issuer said that a login of `subject` is over, or all of `client`; its tokens are revoked.",
    "logout_client_not_named": (
        "The issuer sent the logout of a client that MCP_LOGOUT_CLIENTS does not name; nothing was done, and the "
        "login's tokens stay good here. Name the client that `detail` in the log has."
    ),
    "logout_replayed": "A logout token, or what Keycloak pushes, came for the second time; nothing was done.",
    "more_kinds": "Refusals of more kinds than are told apart were left out; `more` says how many.",
    "not_encodable": "What a handler returned has no JSON form; the log has it.",
    "not_a_form": "A logout that is no form.",
    "not_one_logout_token": "A logout whose form has not one `logout_token`.",
    "queue_full": "Lines were lost, for there was no room to keep more; `more` says how many.",
    "revoked": "An operator revoked tokens (`mcp-server revoke`); `why` has who and why, `arguments` what.",
    "scopes_undecided": "A function of scopes failed, or it or a handler named one that is not declared; the log has it. "
    "Of a completion: what a scope is made of has no value yet.",
    "stopping": "The server stops: the call was not begun, or was ended after MCP_STOP_S.",
    "store_away": "The shared store was not reachable; a logout counts all the same on the worker that took it, "
    "and the issuer may send it again.",
    "task_cancelled": "A task was cancelled.",
    "task_completed": "A task has run.",
    "task_failed": "A task has failed.",
    "task_handed_back": "The worker stops: another one runs the task.",
    "task_lost": "A task's worker was lost, and it has failed; or a worker lost the lease, and another one runs it.",
    "timed_out": "The call took longer than MCP_CALL_TIMEOUT_S and was ended; it may have acted.",
    "tool_error": "The tool failed, and its text went to the model.",
    "quota_used": "All calls of a day or month are used; `tool_`, `client_`, `server_` in front say whose quota it is.",
    "too_fast": (
        "More calls in a second than MCP_MAX_CALLS_PER_SECOND_PER_PRINCIPAL, too many messages, or too many wrong logouts "
        "from one address; with `tool_`, `client_` or `server_` in front, more than a stated limit of these."
    ),
    "too_many_at_once": (
        "More calls at once than MCP_MAX_CALLS_PER_PRINCIPAL, or a logout while thousands of others are read or wait for their turn; in front stands whose "
        "limit it is otherwise."
    ),
    "too_many_bytes": "More bytes in flight than MCP_MAX_BYTES_IN_FLIGHT_PER_PRINCIPAL, or than all may have.",
    "too_many_streams": "More listening streams than MCP_MAX_STREAMS_PER_PRINCIPAL.",
}
