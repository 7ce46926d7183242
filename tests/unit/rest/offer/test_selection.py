"""Which operations are offered, and whose word stands: `mcp.toml` over the document, the nearer over the farther."""

from typing import Any

import pytest

from mcp_server.protocol.types.tools import ToolAnnotations
from mcp_server.rest.model import Document, Fault, Operation, SecurityScheme, Surroundings
from mcp_server.rest.offer.selection import hints
from tests.kit.offers import document, offer, offered, operation

ORDERS = document(
    operation("GET /orders", "listOrders", tags=("orders",)),
    operation("DELETE /orders/{id}", "dropOrder", tags=("orders", "danger")),
    operation("GET /reports/a/b", "reportA", tags=("reports",)),
    operation("GET /old", "old", deprecated=True),
    operation("HEAD /orders", "headOrders"),
    operation("OPTIONS /orders"),
    operation("TRACE /orders"),
)


def chosen(found: Document, text: str = "") -> list[str]:
    return [f"{one.operation.method} {one.operation.path}" for one in offered(found, text).offers]


def extended(name: str, value: Any, line: str = "GET /x", **path: Any) -> Operation:
    return operation(line, surroundings=Surroundings(extensions={name: value}, path_extensions=path))


def test_all_but_what_tells_a_model_nothing_deprecated_ones_last() -> None:
    assert chosen(ORDERS) == ["GET /orders", "DELETE /orders/{id}", "GET /reports/a/b", "GET /old"]
    assert offered(ORDERS).report.count.left_out == 3


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ('include = ["tag:orders"]', ["GET /orders", "DELETE /orders/{id}"]),
        ('include = ["tag:dan*"]', ["DELETE /orders/{id}"]),
        ('include = ["id:list*", "id:old"]', ["GET /orders", "GET /old"]),
        ('include = ["get /**"]', ["GET /orders", "GET /reports/a/b", "GET /old"]),
        ('include = ["GET /reports/**"]', ["GET /reports/a/b"]),
        ('include = ["/orders/**"]', ["GET /orders", "DELETE /orders/{id}"]),
        ('include = ["/orders/*"]', ["DELETE /orders/{id}"]),
        ('include = ["* /orders/{id}"]', ["DELETE /orders/{id}"]),
        ('include = ["/reports/*"]', []),
        ('exclude = ["deprecated", "delete /**"]', ["GET /orders", "GET /reports/a/b"]),
        ('include = ["tag:orders"]\nexclude = ["id:listOrders"]', ["DELETE /orders/{id}"]),
        ('include = ["head /orders"]', ["HEAD /orders"]),
        ('include = ["id:headOrders"]', ["HEAD /orders"]),
        ('include = ["options /**"]', ["OPTIONS /orders"]),
    ],
)
def test_patterns_are_of_tags_ids_methods_and_paths(patterns: str, found: list[str]) -> None:
    assert chosen(ORDERS, patterns) == found


def test_an_entry_names_a_method_that_waits() -> None:
    assert "TRACE /orders" in chosen(ORDERS, '[apis.orders.operations."trace /orders"]\ntitle = "Trace"')


def test_a_pattern_or_an_entry_that_means_nothing_is_told() -> None:
    remarks = offered(
        ORDERS, 'exclude = ["tag:none", "tag:order"]\n[apis.orders.operations.listOrdrs]\ntitle = "x"'
    ).report.remarks
    assert [one.text for one in remarks] == [
        "no such operation; did you mean 'listOrders'?", "pattern 'tag:none' matches no operation",
        "pattern 'tag:order' matches no operation; did you mean 'tag:orders'?",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ('exclude = ["delete /**"]', "dropOrder", "exclude takes it out"),
        ('include = ["tag:reports"]', '"delete /orders/{id}"', "no pattern of include names it"),
        ('include = ["tag:reports"]', '"head /orders"', "no pattern of include names it"),
        ("", '"get /x"', "the document itself does not offer it"),
        ("", '"get /broken"', "its operation cannot be read"),
        ("", "lostOrders", "no such operation"),
        ("", '"get /order"', "no such operation; did you mean 'get /orders'?"),
    ],
)
def test_a_table_that_changes_no_tool_is_told(text: str, key: str, said: str) -> None:
    made = document(
        *ORDERS.operations,
        extended("x-mcp", False),
        faults=(Fault("/paths/~1broken/get/parameters/0", "is no object"),),
    )
    (told,) = offered(made, f"{text}\n[apis.orders.operations.{key}]\nscopes = ['a']").report.remarks
    assert (told.pointer, said in told.text) == (f"apis.orders.operations.{key}", True), told


