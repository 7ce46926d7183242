"""The closed list of reasons a caller is refused: RFC 6750 code, status and public text; the detail is for the log."""

from enum import Enum
from typing import Final

import msgspec

_INVALID: Final = "The access token is invalid, expired, or not meant for this resource"
_MALFORMED: Final = "The request must carry one access token, in the Authorization header"
_AWAY: Final = "The authorization server cannot be reached; try again later"
_PROOF: Final = "The DPoP proof is missing or invalid"


class DenialReason(Enum):
    """Why. The value is (slug in log and metrics, RFC 6750 or 9449 code, HTTP status, public text).

    NO_PERSON is a 403 with `invalid_token`: RFC 6750 §3 demands a challenge, §3.1 has the code for a token that is
    "invalid for other reasons" and only says SHOULD of 401. On 401 a client logs in again and comes back with the same
    kind of token, on `insufficient_scope` it steps up for scopes that would not help; any other 403 ends it.
    INSUFFICIENT_USER_AUTHENTICATION is a 401, as RFC 9470 §3 has it: the same person with another login is let in.
    TOKEN_TOO_LARGE is a 431 (RFC 6585 §5) for the same reason: a new token would be as large.
    """

    NO_CREDENTIALS = ("no_credentials", "", 401, "Authentication is required")
    MALFORMED_HEADER = ("malformed_header", "invalid_request", 400, _MALFORMED)
    SEVERAL_CREDENTIALS = ("several_credentials", "invalid_request", 400, _MALFORMED)
    TOKEN_IN_QUERY = ("token_in_query", "invalid_request", 400, _MALFORMED)
    UNKNOWN_SCHEME = ("unknown_scheme", "", 401, "Authentication is required")
    TOKEN_TOO_LARGE = ("token_too_large", "", 431, "The access token is larger than this server reads")
    NOT_A_TOKEN = ("not_a_token", "invalid_token", 401, _INVALID)
    FORBIDDEN_HEADER = ("forbidden_header", "invalid_token", 401, _INVALID)
    WRONG_TYPE = ("wrong_type", "invalid_token", 401, _INVALID)
    WRONG_ALGORITHM = ("wrong_algorithm", "invalid_token", 401, _INVALID)
    UNKNOWN_ISSUER = ("unknown_issuer", "invalid_token", 401, _INVALID)
    UNKNOWN_KEY = ("unknown_key", "invalid_token", 401, _INVALID)
    BAD_SIGNATURE = ("bad_signature", "invalid_token", 401, _INVALID)
    MALFORMED_CLAIMS = ("malformed_claims", "invalid_token", 401, _INVALID)
    WRONG_AUDIENCE = ("wrong_audience", "invalid_token", 401, _INVALID)
    EXPIRED = ("expired", "invalid_token", 401, _INVALID)
    NOT_YET_VALID = ("not_yet_valid", "invalid_token", 401, _INVALID)
    ISSUED_IN_FUTURE = ("issued_in_future", "invalid_token", 401, _INVALID)
    NO_SUBJECT = ("no_subject", "invalid_token", 401, _INVALID)
    NO_PERSON = ("no_person", "invalid_token", 403, "The access token does not speak for a person")
    NOT_AN_ACCESS_TOKEN = ("not_an_access_token", "invalid_token", 401, _INVALID)
    INACTIVE = ("inactive", "invalid_token", 401, _INVALID)
    SESSION_ENDED = ("session_ended", "invalid_token", 401, "The session has ended; sign in again")
    UNBOUND_USE = ("unbound_use", "invalid_token", 401, _INVALID)
    UNSUPPORTED_BINDING = ("unsupported_binding", "invalid_token", 401, _INVALID)
    BAD_PROOF = ("bad_proof", "invalid_dpop_proof", 401, _PROOF)
    TOO_MANY_PROOFS = ("too_many_proofs", "temporarily_unavailable", 429, "Too many DPoP proofs; try again later")
    TOO_MANY_UNKNOWN = ("too_many_unknown", "temporarily_unavailable", 429, "Too many unknown tokens; try again later")
    PROOFS_AWAY = ("proofs_away", "temporarily_unavailable", 503, "DPoP proofs cannot be checked now; try again later")
    ISSUER_AWAY = ("issuer_away", "temporarily_unavailable", 503, _AWAY)
    INSUFFICIENT_SCOPE = (
        "insufficient_scope",
        "insufficient_scope",
        403,
        "The access token does not have the scope that this operation needs",
    )
    INSUFFICIENT_USER_AUTHENTICATION = (
        "insufficient_user_authentication",
        "insufficient_user_authentication",
        401,
        "A more recent or a stronger login is required",
    )

    def __init__(self, slug: str, error: str, status: int, public: str) -> None:
        self.slug = slug
        self.error = error
        self.status = status
        self.public = public


class AccessDenied(msgspec.Struct, frozen=True, kw_only=True):
    """A caller refused. `detail` is for the log alone; `scopes` is what an operation needs, for a 403.

    `granted` is what the token has already, to be named again; empty where the client adds it by itself. `client` is
    for the audit: which one an operator would list, or stop. `acr_values` and `max_age` are what a login must be like
    for a 401 of RFC 9470.
    """

    reason: DenialReason
    detail: str = ""
    scopes: frozenset[str] = frozenset()
    granted: frozenset[str] = frozenset()
    retry_after_s: int = 0
    token_digest: str = ""
    client: str = ""
    acr_values: tuple[str, ...] = ()
    max_age: int | None = None


class AccessDeniedError(Exception):
    """An `AccessDenied` on its way out of a check; caught where the caller is answered."""

    def __init__(self, refusal: AccessDenied) -> None:
        super().__init__(refusal.reason.slug)
        self.refusal = refusal


def refuse(reason: DenialReason, detail: str = "") -> AccessDeniedError:
    """The exception that ends a check."""
    return AccessDeniedError(AccessDenied(reason=reason, detail=detail))
