import pytest

from tests.kit.apis import imported, only, told

ADDRESS = "https://docs.test/shop/openapi.yaml"


@pytest.mark.parametrize(
    ("servers", "location", "found"),
    [
        ("[{url: /v2}]", "openapi.yaml", ["/v2"]),
        ("[{url: /v2}]", ADDRESS, ["https://docs.test/v2"]),
        ("[{url: v2/}]", ADDRESS, ["https://docs.test/shop/v2/"]),
        ("[{url: //x.test/v2}]", ADDRESS, ["https://x.test/v2"]),
        ("[{url: 'https://x.test/v2/'}]", ADDRESS, ["https://x.test/v2/"]),
        ("[]", "openapi.yaml", ["/"]),
        ("[]", ADDRESS, ["https://docs.test/"]),
        ("text", "openapi.yaml", []),
        ("[text, {url: 3}, {url: 'https://x.test'}, {url: 'https://x.test'}]", "openapi.yaml", ["https://x.test"]),
        ("[{url: 'https://a.test'}, {url: 'https://b.test'}]", "openapi.yaml", ["https://a.test", "https://b.test"]),
        ("[{url: 'https://{region}.x.test', variables: {region: {enum: [eu, us], default: eu}}}]", "openapi.yaml", ["https://eu.x.test", "https://us.x.test"]),
        ("[{url: 'https://{tenant}.x.test/{v}', variables: {tenant: {default: your-tenant}, v: {default: v2}}}]", ADDRESS, ["https://{tenant}.x.test/v2"]),
        ("[{url: '{scheme}://x.test:{port}', variables: {scheme: {enum: [https]}, port: {enum: [443, 8443]}}}]", ADDRESS, ["https://x.test:443", "https://x.test:8443"]),
        ("[{url: '{scheme}://x.test/{free}', variables: []}]", ADDRESS, ["{scheme}://x.test/{free}"]),
        ("[{url: 'http://['}]", ADDRESS, ["http://["]),
    ],
)  # fmt: skip
def test_servers_with_their_variables(servers: str, location: str, found: list[str]) -> None:
    """Fragment 12: a choice is a list of candidates; a host with a placeholder in it stays one."""
    document = imported(f"servers: {servers}\npaths: {{}}", location=location)
    assert list(document.servers) == found


def test_choices_are_bounded() -> None:
    variables = ", ".join(f"v{i}: {{enum: [a, b, c]}}" for i in range(40))
    url = "".join(f"{{v{i}}}" for i in range(40))
    assert (
        len(imported(f"servers: [{{url: 'https://x.test/{url}', variables: {{{variables}}}}}]\npaths: {{}}").servers)
        == 32
    )


def test_servers_of_an_operation_and_of_its_path() -> None:
    document = imported(
        """
        servers: [{url: https://x.test/v1}]
        paths:
          /a:
            servers: [{url: https://x.test/v2}]
            get: {operationId: same}
            put: {operationId: other, servers: [{url: https://y.test}]}
          /b: {get: {operationId: none}}
        """
    )
    assert {one.about.operation_id: one.surroundings.servers for one in document.operations} == {
        "same": ("https://x.test/v2",), "other": ("https://y.test",), "none": (),
    }  # fmt: skip


def test_security_schemes_of_all_kinds() -> None:
    document = imported(
        """
        paths: {}
        components:
          securitySchemes:
            oauth: {type: oauth2, flows: {clientCredentials: {scopes: {a: A, b: 3}}, implicit: {scopes: {a: other, c: C}}}}
            oidc: {type: openIdConnect, openIdConnectUrl: 'https://i.test'}
            bearer: {type: http, scheme: bearer}
            query: {type: apiKey, in: query, name: key}
            cookie: {type: apiKey, in: cookie, name: sid}
            tls: {type: mutualTLS}
            odd: {type: magic}
            nameless: {type: apiKey, in: header}
            placeless: {type: apiKey, in: body, name: x}
            gone: {$ref: '#/components/securitySchemes/nowhere'}
            text: text
        """
    )
    assert {name: scheme.kind for name, scheme in document.schemes.items()} == {
        "oauth": "oauth2", "oidc": "openIdConnect", "bearer": "http", "query": "apiKey", "cookie": "apiKey", "tls": "mutualTLS",
    }  # fmt: skip
    assert document.schemes["oauth"].scopes == {"a": "A", "b": "", "c": "C"}
    assert (document.schemes["query"].place, document.schemes["query"].parameter) == ("query", "key")
    assert set(told(document)) == {
        f"/components/securitySchemes/{name}" for name in ("odd", "nameless", "placeless", "gone", "text")
    }


@pytest.mark.parametrize(
    ("security", "alternatives"),
    [
        ("", ({"oauth": ("read",)},)),
        ("security: []", ()),
        ("security: [{}]", ({},)),
        ("security: [{oauth: [write]}, {oauth: [admin]}]", ({"oauth": ("write",)}, {"oauth": ("admin",)})),
        ("security: [{oauth: [read], key: []}]", ({"oauth": ("read",), "key": ()},)),
        ("security: [{nowhere: [x]}]", ({"nowhere": ("x",)},)),
        ("security: {key: null}", ({"key": ()},)),
    ],
)
def test_the_alternatives_are_those_of_the_operation_or_else_of_the_document(
    security: str, alternatives: object
) -> None:
    """Fragment 10, the reading side: raw, for the offer to judge."""
    text = f"security: [{{oauth: [read]}}]\npaths:\n  /a:\n    get:\n      operationId: a\n      {security}\n"
    assert only(imported(text)).security == alternatives


def test_nobody_says_anything_of_security() -> None:
    assert only(imported("paths: {/a: {get: {}}}")).security is None


def test_a_scheme_may_be_named_by_its_address_in_3_2() -> None:
    document = imported(
        "paths: {/a: {get: {security: [{'shared.yaml#/key': []}, {'./gone.yaml': []}]}}}",
        "3.2.0",
        beside={"shared.yaml": b"key: {type: apiKey, in: header, name: X-Key}"},
    )
    assert list(document.schemes) == ["shared.yaml#/key"]


@pytest.mark.parametrize(
    "security",
    [
        "text",
        "[text]",
        "null",
        "5",
        "[[oauth]]",
        "[{oauth: admin}]",
        "[{oauth: [read, 3]}]",
        "[{oauth: {scopes: [a]}}]",
    ],
)
@pytest.mark.parametrize("place", ["operation", "document"])
def test_security_that_cannot_be_read_opens_nothing(security: str, place: str) -> None:
    """A forgotten pair of brackets took the scope away: the operation was offered for the default ones."""
    of_document = security if place == "document" else "[{oauth: [admin]}]"
    line = "" if place == "document" else f"security: {security}"
    text = f"security: {of_document}\npaths:\n  /a:\n    get:\n      operationId: a\n      {line}\n"
    document = imported(text)
    assert document.operations == ()
    assert "nobody can tell" in document.faults[0].text or "no list of scopes" in document.faults[0].text
