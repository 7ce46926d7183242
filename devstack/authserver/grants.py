"""What authlib's grants ask of this server: RFC 6749, 7636, 8707, 7009, 7662; errors as Keycloak words them."""

import re
import time
from typing import Any, ClassVar

from authlib.oauth2 import AuthorizationServer, OAuth2Request
from authlib.oauth2.rfc6749 import OAuth2Error
from authlib.oauth2.rfc6749.errors import InvalidGrantError, InvalidRequestError, InvalidScopeError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant as CodeGrantBase
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant as ClientCredentialsBase
from authlib.oauth2.rfc6749.grants import RefreshTokenGrant as RefreshGrantBase
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7009 import RevocationEndpoint as RevocationBase
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint as IntrospectionBase

from devstack.authserver.pending import Login
from devstack.authserver.store import Code, Grant, RegisteredClient, Store
from devstack.authserver.tokens import TokenIssuer
from devstack.realm.model import User

CODE_S = 60
RESOURCE_INDICATORS = "resource-indicators"
Answer = tuple[int, Any, list[tuple[str, str]]]


class InvalidTargetError(OAuth2Error):
    """RFC 8707 §2."""

    error = "invalid_target"


class FormRequest(OAuth2Request):
    """A request whose parameters were read by Litestar; authlib sees a secure address, for we are on loopback."""

    def __init__(self, method: str, path: str, parameters: dict[str, str], headers: dict[str, str]) -> None:
        super().__init__(method, "https://embedded" + path, headers=headers)
        self.payload = BasicOAuth2Payload(parameters)
        self.scope_granted = ""
        self.login = Login()

    @property
    def args(self) -> dict[str, str]:
        return dict(self.payload.data)

    @property
    def form(self) -> dict[str, str]:
        return dict(self.payload.data)


class Server(AuthorizationServer):
    """authlib's server over our store and mint."""

    def __init__(self, store: Store, mint: TokenIssuer) -> None:
        super().__init__()
        self.store, self.mint = store, mint
        self.register_grant(CodeGrant, [S256(required=True)])
        self.register_grant(RefreshGrant)
        self.register_grant(ClientCredentialsGrant)
        self.register_endpoint(Revocation)
        self.register_endpoint(Introspection)

    def query_client(self, client_id: str) -> RegisteredClient | None:
        return self.store.clients.get(client_id)

    def save_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        """Tokens are self-contained; grants are kept by `issue`."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: FormRequest) -> FormRequest:
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Answer:
        return status, body, headers

    def issue(self, grant: Grant, scope: str, nonce: str | None = None) -> dict[str, Any]:
        """The token answer of a person's grant; the former refresh token dies."""
        client = self.store.clients[grant.client_id].client
        granted = self.mint.granted(" ".join([scope, *client.default_scopes]), grant.user.roles)
        answer: dict[str, Any] = {
            "access_token": self.mint.access_token(client, grant.user, granted, grant.sid, grant.login),
            "expires_in": self.store.realm.access_token_s,
            "token_type": "Bearer",
            "session_state": grant.sid,
            "scope": granted,
        }
        if "refresh_token" in client.grants:
            answer["refresh_token"], grant.live_refresh = self.mint.refresh_token(client, grant.user, grant.sid)
            answer["refresh_expires_in"] = self.store.realm.refresh_token_s
        if "openid" in scope.split():
            answer["id_token"] = self.mint.id_token(client, grant.user, grant.sid, nonce, grant.login)
        return answer


class S256(CodeChallenge):
    """PKCE, S256 alone (OAuth 2.1 §7.5.2)."""

    SUPPORTED_CODE_CHALLENGE_METHOD: ClassVar = ["S256"]

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        data = grant.request.payload.data
        if not data.get("code_challenge_method"):
            raise InvalidRequestError("Missing parameter: code_challenge_method", redirect_uri=redirect_uri)
        if data["code_challenge_method"] != "S256":
            text = "Invalid parameter: code challenge method is not matching the configured one"
            raise InvalidRequestError(text, redirect_uri=redirect_uri)
        super().validate_code_challenge(grant, redirect_uri)

    def get_authorization_code_challenge(self, authorization_code: Code) -> str | None:
        return authorization_code.code_challenge

    def get_authorization_code_challenge_method(self, authorization_code: Code) -> str | None:
        return authorization_code.code_challenge_method


