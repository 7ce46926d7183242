"""What must change in a Keycloak for it to be as the description says: found by reading, done only when asked."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from devstack.realm.apply.admin import Admin, AdminError
from devstack.realm.apply.differences import Difference, chosen, differences, merged, widened
from devstack.realm.apply.prune import missing_events
from devstack.realm.client_scopes import METADATA
from devstack.realm.description import EVENTS, KEYS, LIFETIMES, PASSWORDS
from devstack.realm.registration import POLICY, SENDERS

OWNED: Final = ("sslRequired", "bruteForceProtected", *LIFETIMES, *EVENTS, *PASSWORDS)
"""Settings of the realm itself that matter for safety; its name on pages and the rest are set when it is made."""
OFFLINE: Final = "offline_access"
SIGNS: Final = {"rsa-generated": "RS256", "ecdsa-generated": "ES256", "hmac-generated": "HS512"}
AT_CREATION: Final = ("realm", "displayName", "enabled", "registrationAllowed", "defaultSignatureAlgorithm", *OWNED)


class Step(msgspec.Struct, frozen=True):
    """One change: what it is called, what differs, and how it is done."""

    action: Literal["create", "update"]
    what: str
    details: tuple[Difference, ...]
    perform: Callable[[], Any]


def missing_realm(admin: Admin, document: dict[str, Any]) -> Step:
    """The step that makes the realm itself."""
    fields = {name: document[name] for name in AT_CREATION if name in document}
    return Step("create", f"realm {admin.realm}", (), partial(admin.create_realm, fields | {"realm": admin.realm}))


def steps(admin: Admin, document: dict[str, Any]) -> Iterator[Step]:
    """Every change that a realm needs, in the order in which they can be done; nothing is ever deleted.

    Whatever opens comes after what holds it: a run may end between any two steps, and clients come meanwhile. A scope
    is gated before anybody may ask for it; redirects are held before registration is open to any sender.
    """
    yield from _realm(admin, document)
    yield from _roles(admin, document)
    yield from _client_scopes(admin, document)
    yield from _gates(admin, document)
    yield from _keys(admin, document)
    yield from _client_policies(admin, document, "profiles", document["clientProfiles"]["profiles"])
    yield from _client_policies(admin, document, "policies", document["clientPolicies"]["policies"])
    yield from _offered(admin, document)
    yield from _clients(admin, document)
    yield from _users(admin, document)
    yield from _registration(admin, document)


def _realm(admin: Admin, document: dict[str, Any]) -> Iterator[Step]:
    found = admin.find("")
    wanted = {name: chosen(name, document[name], found.get(name)) for name in OWNED if name in document}
    if found.get("eventsEnabled"):
        del wanted["eventsExpiration"]  # a shorter time would delete what an operator keeps
    elif kept := found.get("enabledEventTypes"):
        wanted["enabledEventTypes"] = [*kept, *missing_events(found)]  # else `prune` would know nothing of use
    if found.get("adminEventsEnabled"):
        del wanted["attributes"], wanted["adminEventsDetailsEnabled"]
    if told := differences(wanted, found):
        # Keycloak drops the attributes that are not sent.
        body = {k: merged(v, found[k]) if isinstance(v, dict) else v for k, v in wanted.items()}
        yield Step("update", f"realm {admin.realm}", tuple(told), partial(admin.send, "PUT", "", body))


def _roles(admin: Admin, document: dict[str, Any]) -> Iterator[Step]:
    found = {one["name"] for one in admin.listed("/roles")}
    for role in document["roles"]["realm"]:
        if role["name"] not in found:
            yield Step("create", f"role {role['name']}", (), partial(admin.send, "POST", "/roles", role))


def _client_scopes(admin: Admin, document: dict[str, Any]) -> Iterator[Step]:
    found = {one["name"]: one for one in admin.listed("/client-scopes")}
    ours = _own_scopes(document)
    for scope in document["clientScopes"]:
        there = found.get(scope["name"])
        if there is None:
            perform = partial(admin.send, "POST", "/client-scopes", scope)
            yield Step("create", f"client scope {scope['name']}", (), perform)
        elif scope["name"] in ours:
            yield from _client_scope(admin, scope, there)
        elif METADATA in scope.get("attributes", {}):
            hidden = {"attributes": {METADATA: scope["attributes"][METADATA]}}
            yield from _client_scope(admin, {"name": scope["name"], **hidden, "protocolMappers": []}, there)


def _own_scopes(document: dict[str, Any]) -> set[str]:
    """Ours are those that bring an audience; Keycloak's own are made where they are missing, and left as they are."""
    return {
        one["name"]
        for one in document["clientScopes"]
        if any(mapper["protocolMapper"] == "oidc-audience-mapper" for mapper in one.get("protocolMappers", ()))
    }


