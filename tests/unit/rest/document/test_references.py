import pytest

from mcp_server.rest.document import Source, read
from mcp_server.rest.document.files.reading import decode
from tests.kit.apis import api, imported, only, schema_of, told

TREE = """
paths:
  /tree:
    get:
      responses:
        '200':
          description: ok
          content:
            application/json:
              schema:
                type: object
                properties:
                  tree: {$ref: 'parts/tree.yaml#/Tree'}
                  other: {$ref: 'https://other.test/x.json'}
                  secret: {$ref: '../../secret.yaml'}
components: {schemas: {Leaf: {type: string, nullable: true}, Tree: {type: integer}}}
"""
PART = b"""
Tree:
  type: object
  properties:
    children: {type: array, items: {$ref: '#/Tree'}}
    leaf: {$ref: '../openapi.yaml#/components/schemas/Leaf'}
    near: {$ref: 'leaf.json'}
"""


def test_a_tree_beside_the_document_is_one_definition_and_what_was_refused_is_told() -> None:
    """Fragment 1: a circle over two files, an address, a file outside."""
    main, part, leaf = decode(api(TREE)), decode(PART), decode(b'{"type": "boolean"}')
    source = Source(
        location="file:///srv/api/openapi.yaml",
        files={
            "file:///srv/api/openapi.yaml": main,
            "file:///srv/api/parts/tree.yaml": part,
            "file:///srv/api/parts/leaf.json": leaf,
        },
        refused={"https://other.test/x.json": "its host is not one", "file:///secret.yaml": "it is not below"},
    )
    document = read(source)
    (answer,) = only(document).answers
    assert isinstance(answer.schema, dict)
    properties = answer.schema["properties"]
    name = properties["tree"]["$ref"].removeprefix("#/$defs/")
    assert name.startswith("Tree_"), "the document's own Tree keeps its name, though nobody refers to it"
    assert set(document.definitions) == {name, "Leaf", "leaf"}
    tree = document.definitions[name]
    assert isinstance(tree, dict)
    assert tree["properties"]["children"]["items"] == {"$ref": f"#/$defs/{name}"}
    assert tree["properties"]["leaf"] == {"$ref": "#/$defs/Leaf"}
    assert document.definitions["leaf"] == {"type": "boolean"}
    assert properties["other"] == properties["secret"] == {}
    place = "/paths/~1tree/get/responses/200/content/application~1json/schema/properties"
    assert "not one" in told(document)[f"{place}/other"]
    assert "not below" in told(document)[f"{place}/secret"]


def test_a_reference_that_leads_nowhere_admits_everything_and_names_its_place() -> None:
    schema, document = schema_of(
        "{properties: {a: {$ref: '#/components/schemas/Gone'}, b: {$ref: '#/components/schemas/Gone'}}}"
    )
    assert schema == {"properties": {"a": {}, "b": {}}}
    assert set(told(document)) == {f"/paths/~1a/get/parameters/0/schema/properties/{name}" for name in "ab"}


@pytest.mark.parametrize(
    "ref",
    [
        "#/a/b",
        "#/paths/~1a/get/parameters/9",
        "#/paths/~1a/get/parameters/x",
        "#nothing",
        "http://[",
        "other.yaml",
        "",
        "#/info/title/x",
    ],
)
def test_nothing_is_fetched_for_any_reference(ref: str) -> None:
    schema, document = schema_of(f"{{items: {{$ref: '{ref}'}}}}")
    assert document.faults or ref == ""
    assert schema == {"items": {}} or ref == ""


def test_the_place_of_a_fault_in_another_file_names_the_file() -> None:
    _, document = schema_of("{$ref: 'x.yaml#/S'}", more="")
    assert document.faults
    text = "paths: {/a: {get: {parameters: [{name: p, in: query, schema: {$ref: 'x.yaml#/S'}}]}}}"
    document = imported(text, beside={"x.yaml": b"S: {properties: {a: {type: odd}}}"})
    assert list(told(document)) == ["api/x.yaml#/S/properties/a/type"]


def test_escapes_of_a_pointer() -> None:
    more = "components: {schemas: {'a/b': {const: 1}, 'c~d': {const: 2}, 'e f': {const: 3}, 'é': {const: 4}}}"
    text = "{anyOf: [{$ref: '#/components/schemas/a~1b'}, {$ref: '#/components/schemas/c~0d'}, {$ref: '#/components/schemas/e%20f'}, {$ref: '#/components/schemas/%C3%A9'}]}"
    schema, document = schema_of(text, more=more)
    names = [one["$ref"].removeprefix("#/$defs/") for one in schema["anyOf"]]
    found = [document.definitions[name] for name in names]
    assert found == [{"const": 1}, {"const": 2}, {"const": 3}, {"const": 4}]
    assert all(name.replace("_", "").replace("~", "").isascii() for name in names)


def test_a_reference_may_lead_into_a_schema_an_answer_or_a_parameter() -> None:
    schema, document = schema_of(
        "{properties: {a: {$ref: '#/components/schemas/A/properties/x'}, b: {$ref: '#/paths/~1a/get/parameters/0/schema/properties/c'}, c: {type: integer}}}",
        more="components: {schemas: {A: {properties: {x: {type: string, nullable: true}}}}}",
    )
    assert [document.definitions[one["$ref"].removeprefix("#/$defs/")] for one in list(schema["properties"].values())[:2]] == [
        {"type": ["string", "null"]}, {"type": "integer"},
    ]  # fmt: skip


