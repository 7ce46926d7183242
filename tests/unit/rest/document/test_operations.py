import pytest

from mcp_server.rest.model import Style
from tests.kit.apis import imported, only, parameter, told

TYPES = {"scalar": "string", "array": "array", "object": "object"}
DELIMITED = ("spaceDelimited", "pipeDelimited")
PERMITTED = {
    *((place, "simple", kind) for place in ("path", "header") for kind in TYPES),
    *(("path", style, kind) for style in ("matrix", "label") for kind in TYPES),
    *((place, "form", kind) for place in ("query", "cookie") for kind in TYPES),
    *(("cookie", "cookie", kind) for kind in TYPES),
    *(("query", style, kind) for style in DELIMITED for kind in ("array", "object")),
    ("query", "deepObject", "object"),
}


@pytest.mark.parametrize("explode", ["true", "false"])
@pytest.mark.parametrize("place", ["path", "query", "header", "cookie"])
@pytest.mark.parametrize(
    "style", ["matrix", "label", "simple", "form", "spaceDelimited", "pipeDelimited", "deepObject", "cookie", "magic"]
)
@pytest.mark.parametrize("kind", TYPES)
def test_styles_that_the_table_permits_and_faults_of_those_that_it_does_not(
    kind: str, style: str, place: str, explode: str
) -> None:
    """Fragment 5, the reading side: a required parameter that cannot be sent takes its operation with it."""
    text = (
        f"{{name: p, in: {place}, required: true, style: {style}, explode: {explode}, schema: {{type: {TYPES[kind]}}}}}"
    )
    document = imported(f"paths: {{'/a/{{p}}': {{get: {{parameters: [{text}]}}}}, /b: {{get: {{}}}}}}")
    if (place, style, kind) in PERMITTED:
        read = parameter(document.operations[0], "p", place)
        assert read.style == Style(name=style, explode=style == "deepObject" or explode == "true")
        assert "/style" not in str(told(document))
    else:
        assert [one.path for one in document.operations] == ["/b"]
        assert list(told(document)) == ["/paths/~1a~1{p}/get/parameters/0/style"]


@pytest.mark.parametrize(
    ("place", "style"),
    [
        ("path", Style(name="simple", explode=False)),
        ("header", Style(name="simple", explode=False)),
        ("query", Style(name="form", explode=True)),
        ("cookie", Style(name="form", explode=True)),
    ],
)
def test_styles_by_default(place: str, style: Style) -> None:
    text = f"paths: {{'/a/{{p}}': {{get: {{parameters: [{{name: p, in: {place}, schema: {{type: array}}}}]}}}}}}"
    assert parameter(only(imported(text)), "p", place).style == style


def test_an_optional_parameter_that_cannot_be_sent_takes_only_itself() -> None:
    document = imported(
        """
        paths:
          /a:
            get:
              parameters:
              - {name: a, in: query, style: matrix}
              - {name: b, in: body}
              - {name: c, in: querystring}
              - {in: query}
              - text
              - {name: d, in: query, style: deepObject, schema: {anyOf: [{type: string}, {type: 'null'}]}}
              - {name: e, in: query, style: deepObject, schema: {$ref: '#/components/schemas/E'}}
              - {name: f, in: query, style: deepObject, schema: {oneOf: [{type: string}, {}]}}
              - {name: g, in: query, allowReserved: true, deprecated: true, description: d, example: 0}
        components: {schemas: {E: {allOf: [{$ref: '#/components/schemas/E'}, {properties: {}}]}}}
        """
    )
    assert [one.name for one in only(document).parameters] == ["e", "f", "g"]
    last = parameter(only(document), "g")
    assert (last.style.allow_reserved, last.deprecated, last.description, last.example) == (True, True, "d", 0)
    places = [pointer.removeprefix("/paths/~1a/get/parameters/") for pointer in told(document)]
    assert places[:6] == ["3", "4", "0/style", "1/in", "2", "5/style"]


