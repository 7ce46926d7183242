"""What an operator has fixed or hidden, and the API's key: no model can say them in another way, on the wire."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import pytest

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.model import Body, SecurityScheme, Style, WireRequest
from mcp_server.rest.offer.guards import spellings
from mcp_server.rest.offer.offered import Offer
from mcp_server.rest.wire.address import base_of, request
from tests.kit.offers import body, document, offer, offered, operation, parameter, properties, schema

BASE: Final = base_of("https://api.example.test")
OPEN: Final[dict[str, Any]] = {"type": "object", "additionalProperties": True}
TENANT: Final[dict[str, Any]] = {"type": "object", "properties": {"tenant": {"type": "string"}}}
NOTE: Final[dict[str, Any]] = {"type": "object", "properties": {"note": {"type": "string"}}, "required": ["note"]}
DEFINITIONS: Final[dict[str, Any]] = {
    "Tenant": {**TENANT, "required": ["tenant"]},
    "Note": NOTE,
    "Both": {"allOf": [{"$ref": "#/$defs/Tenant"}, {"$ref": "#/$defs/Note"}]},
    "Way": {"anyOf": [{"$ref": "#/$defs/Both"}, {"$ref": "#/$defs/Note"}]},
}
SET: Final = '[apis.orders.operations.it]\nset = { tenant = "ours" }'
HIDE: Final = '[apis.orders.operations.it]\nhide = ["tenant"]'


def tool(given: Any, text: str = SET, kind: Any = "json", **more: Any) -> Offer:
    made = operation("POST /x", "it", body=body(given, kind))
    return offer(document(made, definitions=DEFINITIONS, **more), text)


def wire(found: Offer, **arguments: Any) -> WireRequest:
    return request(found.operation, found.arguments.values(arguments), BASE, DEFINITIONS)


class TestComposedBodies:
    """A body is composed in many ways; a value that an operator has fixed is fixed in each of them."""

    @pytest.mark.parametrize(
        "given",
        [
            {"$ref": "#/$defs/Both"},
            {"$ref": "#/$defs/Way"},
            {"allOf": [TENANT, NOTE]},
            {"oneOf": [TENANT, NOTE]},
            {"anyOf": [{"$ref": "#/$defs/Tenant"}, {"type": "string"}]},
            {"$ref": "#/$defs/Note", "properties": {"tenant": {}}},
            {"$ref": "#/$defs/Tenant", "properties": {"note": {}}},
            {**OPEN, "properties": {"tenant": {}, "note": {}}, "required": ["tenant"]},
            {**OPEN, "required": ["tenant"]},
            {"allOf": [{"allOf": [{"allOf": [{"$ref": "#/$defs/Way"}]}]}], "minProperties": 2},
            {"if": TENANT, "then": {"required": ["tenant"]}, "properties": {"note": {}, "tenant": {}}},
        ],
    )
    def test_what_is_fixed_is_sent_and_nothing_else(self, given: Any) -> None:
        found = tool(given)
        assert "tenant" not in str(schema(found))
        assert wire(found, body={"note": "n"}).body == b'{"note":"n","tenant":"ours"}'
        for name in ("tenant", "TENANT", "Tenant"):
            with pytest.raises(BadArguments, match=r"tenant"):
                found.arguments.values({"body": {"note": "n", name: "evil"}})
        with pytest.raises(BadArguments):
            found.arguments.values({"body": '{"note": "n", "tenant": "evil"}'})

    @pytest.mark.parametrize(
        ("fixed", "name"),
        [("tenant_id", "tenantId"), ("isAdmin", "is_admin"), ("isAdmin", "IS-ADMIN"), ("tenantid", "tenant_id")],
    )
    def test_nor_is_it_said_with_humps_or_with_other_separators(self, fixed: str, name: str) -> None:
        """Readers of JSON take aliases: Jackson, pydantic, Rails."""
        found = tool(OPEN, f'[apis.orders.operations.it]\nhide = ["{fixed}"]')
        assert wire(found, body={f"_{name}": 1}).body
        with pytest.raises(BadArguments, match=rf"no member '{name}': '{fixed}' is not asked for"):
            found.arguments.values({"body": {name: "evil"}})

    def test_what_the_document_has_beside_it_is_another_member(self) -> None:
        """One that is hidden because a newer one has its place."""
        given = {**OPEN, "properties": {"user_id": {}, "userId": {}, "USER_ID": {}}}
        found = tool(given, '[apis.orders.operations.it]\nhide = ["user_id"]')
        assert wire(found, body={"userId": 1}).body == b'{"userId":1}'
        for name in ("user-id", "USER_ID"):
            with pytest.raises(BadArguments, match="is not asked for"):
                found.arguments.values({"body": {name: 1}})

    @pytest.mark.parametrize("given", [{"oneOf": [TENANT, NOTE]}, OPEN, {"allOf": [{**TENANT, **OPEN}]}])
    def test_what_is_hidden_is_not_sent(self, given: Any) -> None:
        found = tool(given, HIDE)
        assert "tenant" not in str(schema(found))
        assert wire(found, body={"note": "n"}).body == b'{"note":"n"}'
        with pytest.raises(BadArguments, match=r"'tenant' is not asked for"):
            found.arguments.values({"body": {"note": "n", "tenant": "evil"}})

    @pytest.mark.parametrize("value", [[{"tenant": "evil"}], "tenant", 5])
    def test_what_has_no_members_cannot_have_it(self, value: Any) -> None:
        found = tool({"anyOf": [TENANT, {"type": ["array", "string", "integer"]}]})
        with pytest.raises(BadArguments, match="body: must be an object"):
            found.arguments.values({"body": value})

    def test_a_header_that_is_hidden_asks_nothing_of_a_body(self) -> None:
        given = body({"type": "array", "items": {}})
        made = operation("POST /x", "it", parameter("X-Trace", "header"), body=given)
        found = offer(made, '[apis.orders.operations.it]\nhide = ["X-Trace"]')
        assert found.arguments.values({"body": [1]}).body == [1]
        assert found.arguments.values({"body": [{"X-Trace": 1}]}).body == [{"X-Trace": 1}]

    def test_a_definition_that_others_have_too_is_left_as_it_is(self) -> None:
        first = operation("POST /x", "it", body=body({"$ref": "#/$defs/Both"}))
        second = operation("POST /y", "other", body=body({"$ref": "#/$defs/Both"}))
        fixed, free = offered(document(first, second, definitions=DEFINITIONS), SET).offers
        assert "tenant" not in str(schema(fixed))
        assert "tenant" in str(schema(free))

    @pytest.mark.parametrize(
        ("given", "text", "said"),
        [
            ({"type": "object", "properties": {"order": TENANT}}, SET, "`set` names no parameter 'tenant'"),
            ({"type": "array", "items": TENANT}, SET, "`set` names no parameter 'tenant'"),
            ({"oneOf": [NOTE, {"type": "string"}]}, SET, "`set` names no parameter 'tenant'"),
            ({"$ref": "#/$defs/Both"}, HIDE, "'tenant' is hidden and required"),
            ({"oneOf": [{"$ref": "#/$defs/Tenant"}, NOTE]}, HIDE, "'tenant' is hidden and required"),
        ],
    )
    def test_what_cannot_be_is_refused_by_its_name(self, given: Any, text: str, said: str) -> None:
        made = operation("POST /x", "it", body=body(given))
        found = offered(document(made, definitions=DEFINITIONS), text)
        assert found.offers == ()
        assert said in found.report.refused[0].text

    @pytest.mark.parametrize("kind", ["text", "bytes"])
    def test_a_body_of_one_piece_has_no_members(self, kind: Any) -> None:
        found = offered(document(operation("POST /x", "it", body=body(TENANT, kind))), SET)
        assert "`set` names no parameter 'tenant'" in found.report.refused[0].text

    def test_what_is_composed_of_too_much_is_refused(self) -> None:
        fan: dict[str, Any] = {f"A{i}": {"allOf": [{"$ref": f"#/$defs/A{i + 1}"}] * 2} for i in range(30)}
        fan |= {"A30": TENANT, "Round": {**TENANT, "anyOf": [{"$ref": "#/$defs/Round"}]}}
        for name in ("A0", "Round"):
            made = operation("POST /x", "it", body=body({"$ref": f"#/$defs/{name}"}))
            found = offered(document(made, definitions=fan), SET)
            assert "tenant: its body is composed of too much" in found.report.refused[0].text


class TestForms:
    @pytest.mark.parametrize("kind", ["form", "multipart"])
    @pytest.mark.parametrize(
        "name", ["tenant", "Tenant", "tenant[]", "tenant[a]", " tenant", "%74enant", "tenant\x00x", "ten-ant"]
    )
    def test_no_member_is_read_as_what_is_fixed(self, kind: Any, name: str) -> None:
        found = tool({**OPEN, "properties": {"tenant": {}}}, kind=kind)
        assert b"ours" in wire(found, body={"note": "n"}).body
        with pytest.raises(BadArguments, match="is not asked for"):
            found.arguments.values({"body": {name: "evil"}})

    @pytest.mark.parametrize(
        ("style", "value"),
        [("form", {"tenant": "evil"}), ("form", {"Tenant[]": "evil"}), ("deepObject", {"tenant": "evil"})],
    )
    @pytest.mark.parametrize("spread", [True, False])
    def test_nor_is_a_member_of_a_member(self, style: str, value: Any, spread: bool) -> None:
        fixed = "tenant" if style == "form" else "more[tenant]"
        shape = {"type": "object", "properties": {fixed: {}, "more": OPEN}}
        given = Body(
            kind="form",
            media_type="application/x-www-form-urlencoded",
            required=True,
            schema=shape if spread else {**OPEN, **shape, "additionalProperties": True},
            encoding={"more": Style(name=style, explode=True)},
        )
        text = f'[apis.orders.operations.it]\nset = {{ "{fixed}" = "ours" }}'
        found = offer(operation("POST /x", "it", body=given), text)

        def told(more: Any) -> Any:
            return {"more": more} if spread else {"body": {"more": more}}

        assert dict(parse_qsl(wire(found, **told({"a": "b"})).body.decode()))[fixed] == "ours"
        with pytest.raises(BadArguments, match="is not asked for"):
            found.arguments.values(told(value))


KEY: Final = {"k": SecurityScheme(kind="apiKey", place="query", parameter="api_key")}
COOKIE: Final = {"k": SecurityScheme(kind="apiKey", place="cookie", parameter="api_key")}
SPELLINGS: Final = (
    "api_key", "API_KEY", "api_key[]", "api_key[0]", "api.key", "api key", " api_key", "api%5Fkey", "api%255Fkey",
    "api_key\x00", "api_key\r\nx", "\uff41pi_key", "[api_key]", "api_key][x", "api[key", "api[key[", "apiKey", "ApiKey", "apikey", "api-Key[]", "api%5bkey",
)  # fmt: skip


class TestNamesThatAModelChooses:
    """An object that is written as pairs is any name; two of one name are the last, the first, or both."""

    @pytest.mark.parametrize("name", SPELLINGS)
    @pytest.mark.parametrize("place", ["query", "cookie"])
    def test_none_is_the_key_of_the_api(self, name: str, place: Any) -> None:
        schemes = KEY if place == "query" else COOKIE
        found = offer(operation("GET /x", "it", parameter("f", place, OPEN)), schemes=schemes)
        assert "a=1" in str(wire(found, f={"a": "1"}))
        with pytest.raises(BadArguments, match="f: no member"):
            found.arguments.values({"f": {name: "model"}})

    @pytest.mark.parametrize("how", ["set", "hide"])
    @pytest.mark.parametrize("name", SPELLINGS)
    def test_none_is_what_an_operator_says(self, name: str, how: str) -> None:
        said = 'set = { api_key = "ours" }' if how == "set" else 'hide = ["api_key"]'
        given = [parameter("f", schema=OPEN), parameter("api_key")]
        found = offer(operation("GET /x", "it", *given), f"[apis.orders.operations.it]\n{said}")
        pairs = parse_qsl(urlsplit(wire(found, f={"a": "1"}).url).query)
        assert sorted(pairs) == ([("a", "1"), ("api_key", "ours")] if how == "set" else [("a", "1")])
        with pytest.raises(BadArguments, match="f: no member"):
            found.arguments.values({"f": {name: "model"}})

    @pytest.mark.parametrize("name", ["filter[isAdmin", "filter.is_admin", "Filter[is-admin][x]", "filter[isadmin]"])
    def test_nor_is_a_part_of_a_path_in_other_words(self, name: str) -> None:
        assert spellings.ProtectedNames(["filter[is_admin]"]).taken(name) == "filter[is_admin]"

    @pytest.mark.parametrize("inner", [{"tenant": 1}, {"TENANT": 1}, {"tenant": {"x": 1}}, {"][tenant": 1}])
    def test_a_deep_object_is_not_the_fixed_member_of_itself(self, inner: Any) -> None:
        deep = parameter("filter", schema=OPEN)
        deep = type(deep)(**{**_fields(deep), "style": Style(name="deepObject", explode=True)})
        text = '[apis.orders.operations.it]\nset = { "filter[tenant]" = "ours" }'
        found = offer(operation("GET /x", "it", deep, parameter("filter[tenant]")), text)
        query = urlsplit(wire(found, filter={"status": "open", "list": [1]}).url).query
        assert ("filter[tenant]", "ours") in parse_qsl(query)
        with pytest.raises(BadArguments, match="filter: no member"):
            found.arguments.values({"filter": inner})

    def test_one_that_holds_what_is_fixed_would_replace_it(self) -> None:
        text = '[apis.orders.operations.it]\nset = { "filter[tenant]" = "ours" }'
        found = offer(operation("GET /x", "it", parameter("f", schema=OPEN), parameter("filter[tenant]")), text)
        with pytest.raises(BadArguments, match="f: no member"):
            found.arguments.values({"f": {"filter": "x"}})

    def test_a_whole_query_is_not_the_key_either(self) -> None:
        whole = parameter("q", "querystring", OPEN)
        style = Style(name="content", explode=False, media_type="application/x-www-form-urlencoded")
        whole = type(whole)(**{**_fields(whole), "style": style})
        found = offer(operation("GET /x", "it", whole), schemes=KEY)
        assert wire(found, q={"a": "1"}).url.endswith("?a=1")
        with pytest.raises(BadArguments, match="q: no member"):
            found.arguments.values({"q": {"Api_Key": "model"}})

    def test_what_is_one_text_brings_no_names(self) -> None:
        style = Style(name="content", explode=False, media_type="application/json")
        given = parameter("q", schema=OPEN)
        given = type(given)(**{**_fields(given), "style": style})
        found = offer(operation("GET /x", "it", given), schemes=KEY)
        assert "api_key=" not in wire(found, q={"api_key": "model"}).url

    def test_a_member_that_is_nobodys_is_sent(self) -> None:
        found = offer(operation("GET /x", "it", parameter("f", schema=OPEN)), schemes=KEY)
        pairs = {"api_keys": "1", "api": "2", "x[api_key]": "3", "api[key]": "4", "_api_key": "5", "xapi[key": "6"}
        assert dict(parse_qsl(urlsplit(wire(found, f=pairs).url).query)) == pairs

    def test_long_names_take_no_longer_than_they_are(self) -> None:
        found = offer(operation("GET /x", "it", parameter("f", schema=OPEN)), schemes=KEY)
        found.arguments.values({"f": {"a." * 20_000: "x", "%25" * 10_000: "y", "a_" * 20_000: "z", "a[" * 20_000: "z"}})


class TestMembersThatHaveAnotherParametersName:
    """AWS: `Tier` has a `Version`, and so has the query of each of its calls. What no call may say is not shown."""

    TIER: Final[Any] = {"type": "object", "properties": {"Name": {}, "Version": {}}, "required": ["Version"]}
    ONE: Final[Any] = {"enum": ["2010-12-01"]}

    @pytest.mark.parametrize(
        "tier",
        [TIER, {"$ref": "#/$defs/Tier"}, {"allOf": [{"$ref": "#/$defs/Tier"}], "description": "which"}],
    )
    @pytest.mark.parametrize("version", [ONE, {"type": "string"}])
    def test_it_is_not_asked_and_the_report_says_so(self, tier: Any, version: Any) -> None:
        given = parameter("Tier", schema=tier), parameter("Version", schema=version, required=True)
        found = offered(
            document(operation("GET /x", "it", *given), definitions={**DEFINITIONS, "Tier": self.TIER}),
        )
        (only,) = found.offers
        assert "Version" not in str(properties(only)["Tier"]) and "Name" in str(schema(only))
        assert [one.text for one in found.report.remarks] == [
            "'Tier' writes its members by their own names, and other parameters have: 'Version'"
        ]
        more = {} if version is self.ONE else {"Version": "2010-12-01"}
        query = urlsplit(wire(only, Tier={"Name": "web"}, **more).url).query
        assert sorted(parse_qsl(query)) == [("Name", "web"), ("Version", "2010-12-01")]

    def test_a_deep_object_has_names_of_its_own(self) -> None:
        deep = parameter("Tier", schema=self.TIER)
        deep = type(deep)(**{**_fields(deep), "style": Style(name="deepObject", explode=True)})
        found = offered(operation("GET /x", "it", deep, parameter("Version"), parameter("Tier[Name]", schema=self.ONE)))
        assert list(properties(found.offers[0])["Tier"]["properties"]) == ["Version"]

    def test_what_an_operator_says_is_not_shown_either(self) -> None:
        given = parameter("f", schema={"type": "object", "properties": {"tenant": {}, "note": {}}})
        found = offer(operation("GET /x", "it", given, parameter("tenant")), SET)
        assert list(properties(found)["f"]["properties"]) == ["note"]

    def test_what_is_composed_of_too_much_is_shown_and_refused(self) -> None:
        around = {**self.TIER, "anyOf": [{"$ref": "#/$defs/Tier"}]}
        given = parameter("f", schema={"$ref": "#/$defs/Tier"}), parameter("Version", schema=self.ONE, required=True)
        made = document(operation("GET /x", "it", *given), definitions={"Tier": around})
        (only,) = offered(made).offers
        with pytest.raises(BadArguments, match="'Version' is not asked for"):
            only.arguments.values({"f": {"Version": "1"}})


def _fields(found: Any) -> Mapping[str, Any]:
    return {name: getattr(found, name) for name in found.__struct_fields__}


class TestHeaders:
    def test_a_header_that_says_as_whom_is_no_argument(self) -> None:
        given = [
            parameter(name, "header") for name in ("X-Tenant", "x_tenant", "X_Api_Key", "Content_Length", "X-More")
        ]
        text = '[apis.orders.identity]\nmode = "secret"\nsecret = "s"\nheader = "X-Api-Key"\nforward = ["X-Tenant"]'
        assert list(properties(offer(operation("GET /x", "it", *given), text))) == ["X-More"]


def test_names_are_one_but_for_letters_and_separators() -> None:
    assert spellings.same("Api-Key", "api_key")
    assert not spellings.same("api_key", "apikey")
    assert not spellings.ProtectedNames(())


class TestPages:
    """The size of a page is the model's to say, and its cap the operator's: there is one way to say it."""

    PAGE: Final = '[apis.orders.operations.it]\npage = { size = "limit", max = 50 }'

    @pytest.mark.parametrize("name", ["limit", "Limit", "limit[]", "%6cimit", "LIMIT "])
    def test_no_member_of_a_parameter_is_read_as_the_size(self, name: str) -> None:
        more = parameter("more", schema=OPEN)
        spread = type(more)(**{**_fields(more), "style": Style(name="form", explode=True)})
        found = offer(operation("GET /x", "it", parameter("limit", schema={"type": "integer"}), spread), self.PAGE)
        query = parse_qsl(urlsplit(wire(found, limit=900, more={"a": "b"}).url).query)
        assert sorted(query) == [("a", "b"), ("limit", "50")]
        with pytest.raises(BadArguments, match="'limit' is not asked for"):
            found.arguments.values({"more": {name: "900"}})

    @pytest.mark.parametrize("name", ["limit", "Limit", "limit[]"])
    def test_nor_is_a_member_of_a_forms_member(self, name: str) -> None:
        given = Body(
            kind="form",
            media_type="application/x-www-form-urlencoded",
            required=True,
            schema={"type": "object", "properties": {"limit": {"type": "string"}, "more": OPEN}},
            encoding={"more": Style(name="form", explode=True)},
        )
        found = offer(operation("POST /x", "it", body=given), self.PAGE)
        assert sorted(parse_qsl(wire(found, limit=900, more={"a": "b"}).body.decode())) == [("a", "b"), ("limit", "50")]
        with pytest.raises(BadArguments, match="'limit' is not asked for"):
            found.arguments.values({"more": {name: "900"}})
