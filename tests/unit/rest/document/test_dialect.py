import jsonschema_rs
import pytest

from tests.kit.apis import imported, schema_of, told

NUMBERS = "components: {schemas: {A: {type: object, properties: {n: {type: integer}}}, E: {type: string, enum: [a]}}}"


def admits(schema: object, definitions: object, value: object) -> bool:
    assert isinstance(schema, dict)
    return jsonschema_rs.Draft202012Validator({**schema, "$defs": definitions}).is_valid(value)


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ("{type: string, nullable: true}", "a", 1),
        ("{type: string, nullable: true, enum: [a, b]}", "b", "c"),
        ("{type: [string], nullable: true}", "a", 1),
        ("{allOf: [{$ref: '#/components/schemas/A'}], nullable: true}", {"n": 1}, {"n": "x"}),
        ("{oneOf: [{type: string}, {type: integer}], nullable: true}", 1, 1.5),
        ("{type: object, allOf: [{$ref: '#/components/schemas/A'}], nullable: true}", {}, []),
        ("{$ref: '#/components/schemas/A', nullable: true}", {"n": 1}, {"n": "x"}),
        ("{type: integer, x-nullable: true}", 1, "1"),
        ("{type: integer, nullable: 'true'}", 1, "1"),
        ("{const: 3, nullable: true}", 3, 4),
    ],
)
def test_null_is_admitted_in_every_form(schema: str, good: object, bad: object, version: str) -> None:
    made, document = schema_of(schema, version, NUMBERS)
    if "$ref" in schema and "allOf" not in schema and version == "3.1.0":
        return  # there `$ref` holds beside its siblings, and `nullable` is no keyword
    assert admits(made, document.definitions, None)
    assert admits(made, document.definitions, good)
    assert not admits(made, document.definitions, bad)


def test_nullable_that_is_false_or_says_nothing_is_gone() -> None:
    assert schema_of("{type: string, nullable: false}", "3.0.0")[0] == {"type": "string"}
    assert schema_of("{description: d, nullable: true}", "3.0.0")[0] == {"description": "d"}


def test_notes_stay_outside_of_a_nullable_composition() -> None:
    made, _ = schema_of("{allOf: [{type: string}], nullable: true, description: d, readOnly: true}", "3.0.0")
    assert made == {"anyOf": [{"allOf": [{"type": "string"}]}, {"type": "null"}], "description": "d", "readOnly": True}


def test_siblings_of_a_reference_are_ignored_in_3_0_and_kept_in_3_1() -> None:
    text = "{$ref: '#/components/schemas/A', description: d, minProperties: 1}"
    assert schema_of(text, "3.0.3", NUMBERS)[0] == {"$ref": "#/$defs/A"}
    assert schema_of(text, "3.1.0", NUMBERS)[0] == {"$ref": "#/$defs/A", "description": "d", "minProperties": 1}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{minimum: 1, exclusiveMinimum: true}", {"exclusiveMinimum": 1}),
        ("{maximum: 9, exclusiveMaximum: true, minimum: 1}", {"exclusiveMaximum": 9, "minimum": 1}),
        ("{minimum: 1, exclusiveMinimum: false}", {"minimum": 1}),
        ("{exclusiveMinimum: true}", {}),
        ("{exclusiveMinimum: 3}", {"exclusiveMinimum": 3}),
        ("{exclusiveMinimum: '3'}", {"exclusiveMinimum": 3}),
        ("{type: string, example: a}", {"type": "string", "examples": ["a"]}),
        ("{type: string, example: a, examples: [b]}", {"type": "string", "examples": ["b"]}),
        ("{examples: {one: {value: 1}, two: 2}}", {"examples": [1, 2]}),
        ("{type: file}", {"type": "string", "format": "binary"}),
        (
            "{type: array, items: [{type: string, nullable: true}, {}], additionalItems: false}",
            {"type": "array", "prefixItems": [{"type": ["string", "null"]}, {}], "items": False},
        ),
        ("{type: array, items: []}", {"type": "array"}),
        (
            "{dependencies: {a: [b], c: {required: [d]}}}",
            {"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"c": {"required": ["d"]}}},
        ),
        ("{$schema: 'http://json-schema.org/draft-04/schema#', $id: 'https://x.test/y', id: z, $anchor: a}", {}),
    ],
)
def test_what_older_dialects_have(old: str, new: object) -> None:
    made, document = schema_of(old, "3.0.3")
    assert made == new
    assert document.faults == ()


@pytest.mark.parametrize(
    ("odd", "mended"),
    [
        ("{type: String}", {"type": "string"}),
        ("{type: int}", {"type": "integer"}),
        ("{type: [string, 'null', bool]}", {"type": ["string", "null", "boolean"]}),
        ("{type: [string, null]}", {"type": ["string", "null"]}),
        (
            "{minLength: '3', maxLength: 4.0, uniqueItems: 'true'}",
            {"minLength": 3, "maxLength": 4, "uniqueItems": True},
        ),
        ("{minimum: '1.5', multipleOf: '2'}", {"minimum": 1.5, "multipleOf": 2}),
        ("{title: 3, description: 1.5}", {"title": "3", "description": "1.5"}),
        ("{type: string, enum: [1, true, a]}", {"type": "string", "enum": ["1", "true", "a"]}),
        ("{required: [a, a, 1]}", {"required": ["a"]}),
        ("{type: object, required: true}", {"type": "object"}),
        ("{allOf: {type: string}}", {"allOf": [{"type": "string"}]}),
        ("{allOf: [], enum: [], description: null}", {}),
        ("{additionalProperties: 'false'}", {"additionalProperties": False}),
        ("{discriminator: kind}", {"discriminator": {"propertyName": "kind"}}),
        ("{properties: {a: null}}", {"properties": {"a": {}}}),
        ("null", {}),
        ("true", True),
    ],
)
def test_what_is_nearly_right_is_mended_without_a_word(odd: str, mended: object) -> None:
    made, document = schema_of(odd)
    assert made == mended
    assert document.faults == ()