def test_parameters_of_the_path_are_merged_and_give_way() -> None:
    """Fragment 4: names stay as the wire has them, and both ids arrive."""
    document = imported(
        """
        paths:
          /a/{id}:
            parameters:
            - {name: id, in: path, required: true, schema: {type: string}}
            - {name: 'filter[status]', in: query, schema: {type: string}}
            post:
              parameters:
              - {name: id, in: path, required: true, schema: {type: integer}}
              - {name: $top, in: query, schema: {type: integer}}
              - {name: 'ids[]', in: query, schema: {type: array, items: {type: integer}}}
              - {name: X-Request-ID, in: header, schema: {type: string}}
              requestBody: {content: {application/json: {schema: {type: object, properties: {id: {type: integer}}}}}}
        """
    )
    operation = only(document)
    assert [(one.place, one.name) for one in operation.parameters] == [
        ("path", "id"), ("query", "filter[status]"), ("query", "$top"), ("query", "ids[]"), ("header", "X-Request-ID"),
    ]  # fmt: skip
    assert parameter(operation, "id").schema == {"type": "integer"}
    assert operation.body is not None
    assert not operation.body.required


def test_a_parameter_with_content_and_one_written_as_in_2_0() -> None:
    document = imported(
        """
        paths:
          /a:
            get:
              parameters:
                one: {name: f, in: query, content: {application/json: {schema: {type: object}, examples: {e: {value: {a: 1}}}}}}
                two: {name: t, in: query, type: integer, maximum: 3}
                three: {name: m, in: query, content: {text/plain: {$ref: '#/components/mediaTypes/m'}}}
                four: {name: n, in: query, content: {text/plain: null}}
                five: {name: g, in: query, content: {text/plain: {$ref: '#/gone'}}}
        components: {mediaTypes: {m: {schema: {type: boolean}, example: true}}}
        """,
        "3.2.0",
    )
    operation = only(document)
    assert parameter(operation, "f").style == Style(name="content", explode=False, media_type="application/json")
    assert parameter(operation, "f").example == {"a": 1}
    assert parameter(operation, "t").schema == {"type": "integer", "maximum": 3}
    assert parameter(operation, "m").schema == {"type": "boolean"}
    assert parameter(operation, "m").example is True
    assert parameter(operation, "n").schema is True
    assert "left out" in told(document)["/paths/~1a/get/parameters/4/content/text~1plain"]


@pytest.mark.parametrize(
    ("content", "kind", "media_type"),
    [
        ("{application/xml: {}, multipart/form-data: {}, application/json: {}}", "json", "application/json"),
        (
            "{application/merge-patch+json: {}, application/json; charset=utf-8: {}}",
            "json",
            "application/json; charset=utf-8",
        ),
        ("{application/merge-patch+json: {}, text/plain: {}}", "json", "application/merge-patch+json"),
        (
            "{multipart/form-data: {}, application/x-www-form-urlencoded: {}}",
            "form",
            "application/x-www-form-urlencoded",
        ),
        ("{multipart/form-data: {}, text/plain: {}}", "multipart", "multipart/form-data"),
        ("{multipart/*: {}}", "multipart", "multipart/form-data"),
        ("{'*/*': {}}", "json", "application/json"),
        ("{application/octet-stream: {}, text/csv: {}}", "text", "text/csv"),
        ("{text/*: {}}", "text", "text/plain"),
        ("{application/xml: {schema: {type: string}}}", "text", "application/xml"),
        ("{application/x-ndjson: {}}", "text", "application/x-ndjson"),
        ("{image/*: {}}", "bytes", "application/octet-stream"),
        ("{image/png: {schema: {type: string, format: binary}}}", "bytes", "image/png"),
        ("{application/octet-stream: {schema: {type: string, format: binary}}}", "bytes", "application/octet-stream"),
        ("{application/zip: {schema: {type: string}}}", "text", "application/zip"),
        ("{application/pdf: {}}", "bytes", "application/pdf"),
    ],
)
def test_the_body_is_sent_in_the_first_type_that_fits(content: str, kind: str, media_type: str) -> None:
    body = only(imported(f"paths: {{/a: {{post: {{requestBody: {{required: true, content: {content}}}}}}}}}")).body
    assert body is not None
    assert (body.kind, body.media_type, body.required) == (kind, media_type, True)


