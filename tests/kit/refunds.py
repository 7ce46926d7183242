"""A shop that refunds orders: its scopes, one of them with a parameter, and the realm that knows them."""

from pathlib import Path

from devstack.realm.client_scopes import PARAMETERS
from devstack.realm.description import Variant, describe, rendered
from devstack.realm.scopes import Scope

REALM = "refunds"
SCOPES = (
    Scope("orders:read", "Read orders", roles=("reader", "writer", "admin")),
    Scope(
        "orders:refund", "Refund an order's price", roles=("writer", "admin"), patterns=("orders:refund:{order_id}",)
    ),
)


def realm(features: tuple[str, ...] = (), scopes: tuple[Scope, ...] = SCOPES) -> bytes:
    """The realm for an issuer with these features."""
    return rendered(describe(scopes, Variant(documents=False, parameters=PARAMETERS in features), REALM))


def realm_file(folder: Path, features: tuple[str, ...] = (), scopes: tuple[Scope, ...] = SCOPES) -> Path:
    """The same as a file."""
    path = folder / f"{REALM}-realm.json"
    path.write_bytes(realm(features, scopes))
    return path
