import pytest

from mcp_server.rest.document.files import overlay
from mcp_server.rest.model import Document, UnusableDocument
from tests.kit.apis import imported, told

API = """
paths:
  /orders:
    get: {operationId: list, tags: [a, b], parameters: [{name: limit, in: query}, {name: debug, in: query}]}
    delete: {operationId: wipe}
  /users:
    get: {operationId: users, summary: Users}
"""


def overlaid(actions: str, version: str = "1.0.0") -> Document:
    return imported(
        API, overlays=[f"overlay: {version}\ninfo: {{title: t, version: '1'}}\nactions: {actions}".encode()]
    )


def refused(actions: str) -> str:
    with pytest.raises(UnusableDocument) as caught:
        overlaid(actions)
    return str(caught.value)


def names(document: Document) -> list[str]:
    return [operation.about.operation_id for operation in document.operations]


def test_remove_takes_nodes_out_of_maps_and_lists() -> None:
    document = overlaid(
        "[{target: '$.paths.*.delete', remove: true}, {target: \"$.paths['/orders'].get.parameters[0,1]\", remove: true}]"
    )
    assert names(document) == ["list", "users"]
    assert document.operations[0].parameters == ()
    document = overlaid("[{target: \"$..parameters[?@.name == 'debug']\", remove: true}]")
    assert [one.name for one in document.operations[0].parameters] == ["limit"]


def test_update_merges_appends_and_replaces() -> None:
    document = overlaid(
        """
        - {target: $.paths.*.get, update: {x-safe: true, tags: [c]}}
        - {target: $.paths.*.get.tags, update: d}
        - {target: $.paths.*.get.tags, update: [e]}
        - {target: "$.paths['/users'].get.summary", update: All users}
        - {target: $, update: {components: null, paths: {/new: {get: {operationId: new}}}}}
        """,
        "1.1.0",
    )
    by_name = {one.about.operation_id: one for one in document.operations}
    assert by_name["list"].about.tags == ("a", "b", "c", "d", "e")
    assert by_name["users"].about.tags == ("c", "d", "e"), "each target has values of its own"
    assert by_name["users"].about.summary == "All users"
    assert by_name["list"].surroundings.extensions == {"x-safe": True}
    assert "new" in by_name


def test_copy_and_remove_move_a_node() -> None:
    document = overlaid(
        "[{target: '$.paths', update: {/v2/users: {}}}, {target: \"$.paths['/v2/users']\", copy: \"$.paths['/users']\"}, {target: \"$.paths['/users']\", remove: true}]",
        "1.1.0",
    )
    assert {one.path for one in document.operations} == {"/orders", "/v2/users"}


def test_actions_are_carried_out_one_after_another_over_several_overlays() -> None:
    first = b"overlay: 1.0.0\nactions: [{target: $.paths, update: {/x: {get: {}}}}]"
    second = b'{"overlay": "1.0.0", "actions": [{"target": "$.paths[\'/x\'].get", "update": {"operationId": "x"}}]}'
    assert names(imported(API, overlays=[first, second]))[-1] == "x"


def test_an_action_means_the_one_node_that_it_selects_though_yaml_shares_it() -> None:
    text = "paths: {/a: &item {get: {summary: s}}, /b: *item}"
    document = imported(
        text, overlays=[b"overlay: 1.0.0\nactions: [{target: \"$.paths['/a'].get\", update: {operationId: a}}]"]
    )
    assert names(document) == ["a", ""]


def test_what_selects_nothing_is_told_and_refuses_nothing() -> None:
    document = overlaid("[{target: $.paths.nowhere, remove: true}, {target: $.info, description: nothing to do}]")
    assert "selects nothing" in told(document)["overlay 1#/actions/0"]
    assert len(document.faults) == 1


@pytest.mark.parametrize(
    ("actions", "place"),
    [
        ("[{target: 'no path', remove: true}]", "overlay 1#/actions/0/target"),
        ("[{target: $.info}, {remove: true}]", "overlay 1#/actions/1"),
        ("[text]", "overlay 1#/actions/0"),
        ("text", "overlay 1#/actions"),
        ("[{target: $, remove: true}]", "overlay 1#/actions/0/target"),
        ("[{target: $.info, update: [1]}]", "overlay 1#/actions/0/update"),
        ("[{target: $.info.title, update: {a: 1}}]", "overlay 1#/actions/0/update"),
        ("[{target: $, update: {info: text}}]", "overlay 1#/actions/0/update"),
        ("[{target: $.info, copy: $.paths.*}]", "overlay 1#/actions/0/copy"),
    ],
)
def test_an_overlay_that_cannot_be_carried_out_refuses_the_document(actions: str, place: str) -> None:
    """What it would have taken away must not be offered."""
    assert refused(actions).startswith(place)


def test_an_expression_that_selects_more_than_the_document_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "MAX_TARGETS", 1000)
    assert "more than 1000 nodes" in refused("[{target: '$..[*, *, *]..[*, *, *]..[*, *, *]', remove: true}]")


@pytest.mark.parametrize("other", [b"overlay: 2.0.0\nactions: []", b"actions: []", b"[]"])
def test_another_version_is_refused(other: bytes) -> None:
    with pytest.raises(UnusableDocument, match="overlay 1"):
        imported(API, overlays=[other])


def test_references_that_an_overlay_brings_are_of_the_document() -> None:
    added = (
        b"overlay: 1.0.0\nactions: [{target: \"$.paths['/users'].get\", update: {parameters: [{$ref: 'p.yaml#/p'}]}}]"
    )
    document = imported(API, overlays=[added], beside={"p.yaml": b"p: {name: p, in: query}"})
    assert document.operations[-1].parameters[0].name == "p"
    assert document.faults == ()
