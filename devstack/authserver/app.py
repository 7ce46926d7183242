"""The application: Keycloak's addresses over authlib's server."""

import asyncio
import base64
import binascii
import math
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from litestar import Litestar, Request, Response, get, post, route
from litestar.exceptions import ClientException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from devstack.authserver import authorize, intake, logout
from devstack.authserver.clients.documents import CIMD, Documents
from devstack.authserver.clients.registration import RegistrationRefused, register
from devstack.authserver.exchange import EXCHANGE, ExchangeGrant
from devstack.authserver.faults import Faults
from devstack.authserver.grants import FormRequest, Server
from devstack.authserver.intake import Intake
from devstack.authserver.pace import Pace, sender
from devstack.authserver.store import Store
from devstack.authserver.tokens import Keyring, TokenIssuer
from devstack.realm import step_up
from devstack.realm.model import FEATURES, ISSUER, REALM_FILE, RESOURCE, Realm, read

MAX_BODY: Final = 64 * 1024


class AuthServer:
    """One running issuer; tests reach its parts to rotate keys and script faults.

    `documents` are the origins on loopback where a client's metadata document may lie.
    """

    def __init__(self, realm: Realm, documents: frozenset[str] = frozenset()) -> None:
        self.realm = realm
        self.faults = Faults()
        self.keyring = Keyring()
        self.store = Store(realm)
        self.mint = TokenIssuer(realm, self.keyring, self.faults)
        self.server = Server(self.store, self.mint)
        self.server.register_grant(ExchangeGrant)
        self.logouts = logout.Logouts(self.store, self.mint)
        self.pace = Pace()
        self.documents = Documents(self.store, documents)
        self.documents_served = 0

    def metadata(self) -> dict[str, Any]:
        """The document of RFC 8414 and OpenID Connect Discovery."""
        issuer = self.realm.issuer
        connect = f"{issuer}/protocol/openid-connect"
        methods = ["client_secret_basic", "client_secret_post"]
        return {
            "issuer": "https://wrong.example/realms/mcp" if self.faults.mode == "wrong_issuer" else issuer,
            "authorization_endpoint": f"{connect}/auth",
            "token_endpoint": f"{connect}/token",
            "introspection_endpoint": f"{connect}/token/introspect",
            "revocation_endpoint": f"{connect}/revoke",
            "end_session_endpoint": f"{connect}/logout",
            "backchannel_logout_supported": True,
            "backchannel_logout_session_supported": True,
            "registration_endpoint": f"{issuer}/clients-registrations/openid-connect",
            "jwks_uri": f"{connect}/certs",
            "acr_values_supported": ["0", *map(str, step_up.LEVELS)],
            "scopes_supported": [scope.name for scope in self.realm.scopes if scope.in_metadata],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", EXCHANGE],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "token_endpoint_auth_methods_supported": ["none", *methods],
            "introspection_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_methods_supported": ["none", *methods],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "client_id_metadata_document_supported": CIMD in self.realm.features,
        }

    async def published(self, request: Request[Any, Any, Any], body: dict[str, Any]) -> Response[Any]:
        """A document, or what the scripted fault makes of it."""
        self.documents_served += 1
        match self.faults.mode:
            case "down":
                return Response({"error": "unavailable"}, status_code=503)
            case "error":
                return Response({"error": "unknown_error"}, status_code=500)
            case "garbage":
                return Response(b'{"keys": [<html>', media_type="application/json")
            case "slow":
                await asyncio.sleep(self.faults.slow_s)
        return Response(body, headers={"cache-control": "no-cache", **intake.allowing(request)})


def create(realm: Realm | None = None, documents: frozenset[str] = frozenset()) -> tuple[Litestar, AuthServer]:
    """The application and its parts."""
    running = AuthServer(realm or read(), documents)
    base = running.realm.issuer
    prefix = urlsplit(base).path
    judge = Intake(base, frozenset(_by_client(prefix)), authorize.paths(prefix) | logout.paths(prefix))
    handlers = [
        *_documents(running, prefix),
        *_tokens(running, prefix),
        *_development(running),
        *logout.routes(running.logouts, running.store, running.mint, prefix),
        *authorize.routes(running.server, running.documents, prefix, base),
    ]
    app = Litestar(
        handlers,
        before_request=judge.refusal,
        request_max_body_size=MAX_BODY,
        openapi_config=None,
        logging_config=None,
    )
    return app, running


def application() -> Litestar:
    """What is served: issuer, resource and the rest come from the environment of `devstack up`."""
    issuer = os.environ.get("DEVSTACK_ISSUER", ISSUER)
    file = Path(os.environ.get("DEVSTACK_REALM", REALM_FILE))
    resource = os.environ.get("DEVSTACK_RESOURCE", RESOURCE)
    features = os.environ.get("DEVSTACK_FEATURES", ",".join(FEATURES))
    documents = os.environ.get("DEVSTACK_DOCUMENTS", "")
    realm = read(issuer, resource, _listed(features), file=file)
    return create(realm, frozenset(_listed(documents)))[0]


