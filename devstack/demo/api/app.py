"""The application: the operations of orders.yaml, each guarded by the scope that stands there."""

import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import httpx
import msgspec
from litestar import Litestar, Request, Response, delete, get, post
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody, PathParameter, QueryParameter

from devstack.demo.api import problems
from devstack.demo.api.book import Book, Category, Filter, NotNow, NotThere, Order, Page, Product, Status
from devstack.demo.api.callers import Judge, Trust, needs
from devstack.demo.api.problems import Problem

DOCUMENT: Final = Path(__file__).with_name("orders.yaml")
AUDIENCE: Final = "orders-api"
READ, WRITE = "orders:read", "orders:write"
MAX_BODY: Final = 64 * 1024
FETCH_S: Final = 5.0

Sku = Annotated[str | None, QueryParameter(pattern="^[A-Z]{2,5}-[0-9]{2}$")]
Number = Annotated[int, PathParameter(ge=1, le=2**53)]
Limit = Annotated[int, QueryParameter(ge=1, le=100)]
Offset = Annotated[int, QueryParameter(ge=0, le=100_000)]


class NewOrder(msgspec.Struct, forbid_unknown_fields=True):
    """What is ordered."""

    sku: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2,5}-[0-9]{2}$")]
    quantity: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    note: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class Refund(msgspec.Struct, forbid_unknown_fields=True):
    """What is paid back, and why."""

    reason: Annotated[str, msgspec.Meta(min_length=3, max_length=500)]
    amount: Annotated[int, msgspec.Meta(ge=1)] | None = None


@get("/products", guards=[needs(READ)], opt={"scope": READ}, sync_to_thread=False)
def list_products(
    request: Request[Any, Any, Any],
    q: Annotated[str | None, QueryParameter(min_length=1, max_length=100)] = None,
    category: Annotated[list[Category] | None, QueryParameter(max_items=4)] = None,
    max_price: Annotated[int | None, QueryParameter(ge=0)] = None,
    in_stock: FromQuery[bool] = False,
    limit: Limit = 20,
    offset: Offset = 0,
) -> Response[dict[str, Any]]:
    """Find products."""
    wanted = Filter()
    for word in (q or "").split():
        wanted.add("instr(lower(name || ' ' || description), ?)", word.lower())
    if category:
        wanted.add(f"category IN ({', '.join('?' * len(category))})", *category)
    if max_price is not None:
        wanted.add("price <= ?", max_price)
    if in_stock:
        wanted.add("stock > 0")
    found, total = _book(request).products(wanted, Page(limit, offset))
    return _page(request, found, total, Page(limit, offset))


@get("/products/{sku:str}", guards=[needs(READ)], opt={"scope": READ}, sync_to_thread=False)
def get_product(request: Request[Any, Any, Any], sku: FromPath[str]) -> Product:
    """Get one product."""
    return _book(request).product(sku)


