"""Token exchange (RFC 8693) as Keycloak's standard exchange does it: checks in its order, errors in its words."""

from typing import Any, ClassVar, Final

import msgspec
from authlib.common.encoding import urlsafe_b64decode
from authlib.oauth2.rfc6749 import OAuth2Error
from authlib.oauth2.rfc6749.errors import InvalidClientError, InvalidRequestError, InvalidScopeError
from authlib.oauth2.rfc6749.grants import BaseGrant, TokenEndpointMixin

from devstack.authserver.grants import Answer, Server, is_for, speakable
from devstack.authserver.pending import Login
from devstack.authserver.store import RegisteredClient
from devstack.realm.model import Client, User

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"
UNSUPPORTED: Final = ("requested_subject", "requested_issuer", "subject_issuer")


class UnauthorizedClientError(OAuth2Error):
    """A known client with a wrong secret: Keycloak's word for it, where RFC 6749 §5.2 has `invalid_client`."""

    error = "unauthorized_client"
    status_code = 401


class AccessDeniedError(OAuth2Error):
    """The token was not meant for who wants to exchange it."""

    error = "access_denied"
    status_code = 403


class ExchangeGrant(BaseGrant, TokenEndpointMixin):
    """A token that is meant for the caller becomes one for an API: the person's, for fewer scopes and one audience."""

    GRANT_TYPE = EXCHANGE
    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = ["none", "client_secret_basic", "client_secret_post"]
    server: Server

    def validate_token_request(self) -> None:
        """Who asks, and for something that this exchange can do."""
        self.request.client = self._requester()
        form = self.request.form
        for name in UNSUPPORTED:
            if name in form:
                raise InvalidRequestError(f"Parameter '{name}' is not supported for standard token exchange")
        if not self.request.client.client.exchange:
            raise InvalidRequestError("Standard token exchange is not enabled for the requested client")
        for name in ("subject_token", "subject_token_type"):
            if not form.get(name):
                raise InvalidRequestError(f"Parameter '{name}' required for standard token exchange")
        if form["subject_token_type"] != ACCESS_TOKEN:
            raise InvalidRequestError("Parameter 'subject_token' supports access tokens only")

    def create_token_response(self) -> Answer:
        """The exchanged token; no refresh token, and no session of its own: it ends with the person's."""
        registered: RegisteredClient = self.request.client
        requester, form, store = registered.client, self.request.form, self.server.store
        asked = form.get("scope")
        if store.realm.downscope:
            _require_narrower(form["subject_token"], asked)
        subject = self._subject(form["subject_token"])
        if form.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
            raise InvalidRequestError("requested_token_type unsupported")
        audience = form.get("audience")
        if audience and audience not in store.clients:
            raise InvalidClientError("Audience not found", status_code=400)
        if subject["azp"] != requester.client_id and not is_for(subject, registered):
            raise AccessDeniedError("Client is not within the token audience")
        wanted = (asked or "").split()
        if set(wanted) - {*registered.get_allowed_scope(asked).split()}:
            raise InvalidScopeError(f"Invalid scopes: {speakable(wanted)}")
        return 200, self._issued(requester, subject, wanted, audience), self.TOKEN_RESPONSE_HEADER

    def _requester(self) -> RegisteredClient:
        try:
            found: RegisteredClient = self.authenticate_token_endpoint_client()
        except InvalidClientError as refused:
            known = self.server.store.clients.get(self.request.payload.client_id or "")
            error = UnauthorizedClientError if known else InvalidClientError
            raise error("Invalid client or Invalid client credentials", status_code=401) from refused
        return found

    def _subject(self, token: str) -> dict[str, Any]:
        """What a token of ours says, that is good and whose session goes on."""
        store = self.server.store
        claims = self.server.mint.read_access(store.references.get(token, token))
        if claims is None or claims["jti"] in store.revoked or store.has_ended(str(claims.get("sid", ""))):
            raise InvalidRequestError("Invalid token")
        return claims

    def _issued(
        self, requester: Client, subject: dict[str, Any], wanted: list[str], audience: str | None
    ) -> dict[str, Any]:
        person, store = self._person(subject), self.server.store
        granted = self.server.mint.granted(" ".join(wanted), person.roles)
        # What sits on the requester's default scopes counts, though no token names them.
        mapped = [store.realm.scope(name) for name in (*granted.split(), *requester.default_scopes)]
        available = {one.audience for one in mapped if one and one.audience}
        if audience and audience not in available:
            raise InvalidRequestError(f"Requested audience not available: {audience}")
        audiences = frozenset({audience} if audience else available)
        sid = str(subject.get("sid", ""))
        return {
            "access_token": self.server.mint.access_token(
                requester, person, granted, sid, _login(subject), audiences=audiences
            ),
            "expires_in": store.realm.access_token_s,
            "refresh_expires_in": 0,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "session_state": sid,
            "scope": granted,
            "issued_token_type": ACCESS_TOKEN,
        }

    def _person(self, subject: dict[str, Any]) -> User:
        """Whose token it is: a person's, or that of a client for itself."""
        name = subject["preferred_username"]
        known = self.server.store.users.get(name)
        return known or User(name, self.server.store.clients[subject["azp"]].client.roles)


def _login(subject: dict[str, Any]) -> Login | None:
    """How and when the person logged in: it is the same login, whoever the token is for now (RFC 9470 §6.1)."""
    if "auth_time" not in subject:
        return None
    return Login(auth_time=subject["auth_time"], level=int(subject["acr"]))


def _require_narrower(token: str, asked: str | None) -> None:
    """Keycloak's executor `downscope-assertion-grant-enforcer`, which reads the token before anybody verified it."""
    try:
        held = msgspec.json.decode(urlsafe_b64decode(token.split(".")[1].encode())).get("scope", "").split()
    except (IndexError, ValueError, AttributeError) as error:
        raise InvalidRequestError("Assertion contains an invalid access token") from error
    if asked is not None and (wider := {*(asked.split() or [""])} - {*held}):
        text = f"Scopes [{speakable(sorted(wider))}] not present in the initial access token [{speakable(held)}]"
        raise InvalidScopeError(text)
