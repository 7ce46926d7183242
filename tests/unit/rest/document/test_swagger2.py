"""Fragment 13: a document of Swagger 2.0 is read into the same operations as its twin in 3.1, written by hand."""

import msgspec
import pytest

from mcp_server.rest.document import read, source_of
from mcp_server.rest.model import Document
from tests.kit.apis import told

OLD = b"""
swagger: '2.0'
info: {title: Shop, version: '1'}
host: api.test
basePath: /v2
schemes: [http, https]
consumes: [application/json]
produces: [application/json, application/xml]
securityDefinitions:
  oauth: {type: oauth2, flow: accessCode, authorizationUrl: 'https://a.test', tokenUrl: 'https://t.test', scopes: {read: Read, write: Write}}
  key: {type: apiKey, in: header, name: X-Key}
  basic: {type: basic}
security: [{oauth: [read]}]
parameters:
  tags: {name: tags, in: query, type: array, items: {type: string}, collectionFormat: pipes}
  order: {name: order, in: body, required: true, schema: {$ref: '#/definitions/Order'}}
responses:
  Order: {description: An order, schema: {$ref: '#/definitions/Order'}}
definitions:
  Order:
    type: object
    discriminator: kind
    required: [id]
    properties:
      id: {type: integer, format: int64}
      note: {type: string, x-nullable: true}
      parent: {$ref: '#/definitions/Order'}
      price: {type: number, minimum: 0, exclusiveMinimum: true}
paths:
  /orders/{ids}:
    parameters:
    - {name: ids, in: path, required: true, type: array, items: {type: integer}, collectionFormat: csv}
    get:
      operationId: listOrders
      parameters:
      - {$ref: '#/parameters/tags'}
      - {name: ssv, in: query, type: array, items: {type: string}, collectionFormat: ssv}
      - {name: tsv, in: query, type: array, items: {type: string}, collectionFormat: tsv}
      - {name: multi, in: query, type: array, items: {type: string}, collectionFormat: multi, description: Many}
      - {name: plain, in: query, type: array, items: {type: string}}
      - {name: limit, in: query, type: integer, default: 25, maximum: 100}
      - {name: X-Trace, in: header, type: array, items: {type: string}}
      responses:
        200: {$ref: '#/responses/Order'}
        404: {description: no}
    put:
      operationId: putOrder
      parameters: [{$ref: '#/parameters/order'}]
      security: [{key: []}, {basic: []}]
      responses: {default: {description: done}}
  /files:
    post:
      operationId: upload
      consumes: [multipart/form-data]
      produces: [application/octet-stream]
      parameters:
      - {name: file, in: formData, type: file, required: true, description: The file}
      - {name: names, in: formData, type: array, items: {type: string}, collectionFormat: multi}
      responses: {200: {description: The file, schema: {type: file}}}
    put:
      operationId: form
      parameters:
      - {name: a, in: formData, type: string, required: true}
      - {name: b, in: formData, type: array, items: {type: integer}}
      responses: {204: {description: none}}
"""
NEW = b"""
openapi: 3.1.0
info: {title: Shop, version: '1'}
servers: [{url: 'https://api.test/v2'}]
security: [{oauth: [read]}]
paths:
  /orders/{ids}:
    parameters:
    - {name: ids, in: path, required: true, style: simple, explode: false, schema: {type: array, items: {type: integer}}}
    get:
      operationId: listOrders
      parameters:
      - {name: tags, in: query, style: pipeDelimited, explode: false, schema: {type: array, items: {type: string}}}
      - {name: ssv, in: query, style: spaceDelimited, explode: false, schema: {type: array, items: {type: string}}}
      - {name: tsv, in: query, style: tabDelimited, explode: false, schema: {type: array, items: {type: string}}}
      - {name: multi, in: query, style: form, explode: true, description: Many, schema: {type: array, items: {type: string}}}
      - {name: plain, in: query, style: form, explode: false, schema: {type: array, items: {type: string}}}
      - {name: limit, in: query, schema: {type: integer, default: 25, maximum: 100}}
      - {name: X-Trace, in: header, style: simple, schema: {type: array, items: {type: string}}}
      responses:
        '200':
          description: An order
          content:
            application/json: {schema: {$ref: '#/components/schemas/Order'}}
            application/xml: {schema: {$ref: '#/components/schemas/Order'}}
        '404': {description: no}
    put:
      operationId: putOrder
      requestBody: {required: true, content: {application/json: {schema: {$ref: '#/components/schemas/Order'}}}}
      security: [{key: []}, {basic: []}]
      responses: {default: {description: done}}
  /files:
    post:
      operationId: upload
      requestBody:
        required: true
        content:
          multipart/form-data:
            schema:
              type: object
              properties:
                file: {type: string, format: binary, description: The file}
                names: {type: array, items: {type: string}}
              required: [file]
            encoding: {names: {style: form, explode: true}}
      responses: {'200': {description: The file, content: {application/octet-stream: {schema: {type: string, format: binary}}}}}
    put:
      operationId: form
      requestBody:
        required: true
        content:
          application/x-www-form-urlencoded:
            schema:
              type: object
              properties: {a: {type: string}, b: {type: array, items: {type: integer}}}
              required: [a]
            encoding: {b: {style: form, explode: false}}
      responses: {'204': {description: none}}
components:
  securitySchemes:
    oauth: {type: oauth2, flows: {authorizationCode: {authorizationUrl: 'https://a.test', tokenUrl: 'https://t.test', scopes: {read: Read, write: Write}}}}
    key: {type: apiKey, in: header, name: X-Key}
    basic: {type: http, scheme: basic}
  schemas:
    Order:
      type: object
      discriminator: {propertyName: kind}
      required: [id]
      properties:
        id: {type: integer, format: int64}
        note: {type: [string, 'null']}
        parent: {$ref: '#/components/schemas/Order'}
        price: {type: number, exclusiveMinimum: 0}
"""


