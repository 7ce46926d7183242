"""Stands for a Keycloak's Admin API on loopback: collections in memory, what was written, what it refuses."""

import http.server
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from devstack.realm.apply import features
from tests.kit.background import served_in_a_thread

REALM: Final = "/admin/realms/mcp"
COLLECTIONS: Final = ("/roles", "/client-scopes", "/clients", "/users", "/components")
NAMES: Final = {"clientId": "clientId", "username": "username", "type": "providerType"}
"""What a query of a collection asks, and the field that it is about."""


class Scripted:
    """A realm with no more in it than a test puts there; `refused` paths answer 400."""

    def __init__(self, documents: tuple[dict[str, Any], ...]) -> None:
        self.realm: dict[str, Any] = {
            "id": "r",
            "realm": "mcp",
            "attributes": {},
            "defaultRole": {"id": "d", "name": "d"},
        }
        self.collections: dict[str, list[dict[str, Any]]] = {path: [] for path in COLLECTIONS}
        self.collections["/roles"] += [{"name": "offline_access"}, {"name": "default-roles-mcp"}]
        self.executors = {name for one in documents for name in features.executors(one)}
        self.conditions = {name for one in documents for name in features.conditions(one)}
        self.events: list[dict[str, Any]] = []
        self.parameters = True
        self.refused: set[str] = set()
        self.written: list[tuple[str, str]] = []
        self.origin = ""

    def server_info(self) -> dict[str, Any]:
        kinds = {"client-policy-executor": self.executors, "client-policy-condition": self.conditions}
        providers: dict[str, Any] = {kind: {"providers": {name: {} for name in names}} for kind, names in kinds.items()}
        named = [{"name": "PARAMETERIZED_SCOPES", "enabled": self.parameters}]
        return {"providers": providers, "features": named}

    def read(self, path: str, query: dict[str, list[str]]) -> Any:
        """A document or a list below the realm; None where there is none."""
        if path == "":
            return self.realm
        if path in self.collections:
            return self._page(self.collections[path], query)
        if path == "/events":
            return self._events(query)
        if path.endswith("session-count"):
            return {"count": 0}
        if path.startswith("/client-policies/"):
            return {path.rpartition("/")[2]: []}
        if path.startswith("/roles/"):
            return next((one for one in self.collections["/roles"] if one["name"] == unquote(path[7:])), None)
        return {} if path == "/keys" else []

    def _page(self, found: list[dict[str, Any]], query: dict[str, list[str]]) -> list[dict[str, Any]]:
        for asked, field in NAMES.items():
            if asked in query:
                found = [one for one in found if one.get(field) == query[asked][0]]
        first, most = int(query.get("first", ["0"])[0]), int(query.get("max", ["1000"])[0])
        return found[first : first + most]

    def _events(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        kept = self.realm.get("enabledEventTypes")
        found = [
            one
            for one in self.events
            if one["clientId"] in query.get("client", [one["clientId"]])
            and one["type"] in query.get("type", [one["type"]])
            and one["type"] in (kept or [one["type"]])
        ]
        found.sort(key=lambda one: one["time"], reverse=query["direction"] == ["desc"])
        return found[: int(query["max"][0])]

    def write(self, method: str, path: str, body: Any) -> int:
        """Take a change, or refuse it."""
        if path in self.refused:
            return 400
        self.written.append((method, path))
        if method == "POST" and path in self.collections:
            self.collections[path].append({"id": f"i{len(self.written)}", **body})
        if method == "POST" and path == "/clients" and body.get("serviceAccountsEnabled"):
            name = f"service-account-{body['clientId']}"
            self.collections["/users"].append({"id": f"u{len(self.written)}", "username": name})
        if method == "DELETE":
            folder, _, ended = path.rpartition("/")
            self.collections[folder] = [one for one in self.collections[folder] if one["id"] != ended]
        if (method, path) == ("PUT", ""):
            self.realm |= body
        return 204


@contextmanager
def scripted(*documents: dict[str, Any]) -> Iterator[Scripted]:
    """One that listens until the block ends, and knows every executor and condition of the descriptions."""
    keycloak = Scripted(documents)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # an answer in two packets waits for the client's acknowledgement of the first

        def _any(self) -> None:
            asked = urlsplit(self.path)
            text = self.rfile.read(int(self.headers.get("content-length", 0)))
            if asked.path.endswith("/protocol/openid-connect/token"):
                self._answer(200, {"access_token": "administrator"})
            elif asked.path == "/admin/serverinfo":
                self._answer(200, keycloak.server_info())
            elif not asked.path.startswith(REALM):
                self._answer(404, {})
            elif self.command == "GET":
                found = keycloak.read(asked.path[len(REALM) :], parse_qs(asked.query))
                self._answer(404 if found is None else 200, found)
            else:
                body = msgspec.json.decode(text) if text else None
                self._answer(keycloak.write(self.command, asked.path[len(REALM) :], body), None)

        do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - http.server's names

        def _answer(self, status: int, body: Any) -> None:
            text = b"" if status == 204 else msgspec.json.encode(body)
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    keycloak.origin = f"http://127.0.0.1:{server.server_address[1]}"
    with served_in_a_thread(server):
        yield keycloak