@pytest.mark.parametrize(
    ("odd", "left", "at"),
    [
        ("{type: anything}", {}, "/type"),
        ("{type: 3, title: t}", {"title": "t"}, "/type"),
        ("{type: []}", {}, None),
        ("{minLength: -1}", {}, "/minLength"),
        ("{multipleOf: 0}", {}, "/multipleOf"),
        ("{minimum: much}", {}, "/minimum"),
        ("{maximum: {}}", {}, None),
        ("{pattern: [a]}", {}, "/pattern"),
        ("{deprecated: soon}", {}, "/deprecated"),
        ("{enum: a}", {}, "/enum"),
        ("{examples: a}", {}, "/examples"),
        ("{properties: [a]}", {}, "/properties"),
        ("{items: a}", {}, "/items"),
        ("{anyOf: a}", {}, "/anyOf"),
        ("{prefixItems: a}", {}, "/prefixItems"),
        ("{dependentSchemas: 1}", {}, "/dependentSchemas"),
        ("{discriminator: 1}", {}, "/discriminator"),
        ("{properties: {a: text}}", {"properties": {"a": {}}}, "/properties/a"),
        ("{allOf: [text]}", {"allOf": [{}]}, "/allOf/0"),
        ("text", {}, ""),
    ],
)
def test_what_means_nothing_is_left_out_and_told_with_its_place(odd: str, left: object, at: str | None) -> None:
    made, document = schema_of(odd)
    assert made == left
    assert list(told(document)) == ([] if at is None else [f"/paths/~1a/get/parameters/0/schema{at}"])


def test_a_schema_that_needs_nothing_is_the_one_that_was_read() -> None:
    made, _ = schema_of(
        "{type: object, properties: {a: {type: array, items: {type: string}}}, x-unit: m, xml: {name: b}}"
    )
    assert made == {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "string"}}},
        "x-unit": "m",
        "xml": {"name": "b"},
    }


def test_every_place_of_a_schema_is_walked() -> None:
    places = "items additionalProperties unevaluatedItems unevaluatedProperties propertyNames contains contentSchema not if then else"
    odd = "{type: int}"
    text = ", ".join(
        [f"{place}: {odd}" for place in places.split()]
        + [f"{place}: [{odd}]" for place in ("prefixItems", "anyOf", "oneOf", "allOf")]
    )
    text += f", patternProperties: {{a: {odd}}}, dependentSchemas: {{a: {odd}}}, properties: {{a: {odd}}}"
    made, _ = schema_of(f"{{{text}}}")
    assert "'int'" not in str(made)
    assert str(made).count("integer") == 18


def test_read_only_and_write_only_stay_for_the_offer() -> None:
    made, _ = schema_of("{properties: {id: {type: integer, readOnly: true}, secret: {type: string, writeOnly: true}}}")
    assert made["properties"] == {
        "id": {"type": "integer", "readOnly": True},
        "secret": {"type": "string", "writeOnly": True},
    }


def test_a_discriminator_is_kept_and_names_definitions() -> None:
    """Fragment 3: a mapping names files, pointers, and bare names."""
    document = imported(
        """
        paths:
          /pets:
            post:
              requestBody:
                content:
                  application/json:
                    schema:
                      oneOf: [{$ref: '#/components/schemas/Cat'}, {$ref: 'dog.yaml'}]
                      discriminator:
                        propertyName: kind
                        mapping: {cat: Cat, kitten: '#/components/schemas/Cat', dog: dog.yaml, bird: Bird}
        components:
          schemas:
            Cat: {type: object, required: [kind], properties: {kind: {const: cat}}}
        """,
        beside={"dog.yaml": b"{type: object, required: [kind], properties: {kind: {const: dog}}}"},
    )
    body = document.operations[0].body
    assert body is not None
    assert isinstance(body.schema, dict)
    assert body.schema["discriminator"]["mapping"] == {
        "cat": "#/$defs/Cat",
        "kitten": "#/$defs/Cat",
        "dog": "#/$defs/dog",
    }
    assert "Bird" in document.faults[0].text
    assert admits(body.schema, document.definitions, {"kind": "cat"})
    assert admits(body.schema, document.definitions, {"kind": "dog"})
    assert not admits(body.schema, document.definitions, {"kind": "bird"})


@pytest.mark.parametrize("kind", ["5", "true", "{a: 1}", "[5]", "[[string]]", "[]"])
@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
def test_a_type_that_is_none_ends_no_import_wherever_it_stands(kind: str, version: str) -> None:
    """Behind a reference, in a composition, as a form: where its kind is asked for before it has been put right."""
    document = imported(
        f"""
        paths:
          /a:
            post:
              operationId: a
              parameters:
                - {{name: q, in: query, style: deepObject, schema: {{$ref: '#/components/schemas/A'}}}}
                - {{name: h, in: header, schema: {{allOf: [{{type: {kind}, nullable: true}}]}}}}
              requestBody:
                content:
                  application/x-www-form-urlencoded: {{schema: {{$ref: '#/components/schemas/A'}}}}
          /b: {{get: {{operationId: b}}}}
        components: {{schemas: {{A: {{type: {kind}, nullable: true}}}}}}
        """,
        version,
    )
    assert "b" in [one.about.operation_id for one in document.operations]
