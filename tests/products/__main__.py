"""`python -m tests.products [CLIENT...]`: real products against a real Keycloak and the embedded issuer.

Their model is a script on loopback. What needs the internet is stood in for and said so: the publishers' metadata
documents. Ends with a table, and with status 1 when a cell of it fails. With `--refusals` it says instead what each does
when a scope is missing, and when it is sent to an address: the table of docs/clients.md §At a refusal.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from devstack.keycloak.distribution import built
from devstack.realm.model import FEATURES
from mcp_server.observe import log
from tests.products import alone, refusals
from tests.products.catalogue import PRODUCTS
from tests.products.model import speaking
from tests.products.publishers import DOCUMENTS
from tests.products.rounds import CELLS, Renewal, Round, Row, Turns
from tests.products.seat import Seat
from tests.products.stack import embedded, keycloak

LATER_S: Final = 301.0
PRESET: Final = "mcp-public"


async def rounds(names: list[str], later_s: float, folder: Path) -> list[Row]:
    """Every product before each server, each way it can come to a client id."""
    ours = asyncio.current_task()
    assert ours
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ours.cancel)  # what was started ends with us
    chosen = [one for one in PRODUCTS if one.client in names]
    async with AsyncExitStack() as stack:
        model = stack.enter_context(speaking())
        for name in ("embedded", "keycloak"):
            (folder / name).mkdir()
        own = await stack.enter_async_context(embedded(folder / "embedded"))
        real = await stack.enter_async_context(keycloak(folder / "keycloak"))
        turns = Turns()
        ways = ((real, None), (real, PRESET), (own, None))

        def seat(number: str, product: int, way: int) -> Seat:
            place, client_id = ways[way]
            return Seat(chosen[product], place, model, folder / f"{number}{way}{product}", client_id)

        async with asyncio.TaskGroup() as group:
            tasks = [
                [group.create_task(Round(seat("seat", one, way), turns, later_s).run()) for one in range(len(chosen))]
                for way in range(len(ways))
            ]
        rows = [task.result() for way in tasks for task in way]
        for one in range(len(chosen)):
            await Renewal(seat("renewal", one, 0), rows[one]).run()
        wrong = [*own.watched.wrong, *real.watched.wrong]
    rows[0].faults += [f"against the protocol's schema: {one}" for one in wrong]
    return rows


def summary(rows: list[Row], later_s: float) -> str:
    """The table, and below it what went wrong."""
    width = max(len(row.title) for row in rows)
    head = f"{'product, server, client id':<{width}}  {'version':<9}" + "".join(f"  {cell}" for cell in CELLS)
    lines = [head, "-" * len(head)]
    for row in rows:
        cells = "".join(f"  {row.cells.get(cell, '-'):<{len(cell)}}" for cell in CELLS)
        lines.append(f"{row.title:<{width}}  {row.version:<9}{cells}")
    stood_in = ", ".join(sorted(DOCUMENTS))
    notes = [
        f"later request: the same session calls again {later_s:.0f} s after the login, with no token renewed meanwhile;",
        "renewed: a token whose life is over is renewed once (tried with Keycloak, by itself); -: not tried there;",
        "  lost: the product spends its refresh token twice at once and must log in again, as docs/clients.md says.",
        f"Stood in for, since no run reaches the internet: the models, and {stood_in}.",
        "The embedded issuer does not advertise documents here: products register with it.",
    ]
    faults = [fault for row in rows for fault in row.faults]
    return "\n".join([*lines, "", *notes, *(["", *faults] if faults else [])])


def main() -> int:
    """The exit status."""
    known = sorted({one.client for one in PRODUCTS})
    parser = argparse.ArgumentParser(prog="python -m tests.products")
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"only these of {', '.join(known)}")
    parser.add_argument("--later", type=float, default=LATER_S, help="seconds until the later request")
    parser.add_argument("--refusals", action="store_true", help="only what each does when it is refused")
    asked = parser.parse_args()
    if unknown := set(asked.clients) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if not asked.refusals:
        built(FEATURES, print)  # may fetch, so before the network goes
    alone.ensure()
    chosen = asked.clients or known
    with tempfile.TemporaryDirectory(prefix="mcp-products-") as name:
        folder = Path(name)
        with (folder / "log").open("w") as stream:
            log.set_up("json", stream=stream)
            if asked.refusals:
                return asyncio.run(refusals.measure([one for one in PRODUCTS if one.client in chosen], folder))
            rows = asyncio.run(rounds(chosen, asked.later, folder))
    print(summary(rows, asked.later))
    return 0 if all(row.good and "FAIL" not in row.cells.values() for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
