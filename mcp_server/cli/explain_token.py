"""`mcp-server explain-token`: which step refuses a token, and what to change in Keycloak."""

import asyncio
import sys
import time
from collections.abc import Mapping
from typing import Final

import msgspec
import rich_click as click

from mcp_server.auth.issuer.fetch import Fetcher
from mcp_server.auth.issuer.issuer import Issuer
from mcp_server.auth.issuer.keys import VerificationKey
from mcp_server.auth.refusals import AccessDeniedError, DenialReason, refuse
from mcp_server.auth.tokens import profile
from mcp_server.auth.tokens.claims import VerifiedClaims, to_principal
from mcp_server.cli import target
from mcp_server.observe import log

CURES: Final = {
    DenialReason.NO_CREDENTIALS: "Send the access token as `Authorization: Bearer …`; a client that knows OAuth logs "
    "in by itself when it sees the challenge.",
    DenialReason.MALFORMED_HEADER: "Send one Authorization header with a scheme, one space and the token.",
    DenialReason.SEVERAL_CREDENTIALS: "Send one credential: two readers could believe two callers.",
    DenialReason.TOKEN_IN_QUERY: "Send the token in the Authorization header; addresses end up in logs.",
    DenialReason.UNKNOWN_SCHEME: "Use the scheme Bearer, or DPoP for a token that is bound to a key.",
    DenialReason.NOT_A_TOKEN: "Paste the access token alone, three parts between dots; opaque tokens are introspected.",
    DenialReason.TOKEN_TOO_LARGE: "Map fewer roles into the token: leave Full Scope Allowed off, gate scopes by role; "
    "or raise MCP_MAX_TOKEN_BYTES, and the proxy's bound on a header line with it.",
    DenialReason.FORBIDDEN_HEADER: "The header names keys or extensions of its own; no Keycloak issues such tokens.",
    DenialReason.WRONG_TYPE: "Send the access token, not the ID or logout token.",
    DenialReason.UNKNOWN_ISSUER: "MCP_ISSUER must equal the token's iss to the letter; set Keycloak's hostname so.",
    DenialReason.WRONG_ALGORITHM: "Name the algorithm in MCP_ALGORITHMS, or change the client's token signature.",
    DenialReason.UNKNOWN_KEY: "The realm no longer has this key: the token is older than a rotation, or foreign.",
    DenialReason.BAD_SIGNATURE: "The token was altered or signed elsewhere.",
    DenialReason.WRONG_AUDIENCE: "Ask for one of the server's scopes (mcp-server scopes names them); if the token has "
    "one, give that client scope an Audience mapper that names MCP_RESOURCE.",
    DenialReason.EXPIRED: "Ask for a new one; if clocks differ, fix them before raising MCP_LEEWAY_S.",
    DenialReason.NOT_YET_VALID: "The clocks of issuer and server differ.",
    DenialReason.ISSUED_IN_FUTURE: "The clocks of issuer and server differ.",
    DenialReason.MALFORMED_CLAIMS: "exp and iat must be numbers; look at the realm's protocol mappers.",
    DenialReason.NO_SUBJECT: "The scope 'basic' puts sub into tokens: make it a default scope of the client.",
    DenialReason.NO_PERSON: "A client asked for this token by itself. Name the client in MCP_SERVICE_CLIENTS if it may "
    'call for itself; if a person did log in, see "persons" of MCP_ISSUER, which says how its tokens show it.',
    DenialReason.NOT_AN_ACCESS_TOKEN: "Send the access token, not the ID, refresh or logout token.",
    DenialReason.INACTIVE: "The issuer says that the token is not active: expired, revoked, or its session has ended. "
    "Log in again.",
    DenialReason.SESSION_ENDED: "The issuer, or an operator (mcp-server revoke), has ended the login that the token is "
    "of. Log in again.",
    DenialReason.UNBOUND_USE: "A token with cnf.jkt goes with the scheme DPoP and a proof, any other one with Bearer.",
    DenialReason.BAD_PROOF: "One DPoP header: a fresh JWT signed by the key of cnf.jkt, with htm, htu, iat, jti and "
    "ath of this very request; behind a proxy MCP_RESOURCE must be the address that the client uses.",
    DenialReason.TOO_MANY_PROOFS: "Wait for Retry-After: the replay cache is full, and this caller has more than "
    "its share.",
    DenialReason.TOO_MANY_UNKNOWN: "Wait for Retry-After: the issuer is asked about a limited number of unknown opaque "
    "tokens at once. Have the issuer give out JWTs to clients that call often.",
    DenialReason.UNSUPPORTED_BINDING: "Only DPoP-bound tokens (cnf.jkt) are served; one of typ DPoP must have cnf.",
    DenialReason.PROOFS_AWAY: "The shared store that remembers DPoP proofs cannot be reached; see MCP_REDIS_URL.",
    DenialReason.ISSUER_AWAY: "The issuer's documents cannot be used; MCP_ISSUER_FETCH_URL is for an internal address.",
    DenialReason.INSUFFICIENT_SCOPE: "Log in again for the scopes that the challenge names; if the issuer does not "
    "grant them, the user lacks the role that gates them (mcp-server scopes names the roles).",
    DenialReason.INSUFFICIENT_USER_AUTHENTICATION: "Log in again as the challenge says: the client hands "
    "`max_age` and `acr_values` to the authorization server. If the new token has no `acr` or `auth_time`, see step-up "
    "in docs/keycloak.md.",
}
"""What to do about each reason; `docs/errors.md` prints them."""


