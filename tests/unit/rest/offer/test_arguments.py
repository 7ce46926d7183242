"""Arguments: keys that providers take, each value at its place on the wire, and what a model should change."""

import re
from typing import Any

import pytest
from msgspec import UNSET

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.model import CallValues, SecurityScheme
from mcp_server.rest.offer.offered import Offer
from tests.kit.offers import body, document, offer, offered, operation, parameter, properties, schema

KEY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
OBJECT: Any = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["id"],
}


def of(
    line: str,
    *parameters: Any,
    given: Any = None,
    kind: Any = "json",
    required: bool = True,
    text: str = "",
    **more: Any,
) -> Offer:
    """The offer of one operation with a body, or without."""
    has = None if given is None else body(given, kind, required=required)
    return offer(document(operation(line, "it", *parameters, body=has), **more), text)


def sent(found: Offer, **arguments: Any) -> CallValues:
    return found.arguments.values(arguments)


def refused(found: Offer, arguments: Any) -> str:
    with pytest.raises(BadArguments) as caught:
        found.arguments.values(arguments)
    return str(caught.value)


class TestKeys:
    def test_names_that_providers_refuse_are_theirs_on_the_wire(self) -> None:
        """Fragment 4: a key outside the pattern makes the whole request fail at the provider."""
        found = of(
            "PUT /x/{id}", parameter("id", "path"), parameter("filter[status]"), parameter("$top", schema={"type": "integer"}),
            parameter("ids[]", schema={"type": "array", "items": {"type": "string"}}), parameter("X-Request-ID", "header"),
            given=OBJECT,
        )  # fmt: skip
        assert list(properties(found)) == ["id", "body", "filter_status", "top", "ids", "X-Request-ID"]
        assert sent(found, id="a", body={"id": 1}, filter_status="open", top=3, ids=["x"], **{"X-Request-ID": "r"}) == CallValues(
            parameters={
                ("path", "id"): "a", ("query", "filter[status]"): "open", ("query", "$top"): 3, ("query", "ids[]"): ["x"],
                ("header", "X-Request-ID"): "r",
            },
            body={"id": 1},
        )  # fmt: skip

    def test_one_name_at_three_places_is_three_arguments(self) -> None:
        places: Any = ("query", "header", "path")
        found = of("GET /x/{id}", *(parameter("id", place) for place in places))
        assert set(properties(found)) == {"id", "query_id", "header_id"}
        assert sent(found, id="p", query_id="q", header_id="h").parameters == {
            ("path", "id"): "p", ("query", "id"): "q", ("header", "id"): "h",
        }  # fmt: skip

    def test_names_that_become_alike_stay_apart_in_either_order(self) -> None:
        given = [parameter(name) for name in ("a[b]", "a_b", "a(b)", "a.b")]
        keys = {one.wire: one.key for one in of("GET /x", *given).arguments.asked}
        assert keys == {one.wire: one.key for one in of("GET /x", *given[::-1]).arguments.asked}
        assert len(set(keys.values())) == 4
        assert all(KEY.fullmatch(key) for key in keys.values())
        assert (keys["a_b"], keys["a.b"]) == ("a_b", "a.b")

    def test_a_parameter_called_body_gives_way_to_the_body(self) -> None:
        found = of("POST /x", parameter("body"), given={"type": "array"})
        assert sent(found, body=[1], query_body="q") == CallValues(parameters={("query", "body"): "q"}, body=[1])

    def test_required_ones_come_first_as_in_the_document(self) -> None:
        given = [parameter("a"), parameter("b", required=True), parameter("c"), parameter("d", required=True)]
        found = schema(of("GET /x", *given))
        assert list(found["properties"]) == ["b", "d", "a", "c"]
        assert found["required"] == ["b", "d"]
        assert found["additionalProperties"] is False


