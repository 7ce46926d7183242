"""Token exchange (RFC 8693) and client credentials (RFC 6749 §4.4) as values: forms, answers, what a refusal means."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import urlencode

import msgspec

from mcp_server.auth.own_secret import basic
from mcp_server.protocol.errors import UNREADABLE

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type's name
MAX_TOKEN: Final = 16 * 1024
SHORT_S: Final = 60.0
"""How long a token is used whose answer does not say it (RFC 6749 §5.1 only recommends `expires_in`)."""
LONG_S: Final = 24 * 3600.0
"""How long one is used at most: an issuer that ends a session is asked again at last."""
MAX_DIGITS: Final = 12
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""RFC 6750 §2.1: what may stand behind `Bearer`; with anything else a header could be forged."""

_AFTER_THE_CLIENT: Final = frozenset({"invalid_grant", "invalid_scope", "invalid_target"})
"""Errors of RFC 6749 §5.2, and of the exchange, that are about what an authenticated client asks for."""

Kind = Literal["session_ended", "refused", "unavailable", "no_caller"]
"""The caller's token is no longer good; the operator has to change something; try later; nobody to act for."""


class ClientAuth(msgspec.Struct, frozen=True, kw_only=True):
    """Who this server is to the issuer, and how it says so (RFC 6749 §2.3.1)."""

    client_id: str
    secret: str
    method: Literal["basic", "post"] = "basic"

    def __repr__(self) -> str:
        return f"ClientAuth({self.client_id!r}, {self.method})"

    def headers(self) -> tuple[tuple[str, str], ...]:
        """HTTP Basic, where that is the method."""
        return () if self.method == "post" else (("authorization", basic(self.client_id, self.secret)),)

    def form(self) -> dict[str, str]:
        """The same in the form, where that is the method."""
        return {"client_id": self.client_id, "client_secret": self.secret} if self.method == "post" else {}


class Issued(msgspec.Struct, frozen=True):
    """An issued token, until when it may be used, and the scopes that were asked for and left out."""

    token: str
    expires_at: float
    left_out: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"Issued(until {self.expires_at:.0f})"


class Refusal(msgspec.Struct, frozen=True):
    """No token: what kind of refusal, and the line that tells the operator what to change."""

    kind: Kind
    line: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a token is wanted for; both are always sent, for without scopes Keycloak grants the requester's defaults."""

    audience: str
    scopes: frozenset[str]

    def form(self) -> dict[str, str]:
        """Its part of the form."""
        found = {"audience": self.audience, "scope": " ".join(sorted(self.scopes))}
        return {name: value for name, value in found.items() if value}


def exchange_body(subject: str, wanted: Wanted, client: ClientAuth) -> bytes:
    """The form that trades a caller's token; `subject` is the token."""
    kinds = {"subject_token_type": ACCESS_TOKEN, "requested_token_type": ACCESS_TOKEN}
    return _form({"grant_type": EXCHANGE, "subject_token": subject} | kinds | wanted.form() | client.form())


def own_body(wanted: Wanted, client: ClientAuth) -> bytes:
    """The form by which this server gets a token for itself."""
    return _form({"grant_type": "client_credentials"} | wanted.form() | client.form())


def _form(fields: dict[str, str]) -> bytes:
    return urlencode(fields).encode()


