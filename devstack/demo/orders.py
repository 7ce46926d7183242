"""The demo: the sample REST API as tools, and one that is written by hand over the same API."""

import os
from collections import Counter
from typing import Final

import msgspec

from devstack.demo.api.app import AUDIENCE, DOCUMENT
from devstack.demo.api.book import Product
from mcp_server import Context, McpServer, Scope, ToolAnnotations

SCOPES: Final = (
    Scope("mcp:read", "Read through the MCP server", roles=("reader", "writer", "admin")),
    Scope("mcp:write", "Change things through the MCP server", roles=("writer", "admin"), implies=("mcp:read",)),
    Scope("mcp:infer", "Use models through the MCP server", roles=("reader", "writer", "admin")),
    # The API's own, in the names of its document: what an exchange asks for must stand in the caller's token.
    Scope("orders:read", "See the shop's products and orders", roles=("reader", "writer", "admin")),
    Scope("orders:write", "Order, cancel and refund in the shop", roles=("writer", "admin")),
    Scope("mcp:admin", "Administer through the MCP server", roles=("admin",), implies=("mcp:write",)),
)


class Stock(msgspec.Struct, kw_only=True):
    """What there is of a category."""

    category: str
    products: int
    sold_out: list[str]
    worth: int
    """In cents."""


class _Products(msgspec.Struct):
    items: list[Product]


async def stock_report(ctx: Context) -> list[Stock]:
    """Sum up the shop's stock by category: how many products, which are sold out, what all of it is worth."""
    answer = await ctx.upstream("orders").request("GET", "/products", query={"limit": 100}, scopes={"orders:read"})
    products = answer.json(_Products).items
    counted = Counter(one.category for one in products)
    return [
        Stock(
            category=category,
            products=number,
            sold_out=[one.sku for one in products if one.category == category and not one.stock],
            worth=sum(one.price * one.stock for one in products if one.category == category),
        )
        for category, number in sorted(counted.items())
    ]


def demo(url: str) -> McpServer:
    """The server, for the API at an address."""
    made = McpServer(
        "orders",
        version="1.0.0",
        title="Orders",
        instructions="Look through the products of a small shop; make, cancel and refund its orders.",
        scopes=SCOPES,
    )
    made.include_openapi(str(DOCUMENT), name="orders", base_url=url, identity={"audience": AUDIENCE})
    made.tool(scopes={"orders:read"}, annotations=ToolAnnotations(read_only_hint=True))(stock_report)
    return made


server = demo(os.environ.get("ORDERS_URL", "http://localhost:8100"))
