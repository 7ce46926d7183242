"""The application: Keycloak's addresses over authlib's server."""

import asyncio
import os
from typing import Any
from urllib.parse import urlsplit

import msgspec
from litestar import Litestar, Request, Response, get, post, route
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from devstack.authserver import authorize, cors
from devstack.authserver.faults import Faults
from devstack.authserver.grants import FormRequest, Server
from devstack.authserver.registration import CIMD, RegistrationRefused, register
from devstack.authserver.store import Store
from devstack.authserver.tokens import Keyring, Mint
from devstack.realm.model import FEATURES, Realm, read


class AuthServer:
    """One running issuer; tests reach its parts to rotate keys and script faults."""

    def __init__(self, realm: Realm) -> None:
        self.realm = realm
        self.faults = Faults()
        self.keyring = Keyring()
        self.store = Store(realm)
        self.mint = Mint(realm, self.keyring, self.faults)
        self.server = Server(self.store, self.mint)
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
            "registration_endpoint": f"{issuer}/clients-registrations/openid-connect",
            "jwks_uri": f"{connect}/certs",
            "scopes_supported": [scope.name for scope in self.realm.scopes],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
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
                await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=self.faults.slow_s)
        return Response(body, headers={"cache-control": "no-cache", **cors.allowing(request)})


def create(realm: Realm | None = None) -> tuple[Litestar, AuthServer]:
    """The application and its parts."""
    running = AuthServer(realm or read())
    prefix = urlsplit(running.realm.issuer).path
    base = running.realm.issuer
    handlers = [
        *_documents(running, prefix),
        *_tokens(running, prefix),
        *_development(running),
        *authorize.routes(running.server, prefix, base),
    ]
    return Litestar(handlers, openapi_config=None, logging_config=None), running


def application() -> Litestar:
    """What granian runs: issuer and resource come from the environment of `devstack up`."""
    issuer = os.environ.get("DEVSTACK_ISSUER")
    resource = os.environ.get("DEVSTACK_RESOURCE")
    features = os.environ.get("DEVSTACK_FEATURES", ",".join(FEATURES))
    return create(read(issuer, resource, tuple(features.split(","))) if issuer and resource else None)[0]


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
    token_path, registration_path = (
        f"{prefix}/protocol/openid-connect/token",
        f"{prefix}/clients-registrations/openid-connect",
    )

    @route([token_path, registration_path], http_method=["OPTIONS"], sync_to_thread=False)
    def preflight(request: Request[Any, Any, Any]) -> Response[Any]:
        return cors.preflight(request)

    @post(token_path)
    async def token(request: Request[Any, Any, Any]) -> Response[Any]:
        form = await _form(request)
        client = running.store.clients.get(form.form.get("client_id", ""))
        if refused := cors.refusal(request, client.client.origins if client else ()):
            return refused
        return _answer(running.server.create_token_response(form), cors.allowing(request))

    @post(f"{prefix}/protocol/openid-connect/token/introspect")
    async def introspect(request: Request[Any, Any, Any]) -> Response[Any]:
        return _answer(running.server.create_endpoint_response("introspection", await _form(request)))

    @post(f"{prefix}/protocol/openid-connect/revoke")
    async def revoke(request: Request[Any, Any, Any]) -> Response[Any]:
        return _answer(running.server.create_endpoint_response("revocation", await _form(request)))

    @post(registration_path)
    async def registration(request: Request[Any, Any, Any]) -> Response[Any]:
        if foreign := cors.refusal(request, running.realm.registration.origins):
            return foreign
        headers = cors.allowing(request)
        try:
            return Response(register(running.store, await request.body()), status_code=201, headers=headers)
        except RegistrationRefused as refused:
            return Response(refused.body(), status_code=refused.status, headers=headers)

    return [preflight, token, introspect, revoke, registration]


def _development(running: AuthServer) -> list[HTTPRouteHandler]:
    @post("/_dev/rotate-keys", status_code=200)
    async def rotate(drop_old: FromQuery[bool] = False) -> dict[str, list[str]]:
        running.keyring.rotate(drop_old=drop_old)
        return {"kids": [str(key.kid) for key in running.keyring.keys]}

    @post("/_dev/faults", status_code=200)
    async def faults(request: Request[Any, Any, Any]) -> dict[str, str]:
        wanted = msgspec.json.decode(await request.body(), type=Faults)
        for name in Faults.__struct_fields__:
            setattr(running.faults, name, getattr(wanted, name))
        return {"mode": wanted.mode}

    return [rotate, faults]


async def _form(request: Request[Any, Any, Any]) -> FormRequest:
    form = await request.form()
    parameters = {name: value for name, value in form.items() if isinstance(value, str)}
    headers = {"Authorization": request.headers["authorization"]} if "authorization" in request.headers else {}
    return FormRequest("POST", request.scope["path"], parameters, headers)


def _answer(answer: tuple[int, Any, list[tuple[str, str]]], more: dict[str, str] | None = None) -> Response[Any]:
    status, body, headers = answer
    kept = {name.lower(): value for name, value in headers if name.lower() != "content-type"}
    return Response(body or {}, status_code=status, headers={**kept, "cache-control": "no-store", **(more or {})})