def _listed(text: str) -> tuple[str, ...]:
    return tuple(one for one in text.split(",") if one)


def _by_client(prefix: str) -> tuple[str, str, str]:
    """The paths that pages of some clients use: token, registration, revocation."""
    connect = f"{prefix}/protocol/openid-connect"
    return f"{connect}/token", f"{prefix}/clients-registrations/openid-connect", f"{connect}/revoke"


def _documents(running: AuthServer, prefix: str) -> list[HTTPRouteHandler]:
    @get(
        [
            f"{prefix}/.well-known/openid-configuration",
            f"{prefix}/.well-known/oauth-authorization-server",
            f"/.well-known/oauth-authorization-server{prefix}",
        ]
    )
    async def metadata(request: Request[Any, Any, Any]) -> Response[Any]:
        return await running.published(request, running.metadata())

    @get(f"{prefix}/protocol/openid-connect/certs")
    async def certs(request: Request[Any, Any, Any]) -> Response[Any]:
        return await running.published(request, running.keyring.document())

    @get("/healthz", sync_to_thread=False)
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return [metadata, certs, healthz]


def _tokens(running: AuthServer, prefix: str) -> list[HTTPRouteHandler]:
    by_client = token_path, registration_path, revocation_path = _by_client(prefix)

    @route(list(by_client), http_method=["OPTIONS"], sync_to_thread=False)
    def preflight(request: Request[Any, Any, Any]) -> Response[Any]:
        return intake.preflight(request)

    def foreign(request: Request[Any, Any, Any], form: FormRequest) -> Response[Any] | None:
        client = running.store.clients.get(form.form.get("client_id", ""))
        return intake.foreign(request, client.client.origins if client else ())

    @post(token_path)
    async def token(request: Request[Any, Any, Any]) -> Response[Any]:
        form = await _form(request)
        return foreign(request, form) or _answer(running.server.create_token_response(form), intake.allowing(request))

    @post(f"{token_path}/introspect")
    async def introspect(request: Request[Any, Any, Any]) -> Response[Any]:
        return _answer(running.server.create_endpoint_response("introspection", await _form(request)))

    @post(revocation_path)
    async def revoke(request: Request[Any, Any, Any]) -> Response[Any]:
        form = await _form(request)
        return foreign(request, form) or _answer(
            running.server.create_endpoint_response("revocation", form), intake.allowing(request)
        )

    @post(registration_path)
    async def registration(request: Request[Any, Any, Any]) -> Response[Any]:
        if foreign_page := intake.foreign(request, running.realm.registration.origins):
            return foreign_page
        headers = intake.allowing(request)
        if wait_s := running.pace.wait_s(sender(request)):
            headers["retry-after"] = str(math.ceil(wait_s))
            body = {"error": "temporarily_unavailable", "error_description": "too many registrations"}
            return Response(body, status_code=429, headers=headers)
        try:
            return Response(register(running.store, await request.body()), status_code=201, headers=headers)
        except RegistrationRefused as refused:
            return Response(refused.body(), status_code=refused.status, headers=headers)

    return [preflight, token, introspect, revoke, registration]


def _development(running: AuthServer) -> list[HTTPRouteHandler]:
    @post("/_dev/rotate-keys", status_code=200)
    async def rotate(drop_old: FromQuery[bool] = False) -> dict[str, list[str]]:
        former = running.keyring.keys
        running.keyring.rotate(drop_old=drop_old)
        kids = [str(key.kid) for key in running.keyring.keys]
        return {"kids": kids, "new": [str(key.kid) for key in running.keyring.keys if key not in former]}

    @post("/_dev/faults", status_code=200)
    async def faults(request: Request[Any, Any, Any]) -> dict[str, str]:
        try:
            wanted = msgspec.json.decode(await request.body(), type=Faults)
        except msgspec.DecodeError as error:
            raise ClientException(str(error)) from error
        for name in Faults.__struct_fields__:
            setattr(running.faults, name, getattr(wanted, name))
        return {"mode": wanted.mode}

    return [rotate, faults]


async def _form(request: Request[Any, Any, Any]) -> FormRequest:
    form = await request.form()
    parameters = {name: value for name, value in form.items() if isinstance(value, str)}
    credential = request.headers.get("authorization", "")
    headers = {"Authorization": credential} if _readable(credential) else {}
    return FormRequest("POST", request.scope["path"], parameters, headers)


def _readable(credential: str) -> bool:
    """Whether HTTP Basic holds something, and text: authlib raises where it does not."""
    parts = credential.split(None, 1)
    try:
        return len(parts) == 2 and bool(base64.b64decode(parts[1]).decode())
    except (binascii.Error, ValueError):
        return False


def _answer(answer: tuple[int, Any, list[tuple[str, str]]], more: dict[str, str] | None = None) -> Response[Any]:
    status, body, headers = answer
    kept = {name.lower(): value for name, value in headers if name.lower() != "content-type"}
    return Response(body or {}, status_code=status, headers={**kept, "cache-control": "no-store", **(more or {})})