def _client_scope(admin: Admin, wanted: dict[str, Any], found: dict[str, Any]) -> Iterator[Step]:
    path, what = f"/client-scopes/{found['id']}", f"client scope {wanted['name']}"
    fields = {name: value for name, value in wanted.items() if name != "protocolMappers"}
    if told := differences(fields, found):
        bare = {name: value for name, value in found.items() if name != "protocolMappers"}
        yield Step("update", what, tuple(told), partial(admin.send, "PUT", path, merged(fields, bare)))
    mappers = {one["name"]: one for one in found.get("protocolMappers", ())}
    for mapper in wanted["protocolMappers"]:
        named, there = f"{what}: mapper {mapper['name']}", mappers.get(mapper["name"])
        models = f"{path}/protocol-mappers/models"
        if there is None:
            yield Step("create", named, (), partial(admin.send, "POST", models, mapper))
        elif told := differences(mapper, there):
            perform = partial(admin.send, "PUT", f"{models}/{there['id']}", merged(mapper, there))
            yield Step("update", named, tuple(told), perform)


def _offered(admin: Admin, document: dict[str, Any]) -> Iterator[Step]:
    """What clients that register get to ask for."""
    kinds = ("/default-optional-client-scopes", "/default-default-client-scopes")
    found = {one["name"]: kind for kind in kinds for one in admin.listed(kind)}
    if OFFLINE in found:
        yield Step("update", f"new clients: no {OFFLINE}", (), partial(_withdraw, admin, found[OFFLINE], OFFLINE))
    for name in document["defaultOptionalClientScopes"]:
        if name not in found and name in _own_scopes(document):
            yield Step("update", f"optional scope for new clients: {name}", (), partial(_offer, admin, "", name))


def _offer(admin: Admin, client: str, name: str) -> None:
    kind = "optional-client-scopes" if client else "default-optional-client-scopes"
    admin.send("PUT", f"{client}/{kind}/{_scope_id(admin, name)}")


def _withdraw(admin: Admin, kind: str, name: str) -> None:
    admin.send("DELETE", f"{kind}/{_scope_id(admin, name)}")


def _scope_id(admin: Admin, name: str) -> Any:
    (found,) = [one["id"] for one in admin.listed("/client-scopes") if one["name"] == name]
    return found


def _clients(admin: Admin, document: dict[str, Any]) -> Iterator[Step]:
    for client in document["clients"]:
        what = f"client {client['clientId']}"
        found = admin.listed("/clients", clientId=client["clientId"])
        if not found:
            yield Step("create", what, (), partial(admin.send, "POST", "/clients", client))
            continue
        path = f"/clients/{found[0]['id']}"
        fields = {k: v for k, v in client.items() if k not in ("defaultClientScopes", "optionalClientScopes")}
        if told := differences(fields, found[0]):
            yield Step("update", what, tuple(told), partial(admin.send, "PUT", path, merged(fields, found[0])))
        yield from _online(admin, client, found[0], path)
        for name in client["optionalClientScopes"]:
            if name not in (*found[0].get("optionalClientScopes", ()), *found[0].get("defaultClientScopes", ())):
                yield Step("update", f"{what}: optional scope {name}", (), partial(_offer, admin, path, name))


def _online(admin: Admin, client: dict[str, Any], found: dict[str, Any], path: str) -> Iterator[Step]:
    """A public client gives nobody a token without end: its identity is not assured (RFC 8252 §8.6)."""
    for kind in ("optionalClientScopes", "defaultClientScopes"):
        if client["publicClient"] and OFFLINE in found.get(kind, ()):
            place = f"{path}/{'optional' if kind.startswith('optional') else 'default'}-client-scopes"
            perform = partial(_withdraw, admin, place, OFFLINE)
            yield Step("update", f"client {client['clientId']}: no {OFFLINE}", (), perform)


def _gates(admin: Admin, document: dict[str, Any]) -> Iterator[Step]:
    """The roles that a scope is for."""
    scopes = {one["name"]: one["id"] for one in admin.listed("/client-scopes")}
    for gate in document["scopeMappings"]:
        name, mapped = gate["clientScope"], set[str]()
        if name in scopes:
            mapped = {one["name"] for one in admin.listed(f"/client-scopes/{scopes[name]}/scope-mappings/realm")}
        for role in gate["roles"]:
            if role not in mapped:
                yield Step("update", f"client scope {name}: for role {role}", (), partial(_gate, admin, name, role))


