"""The authorization endpoint and its two pages (RFC 6749 §4.1.1, RFC 9207)."""

from typing import Any, Final
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749 import OAuth2Error
from authlib.oauth2.rfc6749.errors import InvalidRequestError, UnsupportedResponseTypeError
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from devstack.authserver import pages
from devstack.authserver.documents import Documents
from devstack.authserver.grants import FormRequest, Server
from devstack.authserver.pace import sender
from devstack.authserver.redirects import with_query
from devstack.authserver.registration import RegistrationRefused
from devstack.realm.model import Scope, User

COOKIE: Final = "DEV_IDENTITY"
MAX_PARAMETERS: Final = 50
TIMED_OUT: Final = "Your login attempt timed out. Start again from the application."
_SECURITY: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",  # without any, a browser posts our own forms with `Origin: null`
}


class Authorization:
    """The conversation between a browser and the server until it goes back to the client."""

    def __init__(self, server: Server, documents: Documents, base: str) -> None:
        self._server, self._store, self._documents, self._base = server, server.store, documents, base

    async def begin(self, parameters: list[tuple[str, str]], user: User | None, address: str) -> Response[Any]:
        """Check the client's request, then show the page that is due."""
        given = dict(parameters)
        client_id = given.get("client_id", "")
        try:
            await self._documents.adopt(client_id, address)
        except RegistrationRefused as refused:
            return _html(pages.problem(str(refused)), 400)
        client = self._store.clients.get(client_id)
        if client is None:
            return _html(pages.problem("Client not found."), 400)
        asked = given.get("redirect_uri") or client.get_default_redirect_uri() or ""
        if not client.check_redirect_uri(asked):
            return _html(pages.problem("Invalid parameter: redirect_uri"), 400)
        # From here on the address is one that was registered: every error may go there (RFC 6749 §4.1.2.1).
        try:
            self._check(parameters, user)
        except OAuth2Error as error:
            return self._fail(error, asked, given.get("state"))
        prompts = (given.get("prompt") or "").split()
        person = None if "login" in prompts or client.client.fresh_login else user
        transaction = self._store.put(self._store.pending, {"parameters": given, "user": person})
        if "none" in prompts:
            return self._silently(transaction, asked)
        return self._next(transaction)

    def _check(self, parameters: list[tuple[str, str]], user: User | None) -> None:
        """Raises what is wrong with a request of a known client with a registered address."""
        names = [name for name, _ in parameters]
        if len(names) != len(set(names)):
            raise InvalidRequestError("duplicated parameter")
        given = dict(parameters)
        if not given.get("response_type"):
            raise InvalidRequestError("Missing parameter: response_type")
        if given["response_type"] != "code":
            raise UnsupportedResponseTypeError(None)
        request = self._request(given)
        request.user = user
        self._server.get_authorization_grant(request).validate_authorization_request()

    def _silently(self, transaction: str, redirect_uri: str) -> Response[Any]:
        """`prompt=none`: a code without a page, or the reason why there must be one (OpenID Connect Core §3.1.2.6)."""
        pending = self._store.pending[transaction]
        if pending["user"] is not None and not self._must_ask(pending):
            return self._finish(transaction, granted=True)
        del self._store.pending[transaction]
        needed = "login_required" if pending["user"] is None else "interaction_required"
        return self._fail(OAuth2Error(error=needed), redirect_uri, pending["parameters"].get("state"))

    def log_in(self, transaction: str, username: str, password: str) -> Response[Any]:
        """The login form's answer; the password of a development user is its name."""
        pending = self._pending(transaction)
        if pending is None:
            return _html(pages.problem(TIMED_OUT), 400)
        user = self._store.users.get(username)
        if user is None or password != user.password:
            return self._show_login(transaction, "Invalid username or password.", 200)
        pending["user"] = user
        response = self._next(transaction)
        session = self._store.put(self._store.logins, user)
        response.set_cookie(key=COOKIE, value=session, httponly=True, samesite="lax")
        return response

    def decide(self, transaction: str, *, allowed: bool) -> Response[Any]:
        """The consent form's answer."""
        pending = self._pending(transaction)
        if pending is None or pending["user"] is None:
            return _html(pages.problem(TIMED_OUT), 400)
        if not allowed:
            return self._finish(transaction, granted=False)
        names = [scope.name for scope in self._asked(pending)]
        self._store.allow(pending["user"], pending["parameters"]["client_id"], names)
        return self._finish(transaction, granted=True)

    def _pending(self, transaction: str) -> dict[str, Any] | None:
        """What a browser came with, unless its client was forgotten meanwhile."""
        pending = self._store.pending.get(transaction)
        return pending if pending and pending["parameters"]["client_id"] in self._store.clients else None

    def _next(self, transaction: str) -> Response[Any]:
        pending = self._store.pending[transaction]
        if pending["user"] is None:
            return self._show_login(transaction)
        if self._must_ask(pending):
            client = self._store.clients[pending["parameters"]["client_id"]].client
            action = f"{self._base}/login-actions/consent?tx={transaction}"
            return _html(pages.consent(action, client.name, pending["user"].username, self._asked(pending)))
        return self._finish(transaction, granted=True)

    def _must_ask(self, pending: dict[str, Any]) -> bool:
        """Whether a person must say yes first: for a client that asks, and for a scope that they have not allowed."""
        client = self._store.clients[pending["parameters"]["client_id"]].client
        if not client.consent:
            return False
        again = "consent" in (pending["parameters"].get("prompt") or "").split()
        names = [scope.name for scope in self._asked(pending)]
        return again or not self._store.allowed(pending["user"], client.client_id, names)

    def _show_login(self, transaction: str, error: str = "", status: int = 200) -> Response[Any]:
        client_id = self._store.pending[transaction]["parameters"]["client_id"]
        action = f"{self._base}/login-actions/authenticate?tx={transaction}"
        return _html(pages.login(action, self._store.clients[client_id].client.name or client_id, error), status)

    def _asked(self, pending: dict[str, Any]) -> list[Scope]:
        client = self._store.clients[pending["parameters"]["client_id"]].client
        names = [*(pending["parameters"].get("scope") or "").split(), *client.default_scopes]
        found = [self._store.realm.scope(name) for name in dict.fromkeys(names)]
        return [one for one in found if one and one.consent]

    def _finish(self, transaction: str, *, granted: bool) -> Response[Any]:
        """Back to the client with a code, or with `access_denied`."""
        pending = self._store.pending.pop(transaction)
        request = self._request(pending["parameters"])
        grant = self._server.get_authorization_grant(request)
        status, _, headers = self._server.create_authorization_response(
            request, pending["user"] if granted else None, grant
        )
        return self._redirect(status, dict(headers)["Location"])

    def _request(self, parameters: dict[str, str]) -> FormRequest:
        return FormRequest("GET", "/auth", parameters, {})

    def _fail(self, error: OAuth2Error, redirect_uri: str, state: str | None) -> Response[Any]:
        fields = [("error", error.error)]
        if error.description:
            fields.append(("error_description", error.description))
        if state:
            fields.append(("state", state))
        return self._redirect(302, with_query(redirect_uri, fields))

    def _redirect(self, status: int, location: str) -> Response[Any]:
        target = with_query(location, [("iss", self._store.realm.issuer)])
        return Response(None, status_code=status, headers={"location": target, **_SECURITY})


