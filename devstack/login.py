"""A person's login without a browser: code and PKCE over HTTP, the forms filled in (for `devstack token` and tests)."""

import base64
import hashlib
import re
import secrets
from html import unescape
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx

REDIRECT: Final = "http://127.0.0.1/callback"
_ACTION: Final = re.compile(r'<form[^>]*action="([^"]+)"')


class LoginFailed(Exception):
    """The authorization server did not send a code; the text says what it sent."""


def authorize(browser: httpx.Client, url: str, user: str) -> dict[str, str]:
    """Open an authorization URL as `user`, log in, consent; the parameters that came back to the client."""
    page = browser.get(url)
    for _ in range(4):
        location = page.headers.get("location")
        if location:
            return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        form = _ACTION.search(page.text)
        if page.status_code != 200 or form is None:
            break
        fields = {"username": user, "password": user} if 'name="password"' in page.text else {"accept": "Yes"}
        page = browser.post(unescape(form[1]), data=fields)
    text = re.sub(r"<style.*?</style>|<[^>]+>", " ", page.text, flags=re.DOTALL)
    raise LoginFailed(" ".join(text.split())[:300])


def fetch_token(issuer: str, user: str, scope: str, resource: str, client_id: str = "mcp-public") -> dict[str, Any]:
    """The token answer for a person of the realm; raises `LoginFailed`."""
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
    }
    with httpx.Client(trust_env=False, timeout=30) as browser:
        url = str(httpx.URL(f"{endpoint}/auth", params=asked))
        came_back = authorize(browser, url, user)
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
        answer = browser.post(f"{endpoint}/token", data=form)
    if answer.status_code != 200:
        raise LoginFailed(answer.text)
    tokens: dict[str, Any] = answer.json()
    return tokens