def speakable(scopes: list[str]) -> str:
    """Scopes for a description, which may hold no other characters (RFC 6749 §5.2): authlib raises at those."""
    return re.sub(r"[^ !#-\[\]-~]", "?", " ".join(scopes))


class CodeGrant(CodeGrantBase):
    """The authorization code (RFC 6749 §4.1)."""

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = ["none", "client_secret_basic", "client_secret_post"]
    server: Server

    def validate_authorization_request(self) -> str:
        redirect_uri: str = super().validate_authorization_request()
        asked = (self.request.payload.scope or "").split()
        known = set(self.request.client.get_allowed_scope(" ".join(asked)).split())
        if not known.issuperset(asked):
            raise InvalidScopeError(f"Invalid scopes: {speakable(asked)}", redirect_uri=redirect_uri)
        resource = self.request.payload.data.get("resource")
        checked = RESOURCE_INDICATORS in self.server.store.realm.features
        if checked and resource and ("#" in resource or "://" not in resource):
            raise InvalidTargetError(
                "The requested resource is invalid, missing, unknown, or malformed.", redirect_uri=redirect_uri
            )
        return redirect_uri

    def save_authorization_code(self, code: str, request: FormRequest) -> Code:
        data = request.payload.data
        saved = Code(
            code=code,
            client_id=request.client.client_id,
            redirect_uri=data.get("redirect_uri"),
            scope=data.get("scope") or "",
            user=request.user,
            resource=data.get("resource"),
            nonce=data.get("nonce"),
            code_challenge=data.get("code_challenge"),
            code_challenge_method=data.get("code_challenge_method"),
            expires_at=time.time() + CODE_S,
            login=request.login,
        )
        codes = self.server.store.codes
        for old in [name for name, one in codes.items() if one.expires_at < time.time()]:
            del codes[old]
        self.server.store.put(codes, saved, code)
        return saved

    def query_authorization_code(self, code: str, client: RegisteredClient) -> Code | None:
        """A code is looked at once, whoever shows it: the second time it ends what the first began (RFC 6749 §4.1.2).

        Somebody has it who should not; nobody can tell which of the two came first.
        """
        store = self.server.store
        found = store.codes.get(code)
        if found is None or found.expires_at < time.time():
            return None
        if found.used:
            if grant := store.grants.get(found.sid):
                store.end(grant)
            return None
        found.used = True
        return found if found.client_id == client.client_id else None

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """It is kept to know it again, for as long as what it was traded for may live."""
        authorization_code.expires_at = time.time() + self.server.store.realm.refresh_token_s

    def authenticate_user(self, authorization_code: Code) -> User:
        return authorization_code.user

    def create_token_response(self) -> Answer:
        code: Code = self.request.authorization_code
        self.delete_authorization_code(code)
        check_resource(self.server, self.request, code.resource)
        grant = Grant(
            sid="",
            client_id=code.client_id,
            scope=code.scope,
            user=code.user,
            resource=code.resource,
            login=code.login,
        )
        grant.sid = code.sid = self.server.store.put(self.server.store.grants, grant)
        return 200, self.server.issue(grant, code.scope, code.nonce), self.TOKEN_RESPONSE_HEADER


class RefreshGrant(RefreshGrantBase):
    """Refresh with rotation: a token that is used again revokes the whole line (RFC 9700 §4.14.2)."""

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = ["none", "client_secret_basic", "client_secret_post"]
    server: Server

    def authenticate_refresh_token(self, refresh_token: str) -> Grant:
        claims = self.server.mint.read_refresh(refresh_token)
        grant = self.server.store.grants.get(str(claims["sid"])) if claims else None
        if claims is None or grant is None or grant.revoked:
            raise InvalidGrantError("Session not active")
        if claims["jti"] != grant.live_refresh:
            self.server.store.end(grant)
            raise InvalidGrantError("Maximum allowed refresh token reuse exceeded")
        return grant

    def authenticate_user(self, refresh_token: Grant) -> User:
        return refresh_token.user

    def revoke_old_credential(self, refresh_token: Grant) -> None:
        """`issue` has named the live one already."""

    def create_token_response(self) -> Answer:
        grant: Grant = self.request.refresh_token
        check_resource(self.server, self.request, grant.resource)
        scope = self.request.payload.scope or grant.scope
        return 200, self.server.issue(grant, scope), self.TOKEN_RESPONSE_HEADER