@get("/orders", guards=[needs(READ)], opt={"scope": READ}, sync_to_thread=False)
def list_orders(
    request: Request[Any, Any, Any],
    status: FromQuery[Status | None] = None,
    sku: Sku = None,
    mine: FromQuery[bool] = False,
    created_after: FromQuery[datetime | None] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> Response[dict[str, Any]]:
    """Find orders."""
    wanted = Filter()
    if status:
        wanted.add("status = ?", status)
    if sku:
        wanted.add("sku = ?", sku)
    if mine:
        wanted.add("subject = ?", request.state.caller.subject)
    if created_after:
        # Kept as text in UTC: what has no zone is taken as that.
        moment = created_after.replace(tzinfo=created_after.tzinfo or UTC).astimezone(UTC)
        wanted.add("created_at > ?", moment.isoformat(timespec="milliseconds"))
    found, total = _book(request).orders(wanted, Page(limit, offset))
    return _page(request, found, total, Page(limit, offset))


@get("/orders/{order_id:int}", guards=[needs(READ)], opt={"scope": READ}, sync_to_thread=False)
def get_order(request: Request[Any, Any, Any], order_id: Number) -> Order:
    """Get one order."""
    return _book(request).order(order_id)


@post("/orders", guards=[needs(WRITE)], opt={"scope": WRITE}, sync_to_thread=False)
def create_order(request: Request[Any, Any, Any], data: JSONBody[NewOrder]) -> Response[Order]:
    """Order a product in the name of the caller."""
    caller = request.state.caller
    made = _book(request).create(data.sku, data.quantity, data.note, (caller.subject, caller.name))
    return Response(made, headers={"location": f"/orders/{made.id}"})


@delete("/orders/{order_id:int}", guards=[needs(WRITE)], opt={"scope": WRITE}, sync_to_thread=False)
def cancel_order(request: Request[Any, Any, Any], order_id: Number) -> None:
    """Cancel an order that was not shipped yet."""
    _book(request).cancel(order_id)


@post(
    "/orders/{order_id:int}/refund", guards=[needs(WRITE)], opt={"scope": WRITE}, status_code=200, sync_to_thread=False
)
def refund_order(request: Request[Any, Any, Any], order_id: Number, data: JSONBody[Refund]) -> Order:
    """Refund a shipped order."""
    return _book(request).refund(order_id, data.amount)


@get("/openapi.yaml", media_type="application/yaml", sync_to_thread=False)
def document() -> bytes:
    """The document, for everybody."""
    return DOCUMENT.read_bytes()


@get("/healthz", sync_to_thread=False)
def healthz() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}


OPERATIONS: Final[tuple[HTTPRouteHandler, ...]] = (
    *(list_products, get_product, list_orders, create_order),
    *(get_order, cancel_order, refund_order),
)


def create(trust: Trust, database: str = ":memory:", transport: httpx.AsyncBaseTransport | None = None) -> Litestar:
    """The API for tokens of an issuer; `database` is SQLite's file."""

    @asynccontextmanager
    async def opened(app: Litestar) -> AsyncIterator[None]:
        async with httpx.AsyncClient(trust_env=False, timeout=FETCH_S, transport=transport) as http:
            app.state.judge, app.state.book = Judge(trust, http), Book(database)
            try:
                yield
            finally:
                app.state.book.close()

    return Litestar(
        [*OPERATIONS, document, healthz],
        lifespan=[opened],
        exception_handlers={
            Problem: problems.told,
            NotThere: lambda request, error: problems.told(request, Problem(404, str(error))),
            NotNow: lambda request, error: problems.told(request, Problem(409, str(error))),
            ValidationException: problems.invalid,
            HTTPException: problems.refused,
        },
        request_max_body_size=MAX_BODY,
        openapi_config=None,
        logging_config=None,
    )


def application() -> Litestar:
    """What is served, from the environment: ORDERS_ISSUER, ORDERS_ISSUER_FETCH_URL, ORDERS_DATABASE."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s  %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    issuer = os.environ.get("ORDERS_ISSUER", "http://localhost:8180/realms/mcp")
    fetch = os.environ.get("ORDERS_ISSUER_FETCH_URL", issuer)
    return create(Trust(issuer, AUDIENCE, fetch), os.environ.get("ORDERS_DATABASE", ":memory:"))


def _book(request: Request[Any, Any, Any]) -> Book:
    book: Book = request.app.state.book
    return book


def _page(request: Request[Any, Any, Any], found: list[Any], total: int, page: Page) -> Response[dict[str, Any]]:
    """A page, with the address of the next one where there is one (RFC 8288)."""
    following = page.offset + page.limit
    headers = {}
    if following < total:
        asked = [(name, value) for name, value in request.query_params.multi_items() if name not in ("limit", "offset")]
        query = urlencode([*asked, ("limit", page.limit), ("offset", following)])
        headers["link"] = f'<{request.url.path}?{query}>; rel="next"'
    return Response({"items": found, "total": total}, headers=headers)