@pytest.mark.parametrize(
    "body",
    [
        "{content: {application/xml: {schema: {type: object}}}}",
        "{content: {multipart/mixed: {}}}",
        "{content: {application/jwt: {schema: {$ref: '#/components/schemas/S'}}}}",
        "{required: true}",
        "{$ref: '#/gone'}",
    ],
)
def test_a_body_that_cannot_be_written_is_a_refusal_of_its_operation(body: str) -> None:
    document = imported(
        f"paths: {{/a: {{post: {{requestBody: {body}}}, get: {{}}}}}}\ncomponents: {{schemas: {{S: {{properties: {{}}}}}}}}"
    )
    assert only(document).method == "GET"
    assert next(iter(told(document))).startswith("/paths/~1a/post/requestBody")


@pytest.mark.parametrize("body", ["{}", "{content: {}}", "null", "{required: false, description: none}", "text"])
def test_a_body_of_nothing_is_none(body: str) -> None:
    assert only(imported(f"paths: {{/a: {{post: {{requestBody: {body}}}}}}}")).body is None


def test_encodings_by_property() -> None:
    """Fragment 7, the reading side."""
    document = imported(
        """
        paths:
          /a:
            post:
              requestBody:
                description: Two files
                content:
                  multipart/form-data:
                    schema: {type: object, properties: {file: {type: string, format: binary}}}
                    encoding:
                      meta: {contentType: application/json}
                      rows: {contentType: text/csv, style: form}
                      tags: {explode: false, allowReserved: true}
                      deep: {style: deepObject}
                      pipe: {style: pipeDelimited}
                      nothing: {headers: {}}
                      odd: text
        """
    )
    body = only(document).body
    assert body is not None
    assert body.description == "Two files"
    assert body.encoding == {
        "meta": Style(name="content", explode=False, media_type="application/json"),
        "rows": Style(name="form", explode=True, media_type="text/csv"),
        "tags": Style(name="form", explode=False, allow_reserved=True),
        "deep": Style(name="deepObject", explode=True),
        "pipe": Style(name="pipeDelimited", explode=False),
    }


def test_good_answers_json_first() -> None:
    document = imported(
        """
        paths:
          /a:
            get:
              responses:
                200: {description: ok, content: {text/csv: {}, application/hal+json: {}, application/json: {schema: {type: object}}}}
                2xx: {description: other}
                204: null
                206: {$ref: '#/gone'}
                404: {description: no}
                default: {description: error}
            put: {responses: {default: {description: all}, 3XX: {}}}
            post: {responses: text}
        """
    )
    get, put, post = document.operations
    assert [(one.status, one.media_type) for one in get.answers] == [
        ("200", "application/json"), ("200", "application/hal+json"), ("200", "text/csv"), ("2XX", ""), ("204", ""),
    ]  # fmt: skip
    assert get.answers[0].schema == {"type": "object"}
    assert [one.status for one in put.answers] == ["default"]
    assert post.answers == ()
    assert "undocumented" in told(document)["/paths/~1a/get/responses/206"]


def test_what_is_said_to_people() -> None:
    document = imported(
        """
        x-mcp: {list: full}
        paths:
          x-note: {}
          /a:
            summary: Of the path
            description: Of the path, too
            x-path: 1
            get:
              operationId: list
              tags: [a, 3, b]
              deprecated: true
              x-mcp: false
              callbacks: {done: {}, undone: {}}
              responses:
                200:
                  links:
                    one: {operationId: put}
                    two: {operationRef: '#/paths/~1a/put'}
                    three: {operationRef: '#/paths/~1b/put'}
                    four: {$ref: '#/gone'}
                    five: text
                404: {links: {six: {operationId: error}}}
            put: {operationId: put, summary: Its own}
        """
    )
    get, put = document.operations[0], document.operations[1]
    assert (get.about.summary, get.about.description, get.about.tags) == ("Of the path", "Of the path, too", ("a", "b"))
    assert put.about.summary == "Its own"
    assert get.about.deprecated
    assert get.about.links == ("put",)
    assert get.surroundings.extensions == {"x-mcp": False}
    assert get.surroundings.path_extensions == {"x-path": 1}
    assert document.extensions == {"x-mcp": {"list": "full"}}
    assert "2 callbacks" in told(document)["/paths"]


def test_operations_without_ids_and_with_equal_ones_are_all_there() -> None:
    """Fragment 9, the reading side."""
    document = imported(
        "paths: {'/a/{b}/c:activate': {post: {}}, /x: {get: {operationId: same}}, /y: {get: {operationId: same}}, /z: {get: {operationId: заказы}}, /n: {get: {operationId: 3}}}"
    )
    assert [one.about.operation_id for one in document.operations] == ["", "same", "same", "заказы", ""]
    assert document.operations[0].path == "/a/{b}/c:activate"


