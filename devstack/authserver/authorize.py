"""The authorization endpoint and its pages (RFC 6749 §4.1.1, RFC 9207, OpenID Connect Core §3.1.2.1 for logins)."""

import re
import secrets
import time
from typing import Any, Final
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749 import OAuth2Error
from authlib.oauth2.rfc6749.errors import InvalidRequestError, UnsupportedResponseTypeError
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from devstack.authserver import pages
from devstack.authserver.clients.documents import Documents
from devstack.authserver.clients.redirects import with_query
from devstack.authserver.clients.registration import RegistrationRefused
from devstack.authserver.grants import FormRequest, Server
from devstack.authserver.pace import sender
from devstack.authserver.pending import Login, Waiting
from devstack.authserver.store import Session
from devstack.login import one_time_code
from devstack.realm import step_up
from devstack.realm.model import Client, Scope, User

COOKIE: Final = "DEV_IDENTITY"
MAX_PARAMETERS: Final = 50
MAX_PARAMETER: Final = 4 * 1024
MAX_QUERY: Final = 16 * 1024
"""Bytes of one parameter and of all: `state` is whatever a client likes, and is kept until a person has answered."""
_LEVELS: Final = frozenset({"0", *map(str, step_up.LEVELS)})
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

    async def begin(self, parameters: list[tuple[str, str]], session: Session | None, address: str) -> Response[Any]:
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
            self._check(parameters, session.user if session else None)
        except OAuth2Error as error:
            return self._fail(error, asked, given.get("state"))
        prompts = (given.get("prompt") or "").split()
        try:
            enough = session and "login" not in prompts and _is_recent(session, given.get("max_age"))
        except ValueError:
            return _html(pages.problem("Invalid Request"), 400)
        waiting = Waiting(given)
        if session and enough and not _wanted_level(given, client.client):
            waiting.user, waiting.login = session.user, Login(auth_time=session.auth_time)
        if "none" in prompts:
            return self._silently(waiting, asked)
        return self._next(self._store.pending.put(waiting), waiting)

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

    def _silently(self, waiting: Waiting, redirect_uri: str) -> Response[Any]:
        """`prompt=none`: a code without a page, or the reason why there must be one (OpenID Connect Core §3.1.2.6)."""
        if waiting.user is not None and not self._must_ask(waiting):
            return self._finish(waiting, granted=True)
        needed = "login_required" if waiting.user is None else "interaction_required"
        return self._fail(OAuth2Error(error=needed), redirect_uri, waiting.parameters.get("state"))

    def log_in(self, transaction: str, username: str, password: str) -> Response[Any]:
        """The login form's answer; the password of a development user is its name."""
        waiting = self._pending(transaction)
        if waiting is None:
            return _html(pages.problem(TIMED_OUT), 400)
        user = self._store.users.get(username)
        if user is None or password != user.password:
            return self._show_login(transaction, waiting, username, "Invalid username or password.")
        waiting.user, waiting.login = user, Login(int(time.time()), 1)
        response = self._next(transaction, waiting)
        session = self._store.put(self._store.logins, Session(user, waiting.login.auth_time))
        response.set_cookie(key=COOKIE, value=session, httponly=True, samesite="lax")
        return response

    def show_code(self, transaction: str, code: str) -> Response[Any]:
        """The second factor's answer; the code before this one is good, too, for it takes time to type one."""
        waiting = self._pending(transaction)
        # Not by the session alone: a level is shown whole, the password now and then the code.
        if waiting is None or waiting.login.level < 1 or waiting.user is None or not waiting.user.one_time_secret:
            return _html(pages.problem(TIMED_OUT), 400)
        now = time.time()
        known = [one_time_code(waiting.user.one_time_secret, at) for at in (now, now - 30)]
        if not any(secrets.compare_digest(one.encode(), code.encode()) for one in known):
            return self._show_second_factor(transaction, waiting.user, "Invalid authenticator code.")
        waiting.login = Login(int(now), 2)
        return self._next(transaction, waiting)

    def decide(self, transaction: str, *, allowed: bool) -> Response[Any]:
        """The consent form's answer."""
        waiting = self._pending(transaction)
        if waiting is None or waiting.user is None:
            return _html(pages.problem(TIMED_OUT), 400)
        if allowed:
            names = [scope.name for scope in self._asked(waiting)]
            self._store.allow(waiting.user, waiting.client_id, names)
        return self._finish(self._store.pending.pop(transaction), granted=allowed)

    def _pending(self, transaction: str) -> Waiting | None:
        """What a browser came with, unless its client was forgotten meanwhile."""
        waiting = self._store.pending.get(transaction)
        return waiting if waiting and waiting.client_id in self._store.clients else None

    def _next(self, transaction: str, waiting: Waiting) -> Response[Any]:
        if waiting.user is None:
            return self._show_login(transaction, waiting)
        if waiting.login.level < _wanted_level(waiting.parameters, self._store.clients[waiting.client_id].client):
            return self._show_second_factor(transaction, waiting.user)
        if self._must_ask(waiting):
            client = self._store.clients[waiting.client_id].client
            action = f"{self._base}/login-actions/consent?tx={transaction}"
            return _html(pages.consent(action, client.name, waiting.user.username, self._asked(waiting)))
        return self._finish(self._store.pending.pop(transaction), granted=True)

    def _must_ask(self, waiting: Waiting) -> bool:
        """Whether a person must say yes first: for a client that asks, and for a scope that they have not allowed."""
        client = self._store.clients[waiting.client_id].client
        if not client.consent:
            return False
        again = "consent" in (waiting.parameters.get("prompt") or "").split()
        names = [scope.name for scope in self._asked(waiting)]
        return again or waiting.user is None or not self._store.allowed(waiting.user, client.client_id, names)

    def _show_login(self, transaction: str, waiting: Waiting, username: str = "", error: str = "") -> Response[Any]:
        action = f"{self._base}/login-actions/authenticate?tx={transaction}"
        name = self._store.clients[waiting.client_id].client.name or waiting.client_id
        return _html(pages.login(action, name, username, error))

    def _show_second_factor(self, transaction: str, user: User, error: str = "") -> Response[Any]:
        if not user.one_time_secret:  # Keycloak would have them set one up
            return _html(pages.problem("You have no second factor."), 400)
        action = f"{self._base}/login-actions/authenticate?tx={transaction}"
        return _html(pages.second_factor(action, one_time_code(user.one_time_secret, time.time()), error))

    def _asked(self, waiting: Waiting) -> list[Scope]:
        client = self._store.clients[waiting.client_id].client
        names = [*(waiting.parameters.get("scope") or "").split(), *client.default_scopes]
        found = [self._store.realm.scope(name) for name in dict.fromkeys(names)]
        return [one for one in found if one and one.consent]

    def _finish(self, waiting: Waiting, *, granted: bool) -> Response[Any]:
        """Back to the client with a code, or with `access_denied`."""
        request = self._request(waiting.parameters)
        request.login = waiting.login
        grant = self._server.get_authorization_grant(request)
        status, _, headers = self._server.create_authorization_response(
            request, waiting.user if granted else None, grant
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


def _wanted_level(given: dict[str, str], client: Client) -> int:
    """What a person has to show, as Keycloak reads `acr_values`: the lowest of those that it knows."""
    known = [int(one) for one in (given.get("acr_values") or "").split() if one in _LEVELS]
    return max(min(known, default=0), 1 if client.fresh_login else 0)


def _is_recent(session: Session, max_age: str | None) -> bool:
    """Whether a login is not older than the client will have it; raises `ValueError` for what is no number."""
    if max_age is not None and not re.fullmatch(r"-?[0-9]+", max_age):
        raise ValueError("max_age is a whole number of seconds")
    return max_age is None or session.auth_time + int(max_age) >= time.time()


def paths(prefix: str) -> frozenset[str]:
    """The addresses of pages: a browser opens them for a person, and for nobody else."""
    actions = f"{prefix}/login-actions"
    return frozenset({f"{prefix}/protocol/openid-connect/auth", f"{actions}/authenticate", f"{actions}/consent"})


def routes(server: Server, documents: Documents, prefix: str, base: str) -> list[HTTPRouteHandler]:
    """The handlers below `prefix`; `base` is the issuer, which the forms' actions begin with."""
    conversation = Authorization(server, documents, base)

    @get(f"{prefix}/protocol/openid-connect/auth")
    async def authorize(request: Request[Any, Any, Any]) -> Response[Any]:
        session = server.store.logins.get(request.cookies.get(COOKIE, ""))
        parameters = _read(request.scope["query_string"])
        if parameters is None:
            return _html(pages.problem("Invalid request: too many parameters, or too long ones."), 400)
        return await conversation.begin(parameters, session, sender(request))

    @post(f"{prefix}/login-actions/authenticate", status_code=200)
    async def authenticate(request: Request[Any, Any, Any], tx: FromQuery[str]) -> Response[Any]:
        form = await request.form()
        if "otp" in form:
            return conversation.show_code(tx, str(form["otp"]))
        return conversation.log_in(tx, str(form.get("username", "")), str(form.get("password", "")))

    @post(f"{prefix}/login-actions/consent", status_code=200)
    async def decide(request: Request[Any, Any, Any], tx: FromQuery[str]) -> Response[Any]:
        return conversation.decide(tx, allowed="accept" in await request.form())

    return [authorize, authenticate, decide]


def _read(query: bytes) -> list[tuple[str, str]] | None:
    """The parameters of a query; None where it holds more than an honest client sends."""
    if len(query) > MAX_QUERY:
        return None
    try:
        found = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        return None
    too_long = any(len(name.encode()) + len(value.encode()) > MAX_PARAMETER for name, value in found)
    return None if too_long else found


def _html(page: str, status: int = 200) -> Response[Any]:
    return Response(page, status_code=status, media_type="text/html; charset=utf-8", headers=dict(_SECURITY))
