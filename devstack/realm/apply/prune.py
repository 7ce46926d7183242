"""Clients that registered themselves and that nobody uses: found by Keycloak's own events and sessions, then deleted.

Registration is open to anybody and bounded by a number of clients: without an end to those that are not used, whoever
registers often enough closes it for everybody else, and Keycloak has no expiry of its own.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from devstack.realm.apply.admin import Admin

HOUR_MS: Final = 3600 * 1000
DAY_MS: Final = 24 * HOUR_MS
REGISTERED: Final = "CLIENT_REGISTER"
USES: Final = ("CODE_TO_TOKEN", "REFRESH_TOKEN", "LOGIN", "GRANT_CONSENT")
"""Events that a person behind the client is needed for: an attempt that failed keeps no client alive."""
NEEDED: Final = (REGISTERED, *(one for one in USES if one != "REFRESH_TOKEN"))
"""What must be kept for a verdict. Keycloak keeps no renewals unless told to; a session that is renewed is counted."""
PAGE: Final = 100
_MADE_BY_KEYCLOAK: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DOCUMENT: Final = "cimd.cache.expiry.time.in.sec"
Verdict = Literal["used", "new", "unused", "unsafe"]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A client that registered itself; times are milliseconds, None where no event is kept."""

    id: str
    client_id: str
    name: str
    registered_at: int | None
    used_at: int | None
    sessions: int
    unsafe: str = ""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """For how many days a client may lie idle, and for how many hours after its registration before its first use."""

    idle_days: int
    unused_hours: float


def verdict(found: Found, bounds: Bounds, now: int, since: int) -> Verdict:
    """What becomes of a client; `since` is how far back Keycloak's events reach: of before nothing is known."""
    if found.unsafe:
        return "unsafe"
    if found.sessions:
        return "used"
    if found.used_at is not None:
        return "unused" if now - found.used_at >= bounds.idle_days * DAY_MS else "used"
    if found.registered_at is not None:
        return "unused" if now - found.registered_at >= bounds.unused_hours * HOUR_MS else "new"
    return "unused" if now - since >= bounds.idle_days * DAY_MS else "used"


def registered(client: dict[str, Any]) -> bool:
    """Whether a client came by itself: Keycloak gave it its id, asks for consent and maps no roles but a scope's.

    What the registration policies force upon these clients an operator takes away from one that they want to keep.
    """
    by_itself = _MADE_BY_KEYCLOAK.fullmatch(client["clientId"]) or _DOCUMENT in client.get("attributes", {})
    return bool(by_itself) and client.get("consentRequired", False) and not client.get("fullScopeAllowed", True)


def unsafe(client: dict[str, Any]) -> str:
    """What nobody can register any longer, and had from a realm that was open; empty where it has none of it."""
    attributes = client.get("attributes", {})
    kept = [one for one in attributes if one.endswith((".lifespan", ".timeout")) and attributes[one]]
    mappers = [one["protocolMapper"] for one in client.get("protocolMappers", ()) if not _pairwise(one)]
    return ", ".join([*kept, *mappers, *(["implicit flow"] if client.get("implicitFlowEnabled") else [])])


def _pairwise(mapper: dict[str, Any]) -> bool:
    """Keycloak's own answer to `subject_type: pairwise`."""
    return bool(mapper["protocolMapper"] == "oidc-sha256-pairwise-sub-mapper")


def missing_events(realm: dict[str, Any]) -> list[str]:
    """Types of events that a verdict needs and the realm does not name; one that names none keeps the usual ones."""
    named = realm.get("enabledEventTypes")
    return [one for one in NEEDED if one not in named] if named else []


def reach(admin: Admin) -> int | None:
    """When the oldest event that is kept happened; None where none is."""
    oldest = admin.listed("/events", max=1, direction="asc")
    return int(oldest[0]["time"]) if oldest else None


def clients(admin: Admin) -> Iterator[Found]:
    """Every client that registered itself, with what is known of its use; the list is whole before the first is told.

    Who deletes while pages are read moves the rest to pages that were read already.
    """
    for one in _all_registered(admin):
        yield Found(
            id=one["id"],
            client_id=one["clientId"],
            name=one.get("name") or "",
            registered_at=_last(admin, one["clientId"], REGISTERED),
            used_at=_last(admin, one["clientId"], *USES),
            sessions=sum(
                admin.find(f"/clients/{one['id']}/{kind}")["count"]
                for kind in ("session-count", "offline-session-count")
            ),
            unsafe=unsafe(one),
        )


def _all_registered(admin: Admin) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    at = 0
    while page := admin.listed("/clients", first=at, max=PAGE):
        at += len(page)
        found |= {one["id"]: one for one in page if registered(one)}
    return list(found.values())


def _last(admin: Admin, client_id: str, *kinds: str) -> int | None:
    found = admin.listed("/events", client=client_id, type=list(kinds), max=1, direction="desc")
    return int(found[0]["time"]) if found else None


def delete(admin: Admin, found: Found) -> None:
    """End a client, and with it its sessions and tokens."""
    admin.send("DELETE", f"/clients/{found.id}")
