"""The authorization endpoint and its two pages (RFC 6749 §4.1.1, RFC 9207)."""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from authlib.oauth2.rfc6749 import OAuth2Error
from authlib.oauth2.rfc6749.errors import InvalidClientError, InvalidRequestError
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from devstack.authserver import pages
from devstack.authserver.grants import FormRequest, Server
from devstack.authserver.registration import RegistrationRefused, adopt_document
from devstack.realm.model import Scope, User

COOKIE = "DEV_IDENTITY"
_SECURITY = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


class Authorization:
    """The conversation between a browser and the server until it goes back to the client."""

    def __init__(self, server: Server, base: str) -> None:
        self._server, self._store, self._base = server, server.store, base

    async def begin(self, parameters: list[tuple[str, str]], user: User | None) -> Response[Any]:
        """Check the client's request, then show the page that is due."""
        client_id = dict(parameters).get("client_id", "")
        try:
            await adopt_document(self._store, client_id)
        except RegistrationRefused as refused:
            return _html(pages.problem(str(refused)), 400)
        names = [name for name, _ in parameters]
        request = self._request(dict(parameters))
        try:
            grant = self._server.get_authorization_grant(request)
            grant.request.user = user
            redirect_uri = grant.validate_authorization_request()
            if len(names) != len(set(names)):
                raise InvalidRequestError("duplicated parameter", redirect_uri=redirect_uri)
        except OAuth2Error as error:
            return self._fail(error, request)
        pending = {"parameters": dict(parameters), "user": user}
        return self._next(self._store.put(self._store.pending, pending))

    def log_in(self, transaction: str, username: str, password: str) -> Response[Any]:
        """The login form's answer; the password of a development user is its name."""
        pending = self._store.pending.get(transaction)
        if pending is None:
            return _html(pages.problem("Your login attempt timed out. Start again from the application."), 400)
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
        pending = self._store.pending.get(transaction)
        if pending is None or pending["user"] is None:
            return _html(pages.problem("Your login attempt timed out. Start again from the application."), 400)
        if not allowed:
            return self._finish(transaction, granted=False)
        client_id, user = pending["parameters"]["client_id"], pending["user"]
        for scope in self._asked(pending):
            self._store.consents.add((user.username, client_id, scope.name))
        return self._finish(transaction, granted=True)

    def _next(self, transaction: str) -> Response[Any]:
        pending = self._store.pending[transaction]
        user, parameters = pending["user"], pending["parameters"]
        if user is None:
            return self._show_login(transaction)
        client = self._store.clients[parameters["client_id"]].client
        known = self._store.consents
        new = [s for s in self._asked(pending) if (user.username, client.client_id, s.name) not in known]
        if client.consent and (new or parameters.get("prompt") == "consent"):
            action = f"{self._base}/login-actions/consent?tx={transaction}"
            return _html(pages.consent(action, client.name, user.username, self._asked(pending)))
        return self._finish(transaction, granted=True)

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
        pending = self._store.pending.pop(transaction)
        request = self._request(pending["parameters"])
        try:
            grant = self._server.get_authorization_grant(request)
            user = pending["user"] if granted else None
            status, _, headers = self._server.create_authorization_response(request, user, grant)
        except OAuth2Error as error:
            return self._fail(error, request)
        return self._redirect(status, dict(headers).get("Location", ""))

    def _request(self, parameters: dict[str, str]) -> FormRequest:
        return FormRequest("GET", "/auth", parameters, {})

    def _fail(self, error: OAuth2Error, request: FormRequest) -> Response[Any]:
        """Back to the client with the error where its address is proved, else a page (RFC 6749 §4.1.2.1)."""
        redirect_uri = getattr(error, "redirect_uri", None)
        if not redirect_uri or isinstance(error, InvalidClientError):
            unknown = isinstance(error, InvalidClientError)
            text = "Client not found." if unknown else "Invalid parameter: redirect_uri"
            return _html(pages.problem(text), 400)
        fields = [("error", error.error), ("error_description", error.description or "")]
        if request.payload.state:
            fields.append(("state", request.payload.state))
        return self._redirect(302, _with_query(redirect_uri, fields))

    def _redirect(self, status: int, location: str) -> Response[Any]:
        target = _with_query(location, [("iss", self._store.realm.issuer)])
        return Response(None, status_code=status, headers={"location": target, **_SECURITY})


def routes(server: Server, prefix: str, base: str) -> list[HTTPRouteHandler]:
    """The handlers below `prefix`; `base` is the issuer, which the forms' actions begin with."""
    conversation = Authorization(server, base)

    @get(f"{prefix}/protocol/openid-connect/auth")
    async def authorize(request: Request[Any, Any, Any]) -> Response[Any]:
        user = server.store.logins.get(request.cookies.get(COOKIE, ""))
        query = request.scope["query_string"].decode("latin-1")
        return await conversation.begin(parse_qsl(query, keep_blank_values=True, max_num_fields=50), user)

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


def _with_query(url: str, fields: list[tuple[str, str]]) -> str:
    parts = urlsplit(url)
    query = "&".join(one for one in (parts.query, urlencode(fields)) if one)
    return parts._replace(query=query).geturl()