@click.command("explain-token")
@click.argument("token", required=False)
@click.option("--server", help="module:server, whose scopes may imply others.")
def explain_token(token: str | None, server: str | None) -> None:
    """Judge TOKEN (or standard input) as the server would and say which step refuses it.

    Revocations and introspection are not looked at: a token that was revoked may be accepted here.
    """
    # A terminal or a mail breaks a long token; no token has a blank in it.
    given = token or sys.stdin.buffer.read().decode("utf-8-sig", "surrogateescape")
    raw = "".join(given.split()).removeprefix("Bearer").encode("utf-8", "surrogateescape")
    if not raw:
        raise click.ClickException("no token given")
    log.set_up_for_command()  # that the issuer was reached is no news here
    try:
        implied = {} if server is None else target.load(server).implied_scopes()
        outcome = asyncio.run(_judge(raw, implied))
    except AccessDeniedError as refused:
        reason, detail = refused.refusal.reason, refused.refusal.detail
        click.echo(f"refused: {reason.slug}  {detail}")
        click.echo(f"fix: {CURES[reason]}")
        raise SystemExit(1) from refused
    click.echo(f"accepted (revocations and introspection are not looked at)\n{outcome}")


def _verified(opened: profile.OpenedToken, key: VerificationKey) -> VerifiedClaims:
    """Its claims; a wrong audience is shown beside the scopes that could have brought the right one."""
    try:
        return profile.verify(opened, key, now=time.time())
    except AccessDeniedError as refused:
        if refused.refusal.reason is not DenialReason.WRONG_AUDIENCE:
            raise
        scopes = opened.payload.get("scope")
        told = f"{refused.refusal.detail}; this token has the scopes: {str(scopes or 'none')[:200]}"
        raise refuse(DenialReason.WRONG_AUDIENCE, told) from refused


async def _judge(raw: bytes, implied: Mapping[str, frozenset[str]]) -> str:
    found = target.configured()
    config = found.auth.config(found.scopes.rules(implied))
    policies = {policy.issuer: policy for policy in config.issuers}
    opened = profile.open_token(raw, policies, config.max_token)
    async with Fetcher(route=found.network.route()) as fetcher:
        issuer = Issuer(opened.policy, config.keys, fetcher, lambda *_: None)
        key = await issuer.key(opened.kid, opened.algorithm, opened.payload.get("iat"))
    claims = _verified(opened, key.key)
    caller = to_principal(claims, config.rules, client_id=config.client_id, digest="")  # as the server makes it
    shown = {
        "kind": caller.kind,
        "subject": caller.subject,
        "client": caller.client_id,
        "roles": sorted(caller.roles),
        "scopes": sorted(caller.scopes),
        "expires_in_s": round(claims.raw["exp"] - time.time()),
        "bound": claims.confirmation is not None,
        "logged_in_s_ago": None if caller.auth_time is None else round(time.time() - caller.auth_time),
        "acr": caller.acr,
    }
    return msgspec.json.format(msgspec.json.encode(shown)).decode()