def old(text: str, location: str = "openapi.yaml") -> Document:
    return read(source_of(f"swagger: '2.0'\n{text}".encode(), location))


def test_it_reads_as_its_twin_does() -> None:
    before, after = read(source_of(OLD)), read(source_of(NEW))
    assert before.faults == ()
    ours, twins = msgspec.to_builtins(before), msgspec.to_builtins(after)
    for mine, twin in zip(ours["operations"], twins["operations"], strict=True):
        assert mine == twin
    assert ours == twins


@pytest.mark.parametrize(
    ("text", "location", "servers"),
    [
        ("basePath: /v2", "openapi.yaml", ("/v2",)),
        ("basePath: v2", "https://api.test/docs/openapi.yaml", ("https://api.test/v2",)),
        ("host: x.test", "openapi.yaml", ("https://x.test",)),
        ("host: x.test:81\nbasePath: /a\nschemes: [http]", "openapi.yaml", ("http://x.test:81/a",)),
        ("host: x.test\nschemes: [ws]", "http://localhost/openapi.yaml", ("http://x.test",)),
        ("{}", "openapi.yaml", ("/",)),
    ],
)
def test_where_it_is_served(text: str, location: str, servers: tuple[str, ...]) -> None:
    text = "" if text == "{}" else text
    assert old(f"{text}\npaths: {{}}", location).servers == servers


def test_forms_by_what_they_hold() -> None:
    def body(consumes: str, kind: str) -> tuple[str, str]:
        text = (
            f"paths: {{/a: {{post: {{consumes: {consumes}, parameters: [{{name: f, in: formData, type: {kind}}}]}}}}}}"
        )
        found = old(text).operations[0].body
        assert found is not None
        return found.kind, found.media_type

    assert body("[]", "string") == ("form", "application/x-www-form-urlencoded")
    assert body("[application/json]", "string") == ("form", "application/x-www-form-urlencoded")
    assert body("[multipart/form-data]", "string") == ("multipart", "multipart/form-data")
    assert body("[application/x-www-form-urlencoded]", "file") == ("multipart", "multipart/form-data")


def test_what_has_no_answer_in_2_0_is_a_fault_and_refuses_little() -> None:
    document = old(
        """
paths:
  /a:
    get:
      parameters:
      - {name: h, in: header, type: array, items: {}, collectionFormat: pipes}
      - {name: odd, in: query, type: array, items: {}, collectionFormat: tabs}
      - {$ref: '#/parameters/gone'}
      responses: {200: {$ref: '#/responses/gone'}, 201: text, 202: {description: d}}
    post:
      consumes: text
      parameters: [{name: b, in: body}]
      responses: none
"""
    )
    get, post = document.operations
    assert [one.name for one in get.parameters] == ["odd"]
    assert get.parameters[0].style.name == "form"
    assert [one.status for one in get.answers] == ["202"]
    assert post.body is not None
    assert post.body.media_type == "application/json"
    assert set(told(document)) == {
        "/paths/~1a/get/parameters/0/style", "/paths/~1a/get/parameters/2", "/paths/~1a/get/responses/200",
    }  # fmt: skip
