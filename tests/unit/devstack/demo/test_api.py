"""The sample REST API: its document is what it does, and only its own tokens open it."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import httpx
import jsonschema_rs
import pytest
import yaml  # type: ignore[import-untyped]
from joserfc.jwk import ECKey, OctKey
from litestar import Litestar

from devstack.demo.api.app import AUDIENCE, DOCUMENT, OPERATIONS, create
from devstack.demo.api.book import Book
from devstack.demo.api.callers import COOLDOWN_S, LEEWAY_S, Judge, Trust, Untrusted
from devstack.demo.api.problems import Problem
from tests.kit.issuers import signed
from tests.kit.tokens import OUT, b64, part

ISSUER = "http://localhost:8180/realms/mcp"
TRUST = Trust(ISSUER, AUDIENCE, ISSUER)
KEY, OTHER = (ECKey.generate_key("P-256", {"kid": "k", "alg": "ES256", "use": "sig"}) for _ in range(2))
HEADER = {"alg": "ES256", "typ": "JWT", "kid": "k"}
NOW = int(time.time())
ASK = {"aud": AUDIENCE, "iss": ISSUER, "sub": "b0b", "azp": "http://localhost:8000/mcp", "typ": "Bearer", "iat": NOW,
       "exp": NOW + 86_400, "scope": "orders:read orders:write", "preferred_username": "bob"}  # fmt: skip
"""Of when this module was read, which may be a quarter of an hour before its tests run: so long it must be good."""
DOC: dict[str, Any] = yaml.safe_load(DOCUMENT.read_bytes())
Client = httpx.AsyncClient


def token(key: ECKey = KEY, header: dict[str, Any] | None = None, **changed: Any) -> str:
    """A token for the API, with what the test changes."""
    claims = {name: value for name, value in (ASK | changed).items() if value is not OUT}
    return signed({name: value for name, value in (HEADER | (header or {})).items() if value is not OUT}, claims, key)


class Keys(httpx.AsyncBaseTransport):
    """Where the issuer's keys are published; `published` None is an issuer that is away."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] | None = [KEY.as_dict(private=False)]
        self.asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.published is None:
            raise httpx.ConnectError("away")
        encryption = {"kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "e", "n": "AQAB", "e": "AQAB"}
        return httpx.Response(200, json={"keys": [*self.published, encryption]})


@asynccontextmanager
async def opened(database: str = ":memory:") -> AsyncIterator[Litestar]:
    app = create(TRUST, database, Keys())
    async with app.lifespan():
        yield app


@pytest.fixture(scope="module")
async def app() -> AsyncIterator[Litestar]:
    async with opened() as running:
        yield running


def client(app: Litestar) -> Client:
    headers = {"authorization": f"Bearer {token()}"}
    return Client(transport=httpx.ASGITransport(cast("Any", app)), base_url="http://localhost:8100", headers=headers)


@pytest.fixture
async def api(app: Litestar) -> AsyncIterator[Client]:
    """A client with a good token, and a book as it was on the first day."""
    app.state.book.close()
    app.state.book = Book()
    async with client(app) as http:
        yield http


@pytest.fixture
def keys() -> Keys:
    return Keys()


def documented(operation: dict[str, Any], answer: httpx.Response) -> None:
    """The answer is one that the document names, and its body has that schema."""
    found = operation["responses"][str(answer.status_code)]
    found = DOC["components"]["responses"][found["$ref"].rpartition("/")[2]] if "$ref" in found else found
    if "content" not in found:
        assert answer.content == b""
        return
    media_type, content = next(iter(found["content"].items()))
    assert answer.headers["content-type"].partition(";")[0] == media_type
    jsonschema_rs.Draft202012Validator({**content["schema"], "components": DOC["components"]}).validate(answer.json())


def operations() -> dict[str, tuple[str, str, dict[str, Any]]]:
    return {
        operation["operationId"]: (method, path, operation)
        for path, item in DOC["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def test_the_document_names_every_operation_and_its_scope() -> None:
    written = {
        (method.upper(), path, *operation.get("security", DOC["security"])[0]["realm"])
        for method, path, operation in operations().values()
    }
    served = {
        (method, path.replace(":str}", "}").replace(":int}", "}"), handler.opt["scope"])
        for handler in OPERATIONS
        for path in handler.paths
        for method in handler.http_methods
        if method != "OPTIONS"
    }
    assert written == served


async def test_the_document_is_there_for_everybody(api: Client) -> None:
    api.headers.pop("authorization")
    assert (await api.get("/openapi.yaml")).content == DOCUMENT.read_bytes()
    assert (await api.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("operation", "path", "body", "status"),
    [
        ("listProducts", "/products", None, 200),
        ("listProducts", "/products?q=tea%20black&category=tea&category=book&max_price=2000&in_stock=true", None, 200),
        ("listProducts", "/products?category=shoes", None, 422),
        ("listProducts", "/products?limit=101", None, 422),
        ("getProduct", "/products/TEA-01", None, 200),
        ("getProduct", "/products/TEA-99", None, 404),
        ("listOrders", "/orders?status=open&sku=TEA-02&created_after=2026-01-02T00:00:00Z&limit=2&offset=1", None, 200),
        ("listOrders", "/orders?status=lost", None, 422),
        ("listOrders", "/orders?created_after=yesterday", None, 422),
        ("getOrder", "/orders/1", None, 200),
        ("getOrder", "/orders/999", None, 404),
        ("getOrder", "/orders/0", None, 422),
        ("createOrder", "/orders", {"sku": "TEA-01", "quantity": 2, "note": None}, 201),
        ("createOrder", "/orders", {"sku": "TEA-01", "quantity": 0}, 422),
        ("createOrder", "/orders", {"sku": "TEA-01", "quantity": 1, "price": 0}, 422),
        ("createOrder", "/orders", {"sku": "TEA-99", "quantity": 1}, 404),
        ("createOrder", "/orders", {"sku": "TEA-03", "quantity": 1}, 409),
        ("cancelOrder", "/orders/1", None, 204),
        ("cancelOrder", "/orders/4", None, 409),
        ("cancelOrder", "/orders/999", None, 404),
        ("refundOrder", "/orders/4/refund", {"reason": "broken", "amount": 100}, 200),
        ("refundOrder", "/orders/4/refund", {"reason": "broken"}, 200),
        ("refundOrder", "/orders/4/refund", {"reason": "no"}, 422),
        ("refundOrder", "/orders/4/refund", {"reason": "broken", "amount": 10_000_000}, 409),
        ("refundOrder", "/orders/1/refund", {"reason": "broken"}, 409),
        ("refundOrder", "/orders/999/refund", {"reason": "broken"}, 404),
    ],
)  # fmt: skip
async def test_answers_are_those_of_the_document(
    api: Client, operation: str, path: str, body: Any, status: int
) -> None:
    method, _, described = operations()[operation]
    answer = await api.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    documented(described, answer)


async def test_a_field_that_breaks_a_rule_is_named(api: Client) -> None:
    answer = (await api.post("/orders", json={"sku": "tea", "quantity": 1})).json()
    assert (answer["title"], answer["errors"][0]["field"]) == (HTTPStatus(422).phrase, "sku")
    assert (await api.get("/orders?limit=0")).json()["errors"][0]["field"] == "limit"


async def test_filters_filter(api: Client) -> None:
    found = (
        await api.get("/products", params={"category": ["tea", "cup"], "in_stock": "true", "max_price": 1200})
    ).json()
    assert [one["sku"] for one in found["items"]] == ["TEA-01", "CUP-01"]
    assert [one["sku"] for one in (await api.get("/products", params={"q": "two % &"})).json()["items"]] == []
    assert [one["sku"] for one in (await api.get("/products", params={"q": "& saucer"})).json()["items"]] == ["CUP-02"]
    assert {one["status"] for one in (await api.get("/orders?status=cancelled&limit=100")).json()["items"]} == {
        "cancelled"
    }
    late = (await api.get("/orders", params={"created_after": "2026-01-20T11:59:00+03:00"})).json()
    assert (late["total"], min(one["created_at"] for one in late["items"])[:10]) == (11, "2026-01-20")


async def test_pages_lead_through_the_whole_list(api: Client) -> None:
    path, seen = "/orders?status=shipped&limit=4", list[int]()
    while path:
        answer = await api.get(path)
        assert answer.json()["total"] == 15
        seen += [one["id"] for one in answer.json()["items"]]
        path = answer.links.get("next", {}).get("url", "")
    assert (len(seen), seen) == (15, sorted({*seen}, reverse=True))


async def test_an_order_takes_from_stock_and_a_cancellation_puts_it_back(api: Client) -> None:
    async def stock() -> int:
        return int((await api.get("/products/KET-02")).json()["stock"])

    before = await stock()
    made = await api.post("/orders", json={"sku": "KET-02", "quantity": before})
    assert (await stock(), made.json()["created_by"], made.json()["status"]) == (0, "bob", "open")
    assert (await api.get(made.headers["location"])).json() == made.json()
    assert (await api.get("/orders?mine=true")).json()["items"] == [made.json()]
    refused = await api.post("/orders", json={"sku": "KET-02", "quantity": 1})
    assert (refused.status_code, refused.json()["detail"]) == (409, "there are 0 of KET-02, not 1")
    assert (await api.delete(made.headers["location"])).status_code == 204
    assert (await stock(), (await api.delete(made.headers["location"])).status_code) == (before, 409)


async def test_a_refund_is_paid_once(api: Client) -> None:
    price = (await api.get("/orders/4")).json()["price"]
    assert (await api.post("/orders/4/refund", json={"reason": "broken"})).json()["refunded"] == price
    assert (await api.post("/orders/4/refund", json={"reason": "broken"})).status_code == 409


async def test_the_book_is_kept_in_a_file(tmp_path: Path) -> None:
    for number in (31, 32):
        async with opened(str(tmp_path / "book.sqlite")) as app, client(app) as http:
            assert (await http.post("/orders", json={"sku": "TEA-01", "quantity": 1})).json()["id"] == number


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(token(aud="http://localhost:8000/mcp"), "audience", id="the MCP server's audience"),
        pytest.param(token(aud=[AUDIENCE, "http://localhost:8000/mcp"]), "audience", id="both audiences"),
        pytest.param(token(aud=OUT), "audience", id="no audience"),
        pytest.param(token(aud="orders-api/"), "audience", id="almost the audience"),
        pytest.param(token(iss="http://localhost:8180/realms/other"), "issuer", id="another issuer"),
        pytest.param(token(exp=NOW - LEEWAY_S - 1), "expired", id="expired"),
        pytest.param(token(exp=OUT), "expired", id="no end"),
        pytest.param(token(iat=OUT), "times", id="no beginning"),
        pytest.param(token(exp="9999999999"), "times", id="an end that is a text"),
        pytest.param(token(nbf=NOW + 3600), "not yet valid", id="not yet"),
        pytest.param(token(typ="ID"), "no access token", id="an ID token"),
        pytest.param(token(typ="Refresh"), "no access token", id="a refresh token"),
        pytest.param(token(header={"typ": "logout+jwt"}), "no access token", id="a logout token"),
        pytest.param(token(header={"typ": OUT}), "no access token", id="no type"),
        pytest.param(token(cnf={"jkt": "x"}), "bound to a key", id="bound by DPoP"),
        pytest.param(token(sub=OUT), "sub, azp or scope", id="nobody's"),
        pytest.param(token(azp=OUT), "sub, azp or scope", id="no client's"),
        pytest.param(token(scope=["orders:read"]), "sub, azp or scope", id="scopes as a list"),
        pytest.param(token(OTHER), "signature", id="another key of that name"),
        pytest.param(token(header={"kid": "unknown"}), "signature", id="a key that nobody has"),
        pytest.param(token(header={"alg": "RS256"}), "signature", id="another algorithm than the key's"),
        pytest.param(token(header={"alg": "HS256"}), "algorithm", id="HMAC"),
        pytest.param(token(header={"alg": "none"}), "algorithm", id="none"),
        pytest.param(token(header={"crit": ["x"], "x": 1}), "algorithm", id="a header that must be understood"),
        pytest.param(f"{part(HEADER)}.{b64(b'[1]')}.{b64(b'x')}", "signature", id="no claims"),
        pytest.param("garbage", "no JWT", id="garbage"),
        pytest.param("a" * 20_000, "too long", id="long"),
    ],
)
async def test_a_token_that_is_not_for_this_api_opens_nothing(
    api: Client, sent: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "orders-api"):
        answer = await api.get("/orders", headers={"authorization": f"Bearer {sent}"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
    assert answer.json()["detail"] == "the token is not for this API"
    assert reason in caplog.text
    assert sent not in caplog.text


@pytest.mark.parametrize("sent", [[], [""], ["Basic Ym9iOmJvYg=="], ["Bearer"]])
async def test_who_sends_no_bearer_token_is_asked_for_one(api: Client, sent: list[str]) -> None:
    api.headers.pop("authorization")
    answer = await api.get("/orders", headers=[("authorization", one) for one in sent])
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_each_operation_wants_its_scope(api: Client) -> None:
    reads = {"authorization": f"Bearer {token(scope='openid orders:read')}"}
    assert (await api.get("/orders/1", headers=reads)).status_code == 200
    refused = await api.delete("/orders/1", headers=reads)
    assert refused.status_code == 403
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="orders:write"'
    writes = {"authorization": f"Bearer {token(scope='orders:write')}"}
    assert (await api.get("/orders/1", headers=writes)).status_code == 403
    documented(operations()["cancelOrder"][2], refused)


async def test_the_log_says_who_called_through_which_client(api: Client, caplog: pytest.LogCaptureFixture) -> None:
    sent = token()
    with caplog.at_level(logging.INFO, "orders-api"):
        (await api.get("/orders/1?secret=x", headers={"authorization": f"Bearer {sent}"}))
    assert caplog.messages == ["/orders/1  aud=orders-api sub=b0b azp=http://localhost:8000/mcp"]


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


async def test_keys_are_fetched_when_one_is_unknown_and_seldom(keys: Keys) -> None:
    clock = Clock()
    async with httpx.AsyncClient(transport=keys) as http:
        judge = Judge(TRUST, http, clock)
        for _ in range(3):
            assert (await judge.caller(token())).subject == "b0b"
        assert keys.asked == 1
        for _ in range(3):
            with pytest.raises(Untrusted, match="signature"):
                await judge.caller(token(header={"kid": "unknown"}))
        assert keys.asked == 2
        keys.published = [ECKey.import_key({**OTHER.as_dict(private=True), "kid": "new"}).as_dict(private=False)]
        clock.now += COOLDOWN_S
        assert (await judge.caller(token(OTHER, header={"kid": "new"}))).subject == "b0b"
        assert keys.asked == 3


async def test_an_issuer_that_is_away_is_no_refusal_of_the_caller(keys: Keys) -> None:
    keys.published = None
    async with httpx.AsyncClient(transport=keys) as http:
        judge = Judge(TRUST, http)
        with pytest.raises(Problem) as away:
            await judge.caller(token())
        assert (away.value.status, away.value.headers) == (503, {"retry-after": "1"})
        keys.published = [KEY.as_dict(private=False), OctKey.generate_key(256).as_dict(private=True)]
        assert (await judge.caller(token())).client == "http://localhost:8000/mcp"
        keys.published = None
        assert (await judge.caller(token())).client == "http://localhost:8000/mcp"


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [("GET", "/nosuch", b"", 404), ("PATCH", "/orders/1", b"{}", 405), ("POST", "/orders", b"{", 400), ("POST", "/orders", b"1" * 70_000, 413)],
)  # fmt: skip
async def test_whatever_else_is_refused_is_a_problem_too(
    api: Client, method: str, path: str, content: bytes, status: int
) -> None:
    answer = await api.request(method, path, content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