def routes(server: Server, documents: Documents, prefix: str, base: str) -> list[HTTPRouteHandler]:
    """The handlers below `prefix`; `base` is the issuer, which the forms' actions begin with."""
    conversation = Authorization(server, documents, base)

    @get(f"{prefix}/protocol/openid-connect/auth")
    async def authorize(request: Request[Any, Any, Any]) -> Response[Any]:
        user = server.store.logins.get(request.cookies.get(COOKIE, ""))
        query = request.scope["query_string"].decode("latin-1")
        try:
            parameters = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        except ValueError:
            return _html(pages.problem("Invalid request: too many parameters."), 400)
        return await conversation.begin(parameters, user, sender(request))

    @post(f"{prefix}/login-actions/authenticate", status_code=200)
    async def authenticate(request: Request[Any, Any, Any], tx: FromQuery[str]) -> Response[Any]:
        form = await request.form()
        return conversation.log_in(tx, str(form.get("username", "")), str(form.get("password", "")))

    @post(f"{prefix}/login-actions/consent", status_code=200)
    async def decide(request: Request[Any, Any, Any], tx: FromQuery[str]) -> Response[Any]:
        return conversation.decide(tx, allowed="accept" in await request.form())

    return [authorize, authenticate, decide]


def _html(page: str, status: int = 200) -> Response[Any]:
    return Response(page, status_code=status, media_type="text/html; charset=utf-8", headers=dict(_SECURITY))
