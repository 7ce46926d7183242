"""What says another method than the operation's: no argument of a model does, whatever a document asks for."""

from typing import Any, Final

import msgspec
import pytest

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.model import FORM_TYPE, Style, WireRequest
from mcp_server.rest.offer.guards.spellings import MAX_LENGTH, MAX_NAMES
from mcp_server.rest.offer.offered import Offer
from mcp_server.rest.wire.address import base_of, request
from tests.kit.offers import body, document, offer, offered, operation, parameter, properties, schema

BASE: Final = base_of("https://api.example.test")
HEADERS: Final = ("X-HTTP-Method-Override", "x-http-method", "X-Method-Override", "X_HTTP_Method_Override")
OPEN: Final[dict[str, Any]] = {"type": "object", "additionalProperties": True}
NAMED: Final[dict[str, Any]] = {"type": "object", "properties": {"note": {}, "_method": {"type": "string"}}}
OPTIONAL: Final[tuple[tuple[str, Any], ...]] = (("X-HTTP-Method-Override", "header"), ("_method", "query"))
SET: Final = '[apis.orders.operations.it]\nset = {{ "{}" = "PUT" }}'


def wire(found: Offer, **arguments: Any) -> WireRequest:
    return request(found.operation, found.arguments.values(arguments), BASE)


@pytest.mark.parametrize(
    ("name", "place"),
    [*((name, "header") for name in (*HEADERS, "_method")), *((name, "query") for name in ("_method", "_METHOD", "_method[]", "%5Fmethod"))],
)  # fmt: skip
def test_no_parameter_says_it(name: str, place: Any) -> None:
    found = offer(operation("POST /x", "it", parameter(name, place), parameter("method"), parameter("note", "header")))
    assert sorted(properties(found)) == ["method", "note"]
    with pytest.raises(BadArguments, match="no argument"):
        wire(found, **{name: "DELETE"})


def test_what_is_left_out_is_in_the_report_unless_the_operator_says_so() -> None:
    made = document(operation("POST /x", "it", *(parameter(*at) for at in OPTIONAL), body=body(NAMED)))
    told = [f"{name!r} says another method, and is left out" for name in ("X-HTTP-Method-Override", "_method")]
    remarks = [one.text.partition(":")[0] for one in offered(made).report.remarks]
    assert remarks == told
    hidden = '[apis.orders.operations.it]\nhide = ["x-http-method-override", "_method"]'
    assert not offered(made, hidden).report.remarks


@pytest.mark.parametrize("value", [{"type": "string"}, {"enum": ["DELETE"]}, {"const": "DELETE"}])
@pytest.mark.parametrize(("name", "place"), [(HEADERS[0], "header"), ("_method", "query")])
def test_what_has_to_say_it_is_no_tool_unless_the_operator_does(name: str, place: Any, value: Any) -> None:
    """Not even the document: a POST that deletes is judged as a POST, and a GET as what changes nothing."""
    made = document(operation("POST /x", "it", parameter(name, place, value, required=True)))
    found = offered(made)
    assert not found.offers
    assert f"{name!r} says another method, and is required: give it a value under `set`" in str(found.report)
    said = wire(offer(made, SET.format(name)))
    assert ("PUT" in said.url) is (place == "query")
    assert ((name.lower(), "PUT") in said.headers) is (place == "header")


def test_elsewhere_it_may_be_called_so() -> None:
    given: Any = {"type": "object", "properties": {"x_http_method": {}}}
    made = operation("POST /x", "it", parameter("X-HTTP-Method"), body=body(given))
    assert sorted(properties(offer(made))) == ["X-HTTP-Method", "x_http_method"]
    assert wire(offer(operation("GET /x/{_method}", "it", parameter("_method", "path"))), _method="a").url.endswith(
        "/x/a"
    )


@pytest.mark.parametrize("given", ["_method", "_METHOD[]", ".method"])  # PHP makes `_method` of the last
@pytest.mark.parametrize("place", ["query", "querystring"])
def test_no_member_of_a_query_says_it(place: Any, given: str) -> None:
    spread = parameter("filter", place, OPEN)
    if place == "querystring":
        spread = msgspec.structs.replace(spread, style=Style(name="content", explode=False, media_type=FORM_TYPE))
    found = offer(operation("POST /x", "it", spread))
    assert wire(found, filter={"method": "a"}).url.endswith("?method=a")
    with pytest.raises(BadArguments, match="'_method' is not asked for"):
        wire(found, filter={given: "DELETE"})


@pytest.mark.parametrize("kind", ["json", "form", "multipart"])
@pytest.mark.parametrize("given", [OPEN, NAMED, {**NAMED, "additionalProperties": False}, {"allOf": [NAMED]}])
def test_no_member_of_a_body_says_it(kind: Any, given: Any) -> None:
    """Laravel reads it of JSON, too."""
    found = offer(operation("POST /x", "it", body=body(given, kind)))
    whole = "body" in properties(found)
    assert whole or list(properties(found)) == ["note"]
    assert "allOf" in given or "_method" not in str(schema(found))
    said = {"note": "n", "_method": "DELETE"}
    with pytest.raises(BadArguments, match="_method"):
        wire(found, **({"body": said} if whole else said))
    assert b"n" in wire(found, **({"body": {"note": "n"}} if whole else {"note": "n"})).body


@pytest.mark.parametrize("style", [Style(name="form", explode=True), Style(name="deepObject", explode=True)])
@pytest.mark.parametrize(("count", "length"), [(MAX_NAMES + 1, 2), (1, MAX_LENGTH), (9, MAX_LENGTH // 8)])
def test_more_names_than_are_looked_at_are_refused(style: Style, count: int, length: int) -> None:
    """Each is looked at in all its spellings: four megabytes of them would hold the loop for everybody."""
    many = {"a." * (length // 2) + str(number): 1 for number in range(count)}
    spread = msgspec.structs.replace(parameter("filter", schema=OPEN), style=style)
    made = operation("POST /x", "it", spread, body=body(OPEN, "form", required=False))
    for given, name in (({"filter": many}, "filter"), ({"body": many}, "body")):
        with pytest.raises(BadArguments, match=f"^{name}: over {MAX_NAMES} members, or"):
            wire(offer(made), **given)


def test_a_member_that_is_required_is_the_operators_to_say() -> None:
    given = {**NAMED, "required": ["_method"]}
    made = document(operation("POST /x", "it", body=body(given)))
    assert not offered(made).offers
    assert wire(offer(made, SET.format("_method")), note="n").body == b'{"note":"n","_method":"PUT"}'