def _gate(admin: Admin, name: str, role: str) -> None:
    path = f"/client-scopes/{_scope_id(admin, name)}/scope-mappings/realm"
    admin.send("POST", path, [_role(admin, role)])


def _role(admin: Admin, name: str) -> Any:
    found = admin.find(f"/roles/{quote(name, safe='')}")
    if found is None:
        raise AdminError(f"there is no role {name}")
    return found


def _users(admin: Admin, document: dict[str, Any]) -> Iterator[Step]:
    for user in document["users"]:
        name = user["username"].lower()  # as Keycloak keeps it, of a client whose id is an address
        found = admin.listed("/users", username=name, exact="true")
        if not found and "serviceAccountClientId" not in user:
            fields = {key: value for key, value in user.items() if key != "realmRoles"}
            # A one-time code belongs to the flow of `step_up`: Keycloak's own would ask for it at each login.
            fields["credentials"] = [one for one in user["credentials"] if one["type"] == "password"]
            yield Step("create", f"user {name}", (), partial(admin.send, "POST", "/users", fields))
        held = set[str]()
        if found:
            held = {one["name"] for one in admin.listed(f"/users/{found[0]['id']}/role-mappings/realm")}
        for role in user["realmRoles"]:
            if role not in held and not (role.startswith("default-roles-") and not found):
                yield Step("update", f"user {name}: role {role}", (), partial(_grant, admin, name, role))


def _grant(admin: Admin, user: str, role: str) -> None:
    (found,) = [one["id"] for one in admin.listed("/users", username=user, exact="true")]
    admin.send("POST", f"/users/{found}/role-mappings/realm", [_role(admin, role)])


def _keys(admin: Admin, document: dict[str, Any]) -> Iterator[Step]:
    """Keys only where a kind is missing: those that sign are left alone."""
    signing = {one["providerId"] for one in admin.listed("/components", type=KEYS)}
    active = (admin.find("/keys") or {}).get("active", {})
    for wanted in document["components"][KEYS]:
        kind = wanted["providerId"]
        # A key of the operator's own that signs with this algorithm goes on doing so.
        if kind not in signing and SIGNS.get(kind) not in active:
            yield _component(admin, KEYS, f"key provider {wanted['name']}", wanted)


def _registration(admin: Admin, document: dict[str, Any]) -> Iterator[Step]:
    """Registration policies by kind and sender; that which lets every sender in is the last."""
    found = {(one["providerId"], one.get("subType")): one for one in admin.listed("/components", type=POLICY)}
    for wanted in sorted(document["components"][POLICY], key=lambda one: one["providerId"] == SENDERS):
        there = found.get((wanted["providerId"], wanted["subType"]))
        what = f"registration policy {wanted['name']} ({wanted['subType']})"
        if there is None:
            yield _component(admin, POLICY, what, wanted)
        elif told := differences({"config": wanted["config"]}, there):
            fields = {name: value for name, value in wanted.items() if name != "subComponents"}
            perform = partial(admin.send, "PUT", f"/components/{there['id']}", merged(fields, there))
            yield Step("update", what, tuple(told), perform)


def _component(admin: Admin, kind: str, what: str, wanted: dict[str, Any]) -> Step:
    fields = {name: value for name, value in wanted.items() if name != "subComponents"}
    body = fields | {"parentId": admin.find("")["id"], "providerType": kind}
    return Step("create", what, (), partial(admin.send, "POST", "/components", body))


def _client_policies(
    admin: Admin, document: dict[str, Any], kind: Literal["profiles", "policies"], wanted: list[dict[str, Any]]
) -> Iterator[Step]:
    """Keycloak takes the whole list: what is not ours is written back as it was."""
    path, word = f"/client-policies/{kind}", {"profiles": "profile", "policies": "policy"}[kind]
    found = {one["name"]: one for one in (admin.find(path) or {}).get(kind, ())}
    for one in wanted:
        there = found.get(one["name"])
        told = differences(widened(one, there), there) if there else []
        if there is None or told:
            action: Literal["create", "update"] = "update" if there else "create"
            yield Step(
                action, f"client {word} {one['name']}", tuple(told), partial(_put_policy, admin, path, kind, one)
            )


def _put_policy(admin: Admin, path: str, kind: str, wanted: dict[str, Any]) -> None:
    found = admin.find(path)[kind]
    others = [one for one in found if one["name"] != wanted["name"]]
    there: dict[str, Any] = next((one for one in found if one["name"] == wanted["name"]), {})
    admin.send("PUT", path, {kind: [*others, widened(wanted, there)]})
