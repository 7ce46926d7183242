"""What each product does at a 403, at a tool error with the challenge in it, and at an address to visit.

Nothing is asserted of a product: what it does is its maker's, and docs/clients.md says it. Of ours is that each refusal
is what the protocol's schema allows. An address is no part of 2025-06-18, whose clients may declare that they take one.
"""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mcp_server import Context, McpServer
from mcp_server.protocol.meta import CLIENT_CAPABILITIES
from tests.products.catalogue import ASK, Product
from tests.products.model import SHOWN, Model, speaking
from tests.products.seat import Failed, Seat
from tests.products.stack import Place, embedded

WAYS: Final = ("challenge", "error", "address")
ENDS_WITHIN_S: Final = 75.0
READER: Final = "alice"
"""Some register with every scope that the issuer has: she may have no other than the first one."""


def offering(way: str) -> McpServer:
    """A server whose only tool is refused, or sends its caller to an address."""
    server = McpServer("orders")
    scopes = {"mcp:read"} if way == "address" else {"mcp:write"}

    @server.tool(scopes=scopes)
    async def list_orders(ctx: Context) -> str:
        """List the orders."""
        if way != "address":
            return SHOWN
        answer = await ctx.elicit_url("Please open this page.", "https://sso.example.com/account")
        return f"{SHOWN}, after {answer.action}"

    return server


async def measure(products: Sequence[Product], folder: Path) -> int:
    """Say it of each, one after the other; the exit status."""
    wrong: list[str] = []
    for number, product in enumerate(products):
        for way in WAYS:
            with speaking() as model:
                home = folder / f"{number}{way}"
                home.mkdir()
                told = {"challenge_scopes": "mcp:read", "step_up": "challenge" if way == "address" else way}
                async with embedded(home, offering(way), **told) as place:
                    seat = Seat(product, place, model, home / "seat", user=READER)
                    await _refused(seat, model, way)
                    if way != "address":
                        wrong += [f"{seat.title}: {one}" for one in place.watched.wrong]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


async def _refused(seat: Seat, model: Model, way: str) -> None:
    try:
        await seat.log_in()
    except Failed as failed:
        _say(f"{seat.title}: {way}: no login: {failed}")
        return
    known = len(seat.place.issuer_tap.seen)
    async with seat.running(*seat.product.ask, ASK) as terminal:
        with contextlib.suppress(TimeoutError):
            await terminal.ended(ENDS_WITHIN_S)
    asked = [
        f"{one.method} {one.form.get('grant_type', '')} {one.status}" for one in seat.place.issuer_tap.seen[known:]
    ]
    _say(f"{seat.title} {seat.version}: {way}")
    _say(f"  declares {_declared(seat.place)}; of the issuer it asks {asked}")
    for one in list(dict.fromkeys(json.dumps(_words(result)) for result in model.told))[:2]:
        _say(f"  its model is told {one[:400]}")


def _declared(place: Place) -> str:
    """What it says of elicitation, in whichever era."""
    found = set()
    for one in place.server_tap.seen:
        with contextlib.suppress(ValueError, AttributeError):
            params = json.loads(one.body).get("params") or {}
            declared = params.get("capabilities") or params.get("_meta", {}).get(CLIENT_CAPABILITIES)
            if declared is not None:
                found.add(json.dumps(declared.get("elicitation")))
    return ", ".join(sorted(found))


def _words(result: dict[str, Any]) -> Any:
    """Of a result in any of the models' APIs what stands for the call's."""
    return next((result[name] for name in ("content", "output", "functionResponse") if name in result), result)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
