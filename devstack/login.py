"""A person's login without a browser: code and PKCE over HTTP, the forms filled in (for `devstack token` and tests)."""

import base64
import hashlib
import hmac
import re
import secrets
import time
from html import unescape
from typing import Any, Final
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

from devstack.realm.clients import ONE_TIME_SECRET

REDIRECT: Final = "http://127.0.0.1/callback"
_FORM: Final = re.compile(r'<form[^>]*action="([^"]+)".*?</form>', re.DOTALL)
_HIDDEN: Final = re.compile(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"')
_PASSWORD: Final = 'name="password"'
_ONE_TIME: Final = 'name="otp"'
_MAX_PAGES: Final = 8


class LoginFailed(Exception):
    """The authorization server did not send a code; the text says what it sent."""


def browser() -> httpx.Client:
    """A client that keeps cookies as browsers do on loopback: Keycloak's are `Secure` over plain http, too."""
    client = httpx.Client(trust_env=False, timeout=30)

    def send_them_here_too(_: httpx.Response) -> None:
        for cookie in client.cookies.jar:
            cookie.secure = False

    client.event_hooks["response"].append(send_them_here_too)
    return client


def authorize(browser: httpx.Client, url: str, user: str, *, allow: bool = True) -> dict[str, str]:
    """Open an authorization URL as `user`, log in, consent; the parameters that came back to the client."""
    back = parse_qs(urlsplit(url).query)["redirect_uri"][0]
    page, tried = browser.get(url), False
    for _ in range(_MAX_PAGES):
        location = page.headers.get("location")
        if location and location.startswith(back):
            return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        if location:
            page = browser.get(urljoin(str(page.url), location))
            continue
        form = _FORM.search(page.text)
        if page.status_code != 200 or form is None:
            break
        if _PASSWORD in form[0]:
            if tried:
                raise LoginFailed(f"no such user, or wrong password: {user}")
            tried = True
        fields = dict(_HIDDEN.findall(form[0])) | _answers(form[0], user, allow=allow)
        page = browser.post(urljoin(str(page.url), unescape(form[1])), data=fields)
    text = re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]+>", " ", page.text, flags=re.DOTALL)
    raise LoginFailed(" ".join(text.split())[:300])


def _answers(form: str, user: str, *, allow: bool) -> dict[str, str]:
    if _ONE_TIME in form:
        return {"otp": one_time_code(ONE_TIME_SECRET, time.time())}
    if _PASSWORD in form:
        return {"username": user, "password": user}
    return {"accept": "Yes"} if allow else {"cancel": "No"}


def one_time_code(secret: str, at: float) -> str:
    """The code of six digits for a moment (RFC 6238, SHA-1, 30 seconds: what authenticators and Keycloak do)."""
    digest = hmac.digest(secret.encode(), int(at // 30).to_bytes(8, "big"), "sha1")
    start = digest[-1] & 0xF
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


def fetch_token(
    issuer: str, user: str, scope: str, resource: str, client_id: str = "mcp-public", *, acr: str = ""
) -> dict[str, Any]:
    """The token answer for a person of the realm, logged in as `acr` says; raises `LoginFailed`."""
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    endpoint = f"{issuer}/protocol/openid-connect"
    asked = {
        "client_id": client_id,
        "response_type": "code",
        "redirect_uri": REDIRECT,
        "scope": scope,
        "state": secrets.token_urlsafe(8),
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "resource": resource,
        **({"acr_values": acr} if acr else {}),
    }
    with browser() as person:
        url = str(httpx.URL(f"{endpoint}/auth", params=asked))
        came_back = authorize(person, url, user)
        if "code" not in came_back:
            raise LoginFailed(f"{came_back.get('error')}: {came_back.get('error_description')}")
        form = {
            "grant_type": "authorization_code",
            "code": came_back["code"],
            "redirect_uri": REDIRECT,
            "client_id": client_id,
            "code_verifier": verifier,
            "resource": resource,
        }
        answer = person.post(f"{endpoint}/token", data=form)
    if answer.status_code != 200:
        raise LoginFailed(answer.text)
    tokens: dict[str, Any] = answer.json()
    return tokens