@pytest.mark.parametrize(
    ("api", "operation", "told"),
    [
        ("secret = 'k'\nheader = 'X-Key'", "", ["identity.secret", "identity.header"]),
        ("mode = 'none'\nheader = 'X-Key'", "", ["identity.header"]),
        ("mode = 'secret'\nsecret = 'k'\nheader = 'X-Key'", "mode = 'none'", []),
        ("secret = 'k'", "mode = 'secret'", []),
        ("secret = 'k'", "mode = 'secret', secret = 'other'", ["identity.secret"]),
        ("audience = 'a'", "mode = 'none', secret = 'k'", ["operations.listOrders.identity.secret"]),
    ],
)
def test_a_secret_that_is_sent_nowhere_is_told(api: str, operation: str, told: list[str]) -> None:
    own = f"[apis.orders.operations.listOrders]\nidentity = {{ {operation} }}" if operation else ""
    remarks = offered(ORDERS, f"[apis.orders.identity]\n{api}\n{own}").report.remarks
    assert [one.pointer.removeprefix("apis.orders.") for one in remarks] == told


KEYS: dict[str, Any] = {
    "key": SecurityScheme(kind="apiKey", place="header", parameter="X-Key"),
    "token": SecurityScheme(kind="apiKey", place="header", parameter="Authorization"),
    "oidc": SecurityScheme(kind="openIdConnect"),
}


@pytest.mark.parametrize(
    ("security", "text", "told"),
    [
        (({"key": ()},), "", True),
        (({"key": (), "oidc": ("a",)},), "", True),
        (({"key": ()}, {"oidc": ("a",)}), "", False),
        (({"key": ()}, {}), "", False),
        (({"token": ()},), "", False),
        ((), "", False),
        (({"key": ()},), '[apis.orders.identity]\nmode = "client_credentials"', True),
        (({"key": ()},), '[apis.orders.identity]\nmode = "secret"\nsecret = "s"', False),
        (({"key": ()},), '[apis.orders.identity]\nmode = "none"', False),
    ],
)
def test_a_key_that_the_document_asks_for_and_nothing_sends_is_told(security: Any, text: str, told: bool) -> None:
    made = [operation(f"GET /{n}", security=security) for n in range(5)]
    remarks = offered(document(*made, schemes=KEYS), text).report.remarks
    assert [one.pointer for one in remarks] == (["/components/securitySchemes/key"] if told else [])
    assert all("and 2 more: the document asks for an API key" in one.text for one in remarks)