class TestOurs:
    @pytest.mark.parametrize(
        "name", ["Accept", "CONTENT-TYPE", "authorization", "Cookie", "Host", "Forwarded", "X-Forwarded-For", "Connection",
                 "Transfer-Encoding", "TE", "Upgrade", "Proxy-Authorization", "Content-Length", "X-Original-URL", "X_Rewrite_URL", "X-Host",
                 "X-Real-IP", "True-Client-IP"],
    )  # fmt: skip
    def test_a_header_of_the_transport_is_no_argument(self, name: str) -> None:
        found = of("GET /x", parameter(name, "header", required=True), parameter("Host", "query"))
        assert list(properties(found)) == ["Host"]

    def test_what_a_scheme_sends_is_no_argument(self) -> None:
        schemes = {
            "h": SecurityScheme(kind="apiKey", place="header", parameter="X-API-Key"),
            "q": SecurityScheme(kind="apiKey", place="query", parameter="api_key"),
            "c": SecurityScheme(kind="apiKey", place="cookie", parameter="sid"),
        }
        given = [
            parameter("x-api-key", "header"),
            parameter("api_key"),
            parameter("sid", "cookie"),
            parameter("sid"),
            parameter("API_KEY"),
        ]
        found = of("GET /x", *given, schemes=schemes)
        assert list(properties(found)) == ["sid"]  # a query's names are folded by some servers, as a header's by all


class TestBody:
    def test_an_object_is_spread(self) -> None:
        found = of("POST /x", parameter("q"), given=OBJECT)
        assert list(properties(found)) == ["id", "q", "note"]
        assert sent(found, id=1, q="a", note="n") == CallValues(
            parameters={("query", "q"): "a"}, body={"id": 1, "note": "n"}
        )

    @pytest.mark.parametrize("kind", ["json", "form", "multipart"])
    def test_a_form_is_too(self, kind: Any) -> None:
        assert sent(of("POST /x", given=OBJECT, kind=kind), id=1).body == {"id": 1}

    @pytest.mark.parametrize(
        "given",
        [
            {"type": "array", "items": {"type": "string"}},
            {"type": "string"},
            {"oneOf": [OBJECT, {"type": "object"}]},
            {**OBJECT, "allOf": [{"required": ["note"]}]},
            {**OBJECT, "additionalProperties": True},
            {**OBJECT, "additionalProperties": {"type": "string"}},
            {**OBJECT, "minProperties": 1},
            {**OBJECT, "type": ["object", "null"]},
            {**OBJECT, "required": ["id", "unknown"]},
            {"type": "object"},
            {"type": "object", "properties": {}},
            {"type": "object", "properties": {f"p{i}": {} for i in range(21)}},
            True,
        ],
    )
    def test_what_is_no_plain_object_is_one_argument(self, given: Any) -> None:
        assert list(properties(of("POST /x", given=given))) == ["body"]

    @pytest.mark.parametrize("name", ["id", "$id", "note[]"])
    def test_a_name_that_a_parameter_has_keeps_it_whole(self, name: str) -> None:
        assert "body" in properties(of("POST /x", parameter(name), given=OBJECT))

    def test_a_union_is_under_body_and_never_at_the_root(self) -> None:
        found = schema(of("POST /x", given={"anyOf": [OBJECT, {"type": "array"}]}))
        assert set(found) == {"type", "properties", "required", "additionalProperties"}
        assert found["required"] == ["body"]

    def test_one_that_may_be_missing_is_not_sent_when_nothing_is_given(self) -> None:
        found = of("POST /x", given=OBJECT, required=False)
        assert "required" not in schema(found)
        assert sent(found).body is UNSET
        assert sent(found, id=1).body == {"id": 1}
        assert refused(found, {"note": "n"}) == '"id" is needed with the others of the body'

    def test_one_that_must_be_there_is_sent_empty(self) -> None:
        assert sent(of("POST /x", given={"type": "object", "properties": {"a": {}}})).body == {}

    def test_bytes_and_texts_are_arguments(self) -> None:
        found = properties(of("POST /x", given={}, kind="bytes"))["body"]
        assert found == {"type": "string", "contentEncoding": "base64", "description": "the bytes in base64"}
        assert properties(of("POST /x", given={}, kind="text"))["body"] == {"type": "string"}

    def test_a_file_of_a_form_is_given_in_base64_or_as_text(self) -> None:
        binary = {"type": "string", "format": "binary", "description": "the scan"}
        given = {
            "type": "object",
            "properties": {
                "scan": binary,
                "more": {"type": "array", "items": {"contentMediaType": "image/png"}},
                "raw": {"type": "string", "contentMediaType": "image/png", "contentEncoding": "binary"},
                "told": {"type": "string", "contentMediaType": "application/json"},
                "title": {"type": "string"},
            },
        }
        found = properties(of("POST /x", given=given, kind="multipart"))
        assert set(found["scan"]["properties"]) == {"content", "text", "filename", "media_type"}
        assert found["scan"]["description"] == "the scan"
        assert "content" in found["more"]["items"]["properties"]
        assert "content" in found["raw"]["properties"]
        assert found["told"]["type"] == "string"  # JSON in a text is no file
        assert found["title"] == {"type": "string"}
        whole = properties(of("POST /x", parameter("scan"), given=given, kind="multipart"))["body"]
        assert "content" in whole["properties"]["scan"]["properties"]


