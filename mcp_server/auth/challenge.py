"""Refusal → WWW-Authenticate (RFC 6750 §3, 9728 §5.1, 9449 §7.1, 9470 §3); written here and nowhere else."""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from mcp_server.auth import metadata
from mcp_server.auth.refusals import AccessDenied, DenialReason

MAX_MADE: Final = 32
"""A token may hold the scopes of a thousand orders: proxies take a header of a few KiB."""
_OF_THE_LOGIN = frozenset({"openid", "profile", "email", "address", "phone", "offline_access"})
"""OpenID Connect's own (Core §5.4, §11): whoever asked for them asks again, and they open nothing here."""
_CHALLENGED = frozenset({400, 401, 403})
_SCOPELESS = frozenset({DenialReason.NO_PERSON})  # no scope would help
_OF_A_CALL = frozenset({DenialReason.INSUFFICIENT_SCOPE, DenialReason.INSUFFICIENT_USER_AUTHENTICATION})
_DPOP_SCHEME = frozenset({DenialReason.BAD_PROOF, DenialReason.UNBOUND_USE})


class Advertised(msgspec.Struct, frozen=True):
    """What the registry offers at this moment: one value for challenges, metadata and who may come in.

    `login` is what a first login asks for. `declared` are the resource's own scopes: of what a token has, nothing else
    is named to its client again. `public` is whether anything is offered without a token. `begun_by` is how the scopes
    begin that are made in a call; the empty text is how any does.
    """

    login: frozenset[str]
    declared: frozenset[str] = frozenset()
    public: bool = False
    begun_by: tuple[str, ...] = ()

    def of_its_own(self, granted: frozenset[str]) -> frozenset[str]:
        """Those of a token's scopes that this resource declares, and some of those made of a call's values."""
        others = granted - self.declared - _OF_THE_LOGIN
        made = (one for one in others if one.startswith(self.begun_by)) if self.begun_by else ()
        return (granted & self.declared).union(sorted(made)[:MAX_MADE])


class Challenger(msgspec.Struct, frozen=True):
    """What each challenge of one resource repeats: its metadata's address and the scopes it has when it is written.

    Tools come and go at run time: a challenge that named the scopes of the start would send clients to log in for
    others than the metadata and the check ask for.
    """

    metadata_url: str
    advertised: Callable[[], Advertised]
    dpop_algorithms: tuple[str, ...] = ()

    def header(self, refusal: AccessDenied) -> bytes | None:
        """The header's value, or None for a refusal that no authentication would cure (503)."""
        return self._written(refusal, refusal.reason.error).encode() if refusal.reason.status in _CHALLENGED else None

    def in_result(self, refusal: AccessDenied) -> str:
        """The challenge of a 401 or 403 as a tool's result carries it, always with an error (decision 15).

        RFC 6750 §3 wants none in the header where no token came; OpenAI's documents want one in every result.
        """
        return self._written(refusal, refusal.reason.error or DenialReason.INSUFFICIENT_SCOPE.error)

    def _written(self, refusal: AccessDenied, error: str) -> str:
        reason = refusal.reason
        scheme, fields = "Bearer", [("resource_metadata", self.metadata_url)]
        if error:
            login = _wanted_login(refusal)
            fields = [("error", error), ("error_description", reason.public), *login, *fields]
        scopes = self._asked(refusal)
        if scopes and reason.status != 400 and reason not in _SCOPELESS:
            fields.append(("scope", scope_text(scopes)))
        if reason in _DPOP_SCHEME:
            scheme = "DPoP"
            fields.append(("algs", " ".join(self.dpop_algorithms)))
        written = ", ".join(f'{name}="{value}"' for name, value in fields)
        return f"{scheme} {written}"

    def _asked(self, refusal: AccessDenied) -> frozenset[str]:
        if refusal.reason in _OF_A_CALL:
            return refusal.scopes | self.advertised().of_its_own(refusal.granted)
        return self.advertised().login


def _wanted_login(refusal: AccessDenied) -> list[tuple[str, str]]:
    """What an authorization request must ask for (RFC 9470 §3); a `max_age` of 0 asks for a login, too."""
    fields = [("acr_values", " ".join(refusal.acr_values))] if refusal.acr_values else []
    if refusal.max_age is not None:
        fields.append(("max_age", str(refusal.max_age)))
    return fields


def scope_text(scopes: Iterable[str]) -> str:
    """Scopes as a challenge writes them."""
    return " ".join(metadata.listable(scopes))