def test_ids_and_anchors_are_names_and_never_addresses() -> None:
    more = """
    components:
      schemas:
        A: {$id: 'https://schemas.test/a.json', $anchor: top, type: integer}
        B: {$dynamicAnchor: low, type: string}
    """
    schema, document = schema_of(
        "{anyOf: [{$ref: 'https://schemas.test/a.json'}, {$ref: '#top'}, {$ref: '#low'}]}", more=more
    )
    assert document.faults == ()
    assert all("$id" not in str(one) and "nchor" not in str(one) for one in document.definitions.values())
    assert len(schema["anyOf"]) == 3


def test_definitions_within_a_schema_are_found_by_its_references() -> None:
    """Pydantic's schemas, pasted: `#/$defs/X` is meant within the schema, though it says the document's root."""
    more = "components: {schemas: {A: {$defs: {Kind: {enum: [x]}}, properties: {kind: {$ref: '#/$defs/Kind'}, more: {$ref: '#/$defs/Gone'}}}}}"
    _, document = schema_of("{$ref: '#/components/schemas/A'}", more=more)
    assert document.definitions["Kind"] == {"enum": ["x"]}
    assert document.definitions["A"] == {"properties": {"kind": {"$ref": "#/$defs/Kind"}, "more": {}}}


def test_circles_below_properties_stay_and_circles_without_end_are_cut() -> None:
    more = """
    components:
      schemas:
        Node: {type: object, properties: {next: {$ref: '#/components/schemas/Node'}}}
        Self: {$ref: '#/components/schemas/Self'}
        A: {allOf: [{$ref: '#/components/schemas/B'}], title: a}
        B: {anyOf: [{$ref: '#/components/schemas/A'}, {type: string}], not: {$ref: '#/components/schemas/B'}}
    """
    refs = ", ".join(f"{{$ref: '#/components/schemas/{name}'}}" for name in ("Node", "Self", "A"))
    _, document = schema_of(f"{{anyOf: [{refs}]}}", more=more)
    assert document.definitions["Node"] == {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    assert document.definitions["Self"] == {}
    assert document.definitions["A"] == {"allOf": [{"$ref": "#/$defs/B"}], "title": "a"}
    assert document.definitions["B"] == {"anyOf": [{}, {"type": "string"}], "not": {}}
    assert set(told(document)) == {"/components/schemas/Self", "/components/schemas/B"}


def test_only_what_operations_reach_is_defined() -> None:
    more = "components: {schemas: {A: {$ref: '#/components/schemas/B'}, B: {type: string}, C: {type: odd}}}"
    _, document = schema_of("{$ref: '#/components/schemas/A'}", more=more)
    assert document.definitions == {"A": {"$ref": "#/$defs/B"}, "B": {"type": "string"}}
    assert document.faults == ()


def test_names_do_not_hang_on_the_order_of_the_document() -> None:
    refs = ["#/components/schemas/A", "x.yaml#/A", "y.yaml#/B"]
    beside = {"x.yaml": b"A: {const: x}", "y.yaml": b"B: {const: y}"}

    def names(order: list[str]) -> dict[str, object]:
        schema = ", ".join(f"{{$ref: '{ref}'}}" for ref in order)
        text = f"paths: {{/a: {{get: {{parameters: [{{name: p, in: query, schema: {{anyOf: [{schema}]}}}}]}}}}}}\n"
        return dict(imported(text + "components: {schemas: {A: {const: own}}}", beside=beside).definitions)

    assert names(refs) == names(refs[::-1])
    assert names(refs)["A"] == {"const": "own"}


def test_parts_of_every_kind_may_be_elsewhere() -> None:
    document = imported(
        """
        paths:
          /a/{id}: {$ref: 'items.yaml#/item', summary: From here}
          /b: {$ref: '#/paths/~1b'}
          /c: {$ref: 'gone.yaml'}
        components:
          securitySchemes: {key: {$ref: 'items.yaml#/key'}}
        """,
        beside={
            "items.yaml": b"""
item:
  summary: From there
  parameters: [{$ref: '#/id'}]
  post:
    operationId: post
    requestBody: {$ref: '#/body'}
    responses: {200: {$ref: '#/answer'}}
  get:
    parameters: [{$ref: '#/gone'}, {$ref: 'twice.yaml'}]
    requestBody: {$ref: '#/gone'}
id: {name: id, in: path, required: true, schema: {type: integer}}
body: {content: {application/json: {schema: {$ref: '#/S'}}}}
answer: {description: d, content: {application/json: {schema: {$ref: '#/S'}}}}
S: {type: object}
key: {type: apiKey, in: header, name: X-Key}
"""
        },
    )
    operation = only(document)
    assert operation.about.summary == "From here"
    assert operation.body is not None
    assert operation.body.schema == operation.answers[0].schema == {"$ref": "#/$defs/S"}
    assert operation.parameters[0].schema == {"type": "integer"}
    assert document.schemes["key"].parameter == "X-Key"
    assert {pointer for pointer in told(document) if pointer.startswith("/paths")} >= {
        "/paths/~1b", "/paths/~1c", "/paths/~1a~1{id}/get/requestBody", "/paths/~1a~1{id}/get/parameters/0",
    }  # fmt: skip


def test_a_document_knows_itself_by_its_own_name() -> None:
    document = imported(
        """
        $self: https://apis.test/shop/openapi.yaml
        paths:
          /a:
            get:
              parameters: [{name: p, in: query, schema: {$ref: 'https://apis.test/shop/openapi.yaml#/components/schemas/A'}}]
        components: {schemas: {A: {type: integer}}}
        """,
        "3.2.0",
    )
    assert document.faults == ()
    assert list(document.definitions.values()) == [{"type": "integer"}]