class TestConfigured:
    def test_what_is_set_is_sent_and_not_asked(self) -> None:
        text = '[apis.orders.operations.it]\nset = { "api-version" = "2024-01", "x-tenant" = "t", note = "fixed" }'
        found = of(
            "POST /x", parameter("api-version", required=True), parameter("X-Tenant", "header"), given=OBJECT, text=text
        )
        assert list(properties(found)) == ["id"]
        assert sent(found, id=1) == CallValues(
            parameters={("query", "api-version"): "2024-01", ("header", "X-Tenant"): "t"},
            body={"id": 1, "note": "fixed"},
        )

    def test_it_goes_into_a_body_that_is_one_argument(self) -> None:
        text = "[apis.orders.operations.it]\nset = { id = 7 }"
        found = of("POST /x", given={**OBJECT, "minProperties": 1}, text=text)
        assert sent(found, body={"note": "n"}).body == {"note": "n", "id": 7}

    def test_what_is_hidden_is_not_asked(self) -> None:
        text = '[apis.orders.operations.it]\nhide = ["X-TRACE", "note"]'
        assert list(properties(of("POST /x", parameter("X-Trace", "header"), given=OBJECT, text=text))) == ["id"]

    def test_what_is_hidden_and_required_is_a_fault(self) -> None:
        made = operation("GET /x", "it", parameter("a", required=True))
        found = offered(made, '[apis.orders.operations.it]\nhide = ["a"]')
        assert found.offers == ()
        assert "'a' is hidden and required: give it a value under `set`" in found.report.refused[0].text

    def test_what_is_not_there_is_told(self) -> None:
        made = operation("GET /x", "it", parameter("a"))
        found = offered(made, '[apis.orders.operations.it]\nhide = ["b"]')
        assert [one.text for one in found.report.remarks] == ["no parameter 'b'; there are: a"]

    @pytest.mark.parametrize(
        "line", ["set = { tenat = 1 }", 'hide = ["tenat"]', 'hide = ["Tenant"]', 'page = { size = "limit" }']
    )
    def test_a_misspelt_one_is_not_left_to_the_model(self, line: str) -> None:
        found = offered(operation("GET /x", "it", parameter("tenant")), f"[apis.orders.operations.it]\n{line}")
        assert found.offers == ()
        assert "there are: tenant" in found.report.refused[0].text

    def test_what_has_one_value_is_not_asked(self) -> None:
        given = [
            parameter("v", schema={"type": "string", "enum": ["1"]}, required=True),
            parameter("w", schema={"const": 2}, required=True),
        ]
        found = of("GET /x", *given, parameter("o", schema={"enum": ["1"]}))
        assert list(properties(found)) == ["o"]
        assert sent(found).parameters == {("query", "v"): "1", ("query", "w"): 2}

    def test_a_page_has_a_size_and_a_largest_size(self) -> None:
        text = '[apis.orders.operations.it]\npage = { size = "limit", max = 50 }'
        found = of("GET /x", parameter("limit", schema={"type": "integer", "maximum": 1_000}, required=True), text=text)
        assert properties(found)["limit"] == {"default": 25, "type": "integer", "minimum": 1, "maximum": 50}
        sizes = [sent(found), sent(found, limit=3), sent(found, limit=500)]
        assert [one.parameters["query", "limit"] for one in sizes] == [25, 3, 50]
        assert refused(found, {"limit": "many"}) == 'limit: "many" is not of type "integer"'

    @pytest.mark.parametrize(
        "given", [{}, {"type": "string"}, {"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"enum": ["5", "900"]}]
    )
    def test_a_size_of_a_page_is_a_number_whatever_the_document_says(self, given: Any) -> None:
        """A million as a text went out as it was, and a call that said nothing was refused."""
        text = '[apis.orders.operations.it]\npage = { size = "limit", max = 50 }'
        found = of("GET /x", parameter("limit", schema=given), text=text)
        sizes = [sent(found), sent(found, limit=900), sent(found, limit="900"), sent(found, limit="3")]
        assert [one.parameters["query", "limit"] for one in sizes] == [25, 50, 50, 3]
        for wrong in ([900], {"a": 900}, "900x", True, 0, -1):
            assert refused(found, {"limit": wrong})

    def test_what_can_be_no_number_is_no_size_of_a_page(self) -> None:
        text = '[apis.orders.operations.it]\npage = { size = "limit" }'
        for given in ({"type": "boolean"}, {"type": "array", "items": {"type": "integer"}}):
            made = document(operation("GET /x", "it", parameter("limit", schema=given)))
            told = [one.text for one in offered(made, text).report.refused]
            assert told == ["it: `page` names 'limit', which is no number"]
        texts = {"type": "object", "properties": {"limit": {"type": "string"}}}
        (fault,) = offered(document(operation("POST /x", "it", body=body(texts))), text).report.refused
        assert fault.text == "it: `page` names 'limit', which is no number"
        made = document(operation("POST /x", "it", body=body(texts, "form")))
        assert not offered(made, text).report.refused


class TestValues:
    @pytest.mark.parametrize(
        ("given", "value", "read"),
        [
            ({"type": "array", "items": {"type": "string"}}, '["a"]', ["a"]),
            ({"type": "object"}, '{"a": 1}', {"a": 1}),
            ({"$ref": "#/$defs/O"}, '{"a": "[1]"}', {"a": [1]}),
            ({"type": "integer"}, "5", 5),
            ({"type": "boolean"}, "true", True),
            ({"anyOf": [{"type": "object"}, {"type": "null"}]}, "{}", {}),
            ({"type": "string"}, "[1]", "[1]"),
            ({}, "[1]", "[1]"),
            ({"type": ["array", "string"]}, "[1]", "[1]"),
            ({"type": "array", "items": {"type": "object"}}, ['{"a":1}'], [{"a": 1}]),
        ],
    )
    def test_a_text_of_json_is_what_is_wanted_there(self, given: Any, value: Any, read: Any) -> None:
        definitions = {"O": {"type": "object", "properties": {"a": {"type": "array"}}}}
        assert sent(of("GET /x", parameter("p", schema=given), definitions=definitions), p=value).parameters == {
            ("query", "p"): read
        }

    @pytest.mark.parametrize("value", ["[1", "5", "", "null", "[" * 100_000])
    def test_one_that_is_not_is_refused(self, value: str) -> None:
        assert "is not of type" in refused(of("GET /x", parameter("p", schema={"type": "array"})), {"p": value})

    def test_null_is_not_sent_but_where_a_body_may_have_it(self) -> None:
        given = {"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": {"type": "string"}}}
        found = of("PATCH /x", parameter("q"), given=given)
        assert sent(found, q=None, a=None, b=None) == CallValues(body={"a": None})

    def test_null_for_what_is_required_is_told(self) -> None:
        assert refused(of("GET /x/{a}", parameter("a", "path")), {"a": None}) == '"a" is a required property'

    def test_an_unknown_argument_names_the_near_ones(self) -> None:
        found = of("GET /x", parameter("limit"), parameter("filter[status]"))
        assert refused(found, {"limt": 1}) == "no argument 'limt'; did you mean limit?"
        assert refused(found, {"filter[status]": 1}) == "no argument 'filter[status]'; did you mean filter_status?"
        assert refused(found, {"zzz": 1}) == "no argument 'zzz'; there are: limit, filter_status"
        assert refused(of("GET /x"), {"a": 1}) == "no argument 'a'; there are: none"
        assert len(refused(found, {"x" * 100_000 + "\u202e": 1})) < 200

    def test_a_dummy_for_a_tool_that_takes_nothing_is_passed_over(self) -> None:
        assert sent(of("GET /x"), random_string="") == CallValues()

    def test_a_refusal_names_the_place_and_is_short(self) -> None:
        given = {"type": "object", "properties": {"a": {"type": "array", "items": OBJECT}}}
        found = of("POST /x", given=given)
        assert refused(found, {"a": [{"id": 1}, {"id": "x"}]}) == 'a.1.id: "x" is not of type "integer"'
        assert len(refused(found, {"a": "x" * 1_000_000})) < 400

    def test_of_alternatives_the_nearest_is_told(self) -> None:
        found = of("POST /x", given={"oneOf": [OBJECT, {"type": "string"}]})
        assert refused(found, {"body": {"id": "x"}}) == 'body.id: "x" is not of type "integer"'

    def test_of_alternatives_none_is_told_that_another_value_was_chosen_against(self) -> None:
        kinds = [
            {**OBJECT, "properties": {**OBJECT["properties"], "kind": {"const": kind}}, "required": [*needed, "kind"]}
            for kind, needed in (("member", ["id"]), ("library", ["library"]))
        ]
        found = of("POST /x", given={"oneOf": kinds})
        assert refused(found, {"body": {"kind": "member"}}) == 'body: "id" is a required property'
        assert refused(found, {"body": {"kind": "library"}}) == 'body: "library" is a required property'
        assert "was expected" in refused(found, {"body": {"kind": "none"}})

    def test_the_validator_is_made_once(self) -> None:
        found = of("GET /x", parameter("p", schema={"type": "integer"}))
        assert found.arguments._violated is found.arguments._violated


def test_an_argument_has_the_parameters_words_and_example() -> None:
    given = parameter(
        "p", schema={"type": "string", "description": "schema's"}, description="its own", example="x", deprecated=True
    )
    assert properties(of("GET /x", given))["p"] == {
        "description": "its own", "deprecated": True, "examples": ["x"], "type": "string",
    }  # fmt: skip


class TestWhatNoRequestCanHave:
    def test_a_choice_of_a_path_is_none_of_nothing(self) -> None:
        state: Any = {"type": "string", "enum": ["", "active", "failed"]}
        found = of("GET /jobs/{state}", parameter("state", "path", schema=state), parameter("sort", schema=state))
        assert properties(found)["state"]["enum"] == ["active", "failed"]
        assert properties(found)["sort"]["enum"] == ["", "active", "failed"]

    @pytest.mark.parametrize("kind", ["form", "multipart"])
    @pytest.mark.parametrize("given", [{}, True])
    def test_a_form_of_which_no_more_is_said_has_members(self, kind: Any, given: Any) -> None:
        found = of("POST /x", given=given, kind=kind)
        assert properties(found)["body"] == {"type": "object"}
        assert sent(found, body={"file": "x"}).body == {"file": "x"}
        assert properties(of("POST /x", given={}, kind="json"))["body"] == {}