class TestExtensions:
    @pytest.mark.parametrize("value", [False, {"enabled": False}])
    def test_a_document_leaves_an_operation_out(self, value: Any) -> None:
        found = document(extended("x-mcp", value), operation("GET /y"))
        assert chosen(found) == ["GET /y"]
        assert chosen(found, 'include = ["/x"]') == ["GET /x"]

    def test_the_nearest_word_stands(self) -> None:
        near = extended("x-mcp", True, "GET /near")
        path = operation("GET /path", surroundings=Surroundings(path_extensions={"x-mcp": True}))
        refused = extended("x-mcp", False, "GET /refused", **{"x-mcp": True})
        found = document(near, path, refused, operation("GET /root"), extensions={"x-mcp": False})
        assert chosen(found) == ["GET /near", "GET /path"]

    def test_one_that_opts_in_leaves_all_others_out(self) -> None:
        assert chosen(document(extended("x-mcp-tool", True), operation("GET /y"))) == ["GET /x"]

    def test_speakeasys_words_are_read_and_its_scopes_are_groups(self) -> None:
        said = {
            "name": "find_it",
            "title": "Find",
            "description": "Finds it.",
            "scopes": ["read"],
            "readOnlyHint": True,
        }
        found = offer(extended("x-speakeasy-mcp", said, "POST /x"))
        assert (found.name, found.title, found.description) == ("find_it", "Find", "Finds it.")
        assert (found.manner.group, found.annotations.read_only_hint) == ("read", True)
        assert found.needs.alternatives == ()
        assert chosen(document(extended("x-speakeasy-mcp", {"disabled": True}))) == []

    def test_ours_says_what_the_configuration_may(self) -> None:
        said = {"name": "ours", "group": "g", "scopes": ["mcp:write"], "as": "both"}
        found = offer(extended("x-mcp", said))
        assert (found.name, found.manner.group, found.manner.form) == ("ours", "g", "both")
        assert found.needs.alternatives == (frozenset({"mcp:write"}),)

    def test_the_configuration_beats_it(self) -> None:
        text = '[apis.orders.operations."get /x"]\nname = "mine"\nscopes = ["mcp:admin"]'
        found = offer(extended("x-mcp", {"name": "theirs", "title": "Theirs", "scopes": ["mcp:read"]}), text)
        assert (found.name, found.title, found.needs.alternatives) == ("mine", "Theirs", (frozenset({"mcp:admin"}),))

    @pytest.mark.parametrize("said", [{"public": True}, {"identity": {"mode": "none"}}, {"naem": "x"}, {"name": "a b"}])
    def test_a_document_does_not_say_who_may_call_or_as_whom(self, said: Any) -> None:
        found = offered(extended("x-mcp", said))
        (one,) = found.offers
        assert not one.needs.public
        assert one.manner.identity.mode == "exchange"
        assert [fault.pointer for fault in found.report.remarks] == ["/paths/~1x/get"]

    def test_annotations_are_read_as_mcp_has_them(self) -> None:
        found = offer(extended("x-mcp-annotations", {"destructiveHint": False, "title": "no"}, "POST /x"))
        assert found.annotations.destructive_hint is False


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("GET", ToolAnnotations(read_only_hint=True)),
        ("HEAD", ToolAnnotations(read_only_hint=True)),
        ("QUERY", ToolAnnotations(read_only_hint=True)),
        ("PUT", ToolAnnotations(destructive_hint=True, idempotent_hint=True)),
        ("DELETE", ToolAnnotations(destructive_hint=True, idempotent_hint=True)),
        ("POST", ToolAnnotations(destructive_hint=True)),
        ("COPY", ToolAnnotations(destructive_hint=True)),
    ],
)
def test_hints_are_those_of_the_method(method: str, expected: ToolAnnotations) -> None:
    assert hints(method, None) == expected


def test_what_is_told_to_read_only_destroys_nothing() -> None:
    assert hints("POST", ToolAnnotations(read_only_hint=True)) == ToolAnnotations(read_only_hint=True)
    assert hints("GET", ToolAnnotations(open_world_hint=False)) == ToolAnnotations(
        read_only_hint=True, open_world_hint=False
    )


class TestScopesOfAnExtension:
    """Who may call is the operator's to review: what a document says of it, beside `security`, is told."""

    def remarks(self, found: Operation, text: str = "") -> list[str]:
        return [one.text for one in offered(document(found), text).report.remarks]

    def test_they_are_used_and_told(self) -> None:
        made = extended("x-mcp", {"scopes": ["low"]})
        text = '[apis.orders.scopes]\nlow = "mcp:high"'
        assert offer(made, text).needs.alternatives == (frozenset({"low"}),)
        (told,) = self.remarks(made, text)
        assert told.startswith("x-mcp.scopes: low is needed")

    @pytest.mark.parametrize("line", ['scopes = ["high"]', "public = true"])
    def test_they_are_passed_over_and_told(self, line: str) -> None:
        made = extended("x-mcp", {"scopes": ["low"]})
        text = f'[apis.orders.operations."get /x"]\n{line}'
        assert {"low"} not in offer(made, text).needs.alternatives
        (told,) = self.remarks(made, text)
        assert told == "x-mcp.scopes (low) is ignored: mcp.toml says who may call it"

    def test_groups_are_told_apart(self) -> None:
        made = extended("x-speakeasy-mcp", {"scopes": ["read"]})
        assert "read as groups" in self.remarks(made)[0]

    @pytest.mark.parametrize("said", [{"public": True}, {"identity": {"mode": "none"}}])
    def test_what_only_an_operator_says_is_told(self, said: Any) -> None:
        made = extended("x-mcp", said)
        assert not offer(made).needs.public
        assert "only mcp.toml says that" in self.remarks(made)[0]