class ClientCredentialsGrant(ClientCredentialsBase):
    """A client for itself (RFC 6749 §4.4)."""

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = ["client_secret_basic", "client_secret_post"]
    server: Server

    def create_token_response(self) -> Answer:
        client = self.request.client.client
        asked = self.request.payload.scope or ""
        known = set(self.request.client.get_allowed_scope(asked).split())
        if not known.issuperset(asked.split()):
            raise InvalidScopeError(f"Invalid scopes: {speakable(asked.split())}")
        check_resource(self.server, self.request, self.request.payload.data.get("resource"))
        scope = self.server.mint.granted(" ".join([asked, *client.default_scopes]), client.roles)
        # What sits on default scopes counts, though no token names them.
        mapped = [self.server.store.realm.scope(name) for name in (*scope.split(), *client.default_scopes)]
        audiences = frozenset(one.audience for one in mapped if one and one.audience)
        body = {
            "access_token": self.server.mint.access_token(client, None, scope, "", audiences=audiences),
            "expires_in": self.server.store.realm.access_token_s,
            "token_type": "Bearer",
            "scope": scope,
        }
        return 200, body, self.TOKEN_RESPONSE_HEADER


def check_resource(server: Server, request: OAuth2Request, bound: str | None) -> None:
    """RFC 8707 as Keycloak does it: what was authorized may be repeated or left out, and must be ours."""
    if RESOURCE_INDICATORS not in server.store.realm.features:
        return
    asked = request.payload.data.get("resource")
    if asked is not None and asked != bound:
        raise InvalidTargetError("The requested resource is not matching the original request.")
    if bound is not None and bound != server.store.realm.resource:
        raise InvalidTargetError("The requested resource is invalid, missing, unknown, or malformed.")


class Revocation(RevocationBase):
    """RFC 7009: a refresh token ends its grant, an access token itself; an unknown one is no error."""

    CLIENT_AUTH_METHODS: ClassVar = ["none", "client_secret_basic", "client_secret_post"]
    server: Server

    def authenticate_token(self, request: OAuth2Request, client: RegisteredClient) -> dict[str, Any] | None:
        text = request.form.get("token", "")
        claims = self.server.mint.read_refresh(text) or self.server.mint.read_access(text)
        return claims if claims and claims.get("azp") == client.client_id else None

    def revoke_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        grant = self.server.store.grants.get(str(token.get("sid")))
        if token["typ"] == "Refresh" and grant is not None:
            self.server.store.end(grant)
        self.server.store.revoke(token["jti"])


def is_for(claims: dict[str, Any], client: RegisteredClient) -> bool:
    """Whether a token was made for this client."""
    audience = claims.get("aud")
    return client.client_id in (audience if isinstance(audience, list) else [audience])


class Introspection(IntrospectionBase):
    """RFC 7662: active only for a caller that the token is meant for, as Keycloak has it."""

    CLIENT_AUTH_METHODS: ClassVar = ["client_secret_basic", "client_secret_post"]
    server: Server

    def authenticate_token(self, request: OAuth2Request, client: RegisteredClient) -> dict[str, Any] | None:
        text = request.form.get("token", "")
        claims = self.server.mint.read_access(self.server.store.references.get(text, text))
        if claims is None or claims["jti"] in self.server.store.revoked or not is_for(claims, client):
            return None
        return None if self.server.store.has_ended(str(claims.get("sid", ""))) else claims

    def create_introspection_payload(self, token: dict[str, Any] | None) -> dict[str, Any]:
        if token is None:
            return {"active": False}
        return {**token, "active": True, "client_id": token["azp"], "token_type": "Bearer"}
