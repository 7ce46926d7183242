"""Hostile documents: refused, or imported with their faults told; in time and memory that their length bounds.

None of these is timed. Each would run for hours, exhaust the memory or the stack where its bound is missing.
"""

import json
from typing import Any

import pytest

from mcp_server.rest.document import context, read, source_of
from mcp_server.rest.document.values import MAX_FAULTS
from mcp_server.rest.model import Document, UnusableDocument
from tests.kit.apis import only


def of(**more: Any) -> Document:
    return read(source_of(json.dumps({"openapi": "3.1.0", "info": {"title": "t"}, **more}).encode()))


def answering(schema: Any) -> dict[str, Any]:
    return {"/a": {"get": {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}}}


def ref(name: Any, kind: str = "schemas") -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def test_thousands_of_references_to_nowhere_are_told_by_their_first() -> None:
    document = of(paths=answering({"anyOf": [ref(number) for number in range(5_000)]}))
    assert len(document.faults) == MAX_FAULTS + 1
    assert document.faults[-1].text == "4000 more faults are not told"


def test_references_that_are_no_pointers_do_not_search_the_document_each() -> None:
    refs = [{"$ref": f"x{number}.json"} for number in range(2_000)]
    assert len(of(paths=answering({"anyOf": refs})).faults) == MAX_FAULTS + 1


def test_a_chain_of_references_costs_its_length_and_no_stack() -> None:
    schemas: dict[str, Any] = {str(number): ref(number + 1) for number in range(5_000)}
    document = of(paths=answering(ref(0)), components={"schemas": {**schemas, "5000": {"type": "string"}}})
    assert len(document.definitions) == 5_001
    assert document.faults == ()


def test_circles_of_references_end() -> None:
    names = range(60)
    everyone = {str(name): {"allOf": [ref(other) for other in names]} for name in names}
    parameters = {"a": ref("b", "parameters"), "b": ref("a", "parameters")}
    paths = {
        **answering(ref(0)),
        "/b": {"$ref": "#/paths/~1b"},
        "/c": {"get": {"parameters": [ref("a", "parameters")]}},
    }
    document = of(paths=paths, components={"schemas": everyone, "parameters": parameters})
    assert [one.path for one in document.operations] == ["/a", "/c"]
    assert len(document.definitions) == 60


def test_composition_of_composition_is_looked_at_once() -> None:
    """Twenty parts of twenty parts, a hundred levels down: 20^100 ways to the same type."""
    schemas: dict[str, Any] = {str(level): {"allOf": [ref(level + 1)] * 20} for level in range(100)}
    schemas["100"] = {"type": "object"}
    parameter = {"name": "p", "in": "query", "style": "deepObject", "schema": ref(0)}
    assert only(of(paths={"/a": {"get": {"parameters": [parameter]}}}, components={"schemas": schemas})).parameters


def test_what_thousands_of_operations_share_is_read_once() -> None:
    large = {"properties": {str(number): {"type": "string", "nullable": True} for number in range(2000)}}
    answer = {"content": {"application/json": {"schema": large}}}
    paths = {f"/{number}": {"get": {"responses": {"200": ref("R", "responses")}}} for number in range(2_000)}
    document = of(paths=paths, components={"responses": {"R": answer}})
    assert len(document.operations) == 2_000
    assert document.operations[0].answers[0] is document.operations[-1].answers[0]


def test_a_path_item_of_many_parameters_on_many_paths_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "MAX_PARTS", 10_000)
    item = {"parameters": [{"name": str(number), "in": "query"} for number in range(200)], "get": {}}
    paths = {f"/{number}": ref("P", "pathItems") for number in range(100)}
    with pytest.raises(UnusableDocument, match="come to more than"):
        of(paths=paths, components={"pathItems": {"P": item}})


def test_many_alternatives_of_the_document_are_read_once() -> None:
    document = of(security=[{"a": []}] * 5_000, paths={f"/{number}": {"get": {}} for number in range(500)})
    assert document.operations[0].security is document.operations[-1].security


def test_sharing_by_aliases_is_bounded() -> None:
    properties = ",".join(f"p{number}: {{nullable: true}}" for number in range(500))
    text = f"openapi: 3.1.0\npaths: {{}}\nx: [&s {{properties: {{{properties}}}}}{', *s' * 2000}]"
    with pytest.raises(UnusableDocument, match="aliases come to"):
        read(source_of(text.encode()))


def test_a_fault_does_not_repeat_the_document() -> None:
    document = of(paths=answering({"$ref": "#" + "/x" * 100_000}))
    assert len(document.faults[0].text) <= 300


NAMES = [
    "__import__('os').system('id')",
    "${7*7}",
    "{{7*7}}",
    "../../etc/passwd",
    "a\r\nb",
    "\u202eevil",
    "`id`",
    "'; DROP TABLE x; --",
    "a" * 10_000,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_only_a_name(name: str) -> None:
    schemas = {name: {"type": "object", "properties": {name: {"$ref": "#/components/schemas/x"}}}, "x": {}}
    pointer = "#/components/schemas/" + name.replace("~", "~0").replace("/", "~1").replace("%", "%25")
    document = of(
        paths={f"/{name.replace('{', '').replace('}', '')}": answering({"$ref": pointer})["/a"]},
        components={"schemas": schemas},
    )
    assert len(only(document).answers) == 1
    assert all(len(one) <= 80 and all(c.isalnum() or c in "._-" for c in one) for one in document.definitions)


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://localhost/x",
        "file:///etc/passwd",
        "//10.0.0.1/x",
        "gopher://x",
    ],
)
def test_no_address_in_a_document_is_more_than_a_text(address: str) -> None:
    """Reading opens nothing (import-linter holds it); what was not brought along is told."""
    document = of(paths=answering({"anyOf": [{"$ref": address}, {"$id": f"{address}y", "$schema": address}]}))
    assert only(document).answers[0].schema == {"anyOf": [{}, {}]}
    assert "leads nowhere" in document.faults[0].text


def test_braces_without_end_cost_their_length() -> None:
    document = of(paths={"/" + "{" * 100_000: {"get": {}}, "/" + "{a}" * 20_000: {"get": {}}})
    assert len(document.operations) == 1
    assert len(document.operations[0].parameters) == 1