def read(
    status: int, body: bytes, *, wanted: Wanted, client: ClientAuth, now: float, subject: str = ""
) -> Issued | Refusal:
    """What the token endpoint answered. `subject` is what was traded, which must not come back.

    `now` is when it was asked, by the clock in which the token's end is to be told.
    """
    said = _said(body)
    if status != 200:
        return _refusal(status, _text(said, "error"), _text(said, "error_description"), wanted, client)
    token = said.get("access_token")
    if not isinstance(token, str) or len(token) > MAX_TOKEN or not _TOKEN.fullmatch(token):
        return Refusal("unavailable", "the issuer's answer holds no usable access_token")
    if token == subject:  # an issuer that cannot exchange may hand it back: sending it on is what MCP forbids
        return Refusal("refused", "the issuer returned the caller's own token in place of one for the API")
    if _text(said, "token_type").lower() != "bearer" or said.get("issued_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
        return Refusal("refused", "the issuer returned a token that is no bearer access token")
    granted = _text(said, "scope")
    left_out = wanted.scopes - {*granted.split()} if granted else frozenset()
    return Issued(token, now + _lasts(said.get("expires_in")), left_out)


def client_refused(status: int, body: bytes) -> bool:
    """Whether it is this server that is not let in, by its secret, and not what it asked for (RFC 6749 §5.2).

    A 401 is about the client whatever stands in it, for issuers have words of their own, unless it names the token.
    """
    error = _text(_said(body), "error")
    if status == 401:
        return error not in ("invalid_token", "invalid_grant")
    return status == 400 and error in ("invalid_client", "unauthorized_client")


def client_accepted(status: int, body: bytes) -> bool:
    """Whether it was certainly let in: by a token, or by what is looked at after that.

    A limit of a proxy, a page about maintenance, which may come with 200, or a malformed request say nothing of the
    secret.
    """
    said = _said(body)
    if status == 200:
        return bool(_text(said, "access_token"))
    return status == 400 and _text(said, "error") in _AFTER_THE_CLIENT


def _said(body: bytes) -> Mapping[str, Any]:
    """The members of an answer; none where it is no JSON object."""
    try:
        found = msgspec.json.decode(body)
    except UNREADABLE:
        return {}
    return found if isinstance(found, Mapping) else {}


def _lasts(stated: Any) -> float:
    """The seconds that a token is used for: some issuers write them as a text, and a broken one writes anything."""
    if isinstance(stated, str) and len(stated) <= MAX_DIGITS and stated.isascii() and stated.isdigit():
        stated = int(stated)
    if not isinstance(stated, int | float) or isinstance(stated, bool):
        return SHORT_S
    return float(max(0, min(stated, LONG_S)))


def _text(said: Mapping[str, Any], name: str) -> str:
    found = said.get(name, "")
    return found[:300] if isinstance(found, str) else ""


_ENDED: Final = "the caller's session has ended, or the issuer revoked the token"
_CLIENT: Final = (
    "the issuer does not accept client {client!r} as it was told to this server, or allows it no such grant: compare "
    "MCP_CLIENT_ID and MCP_CLIENT_SECRET with the realm"
)
_NO_MAPPER: Final = (
    "no scope of client {client!r} adds the audience {audience!r}: give the client scopes {scopes} an audience mapper "
    "for it, and assign them to that client as optional"
)
_ONLY_NARROWER: Final = (
    "callers' tokens do not hold {scopes}, and the realm lets an exchange only narrow them: set identity.scopes "
    "to the realm's scopes that callers have, or take the downscope executor away"
)
_LINES: Final[tuple[tuple[str, str, Kind, str], ...]] = (
    ("invalid_token", "", "session_ended", _ENDED),
    ("invalid_grant", "", "session_ended", _ENDED),
    ("invalid_request", "invalid token", "session_ended", _ENDED),
    (
        "access_denied",
        "token audience",
        "refused",
        "callers' tokens do not name client {client!r} in aud: add an audience mapper for it to their scopes",
    ),
    (
        "invalid_request",
        "audience not available",
        "refused",
        _NO_MAPPER,
    ),
    (
        "invalid_client",
        "audience not found",
        "refused",
        "the realm has no client {audience!r}: create it, or correct the audience of the API",
    ),
    ("invalid_request", "not enabled", "refused", "switch on Standard token exchange for client {client!r}"),
    (
        "invalid_scope",
        "missing consent",
        "refused",
        "client {client!r} requires consent, which an exchange cannot ask for: switch that off",
    ),
    (
        "invalid_scope",
        "initial access token",
        "refused",
        _ONLY_NARROWER,
    ),
    (
        "invalid_scope",
        "",
        "refused",
        "client {client!r} lacks one of the scopes {scopes}: create them, and assign them to that client as optional",
    ),
    (
        "unsupported_grant_type",
        "",
        "refused",
        "the issuer offers no such grant: for Keycloak, token-exchange-standard must be among its features",
    ),
    ("invalid_client", "", "refused", _CLIENT),
    ("unauthorized_client", "", "refused", _CLIENT),
)
"""Error, words of its description, what it is, and what to change: the first row that fits."""


def _refusal(status: int, error: str, description: str, wanted: Wanted, client: ClientAuth) -> Refusal:
    """What a refusal means for the operator (Keycloak's standard exchange v2, seen on 26.7)."""
    said = f"the issuer answered {status} {error!r} {description!r}"
    if status >= 500 or status == 429 or not error:
        return Refusal("unavailable", said)
    for code, words, kind, line in _LINES:
        if error == code and words in description.lower():
            scopes = ", ".join(sorted(wanted.scopes)) or "(none)"
            cure = line.format(client=client.client_id, audience=wanted.audience, scopes=scopes)
            return Refusal(kind, f"{cure} ({said})")
    return Refusal("refused", said)