def test_the_path_and_its_parameters_agree() -> None:
    document = imported(
        """
        paths:
          /files/{name}.json/{a}-{b}:
            get:
              parameters: [{name: name, in: path}, {name: a, in: path, required: false, schema: {type: integer}}, {name: other, in: path}]
          no-slash: {get: {}}
          /broken/{a: {get: {}}
          /empty/{}: {get: {}}
          /text: text
          /a: {get: text, ' ': {}, parameters: text, trace: {}}
        """
    )
    first = document.operations[0]
    assert [(one.name, one.required, one.schema) for one in first.parameters] == [
        ("name", True, {}), ("a", True, {"type": "integer"}), ("b", True, {"type": "string"}),
    ]  # fmt: skip
    assert [(one.method, one.path) for one in document.operations[1:]] == [("GET", "/no-slash"), ("TRACE", "/a")]
    assert set(told(document)) == {
        "/paths/~1files~1{name}.json~1{a}-{b}/get/parameters/2", "/paths/~1files~1{name}.json~1{a}-{b}/get",
        "/paths/~1broken~1{a/get", "/paths/~1empty~1{}/get", "/paths/~1text", "/paths/~1a/get",
    }  # fmt: skip


def test_what_a_path_should_not_have_is_sent_where_it_belongs() -> None:
    document = imported(
        """
        paths:
          /#Action=List: {get: {operationId: list}}
          /a?type=x&of={user}&known=1&=&b={c}{d}:
            get:
              parameters:
              - {name: user, in: path, required: true, schema: {type: integer}}
              - {name: known, in: query, schema: {type: integer}}
        """
    )
    one, two = document.operations
    assert (one.path, one.pointer) == ("/#Action=List", "/paths/~1#Action=List/get")
    assert two.path == "/a"
    assert {(found.name, found.place): found.schema for found in two.parameters} == {
        ("known", "query"): {"type": "integer"},
        ("type", "query"): {"type": "string", "const": "x"},
        ("of", "query"): {"type": "integer"},
        ("b", "query"): {"type": "string", "const": "{c}{d}"},
    }


def test_3_2_has_more_methods_places_and_answers() -> None:
    """Fragment 15, the reading side."""
    document = imported(
        """
        $self: https://apis.test/shop.yaml
        servers: [{url: v2}]
        paths:
          /orders:
            query:
              requestBody: {$ref: '#/components/requestBodies/Search'}
              responses: {200: {content: {text/event-stream: {itemSchema: {type: object}}, application/jsonl: {schema: {type: array}}}}}
            additionalOperations: {COPY: {operationId: copy}, 'bad method': {}, LINK: text}
            get:
              parameters:
              - {name: q, in: querystring, content: {application/x-www-form-urlencoded: {schema: {type: object}}}}
              - {name: sid, in: cookie, style: cookie, schema: {type: string}}
        components:
          requestBodies: {Search: {content: {application/json: {$ref: '#/components/mediaTypes/Search'}}}}
          mediaTypes: {Search: {schema: {type: object}}}
        """,
        "3.2.0",
        location="https://docs.test/api/openapi.yaml",
    )
    by_method = {one.method: one for one in document.operations}
    assert set(by_method) == {"QUERY", "COPY", "GET"}
    query = by_method["QUERY"]
    assert query.body is not None
    assert query.body.schema == {"type": "object"}
    assert [(one.media_type, one.stream, one.schema) for one in query.answers] == [
        ("text/event-stream", True, {"type": "object"}), ("application/jsonl", True, {"type": "array"}),
    ]  # fmt: skip
    assert by_method["COPY"].pointer == "/paths/~1orders/additionalOperations/COPY"
    q, sid = by_method["GET"].parameters
    assert (q.place, q.style.name, q.style.media_type) == (
        "querystring",
        "content",
        "application/x-www-form-urlencoded",
    )
    assert sid.style == Style(name="cookie", explode=True)
    assert document.servers == ("https://docs.test/api/v2",), "its own name is no address of the API"
    assert set(told(document)) == {
        "/paths/~1orders/additionalOperations/bad method",
        "/paths/~1orders/additionalOperations/LINK",
    }
