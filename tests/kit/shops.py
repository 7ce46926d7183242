"""The sample API behind a server: what its operator says, and the API itself on loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from devstack.demo.api import app as shop
from devstack.demo.api.callers import Trust
from devstack.realm.clients import SERVER_SECRET
from tests.kit.stack import serving


def settings(port: int) -> dict[str, Any]:
    """A document and an audience, and nothing else; the API is at this port."""
    return {
        "openapi": str(shop.DOCUMENT),
        "upstream_url": f"http://127.0.0.1:{port}",
        "upstream_audience": shop.AUDIENCE,
        "client_secret": SERVER_SECRET,
    }


@asynccontextmanager
async def open_shop(issuer: str, port: int) -> AsyncIterator[None]:
    """The API, whose tokens this issuer gives out."""
    async with serving(shop.create(Trust(issuer, shop.AUDIENCE, issuer)), port):
        yield
