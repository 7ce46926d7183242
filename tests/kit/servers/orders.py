"""A shop's orders as tools, written by hand and kept in memory: `mcp:read` lists and gets, `mcp:write` creates, `mcp:admin` deletes."""

import itertools
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated

import msgspec

from devstack.demo.orders import SCOPES
from mcp_server import Context, McpServer, ToolAnnotations, ToolError

server = McpServer(
    "orders",
    version="1.0.0",
    title="Orders",
    instructions="Look up, create and delete the orders of a small shop.",
    scopes=SCOPES,
)


class Status(Enum):
    """Where an order stands."""

    OPEN = "open"
    SHIPPED = "shipped"


class Order(msgspec.Struct, kw_only=True):
    """An order of the shop."""

    id: int
    item: str
    quantity: int
    status: Status
    created_by: str
    created_at: datetime


_numbers = itertools.count(3)
_start = datetime(2026, 1, 1, tzinfo=UTC)
_orders = {
    1: Order(id=1, item="teapot", quantity=2, status=Status.OPEN, created_by="shop", created_at=_start),
    2: Order(id=2, item="kettle", quantity=1, status=Status.SHIPPED, created_by="shop", created_at=_start),
}


@server.tool(scopes={"mcp:read"}, annotations=ToolAnnotations(read_only_hint=True))
async def list_orders(status: Status | None = None) -> list[Order]:
    """List the orders, oldest first.

    Args:
        status: Only orders that stand here.

    """
    return [order for order in _orders.values() if status in (None, order.status)]


@server.tool(scopes={"mcp:read"}, annotations=ToolAnnotations(read_only_hint=True))
async def get_order(order_id: int) -> Order:
    """Get one order.

    Args:
        order_id: The number of the order.

    """
    order = _orders.get(order_id)
    if order is None:
        raise ToolError(f"There is no order {order_id}.")
    return order


@server.tool(scopes={"mcp:write"}, annotations=ToolAnnotations(destructive_hint=False))
async def create_order(
    item: Annotated[str, msgspec.Meta(min_length=1, max_length=100)],
    quantity: Annotated[int, msgspec.Meta(ge=1, le=1000)],
    ctx: Context,
) -> Order:
    """Create an order in the name of the caller.

    Args:
        item: What is ordered.
        quantity: How many.

    """
    if len(_orders) >= 10_000:
        raise ToolError("The shop's book is full; delete an order first.")
    who = ctx.principal.username or ctx.principal.subject if ctx.principal else "nobody"
    order = Order(
        id=next(_numbers),
        item=item,
        quantity=quantity,
        status=Status.OPEN,
        created_by=who,
        created_at=datetime.now(UTC),
    )
    _orders[order.id] = order
    return order


@server.tool(scopes={"mcp:admin"}, annotations=ToolAnnotations(destructive_hint=True, idempotent_hint=True))
async def delete_order(order_id: int) -> str:
    """Delete an order for good.

    Args:
        order_id: The number of the order.

    """
    if _orders.pop(order_id, None) is None:
        raise ToolError(f"There is no order {order_id}.")
    return f"Order {order_id} is deleted."
