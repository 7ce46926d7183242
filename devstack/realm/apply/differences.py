"""What is wanted against what is there: only what the description owns is compared (values in, values out)."""

from typing import Any, Final

import msgspec

WIDENED: Final = frozenset(
    {
        "redirectUris", "webOrigins", "trusted-hosts", "allowed-client-scopes", "web-origins",
        "allowed-patterns", "allow-permitted-domains", "cimd-allow-permitted-domains",
    }
)  # fmt: skip
"""Lists that an operator may have made longer: ours are added, theirs stay. An empty one of ours means none at all."""
_TLS: Final = ("none", "external", "all")
KEYCLOAKS: Final[dict[str, Any]] = {
    "accessTokenLifespan": 300,
    "ssoSessionIdleTimeout": 1800,
    "ssoSessionMaxLifespan": 36000,
    "offlineSessionIdleTimeout": 2592000,
    "offlineSessionMaxLifespan": 5184000,
    "failureFactor": 30,
    "waitIncrementSeconds": 60,
    "maxFailureWaitSeconds": 900,
    "maxDeltaTimeSeconds": 43200,
    "passwordPolicy": "",
}
"""What a new realm has: whoever has anything else there chose it."""
SECRET: Final = frozenset({"secret", "credentials"})


class Difference(msgspec.Struct, frozen=True):
    """A field that is not as the description says; a secret is never shown."""

    field: str
    found: Any
    wanted: Any

    def __str__(self) -> str:
        if self.field.rpartition(".")[2] in SECRET:
            return f"{self.field}: differs (not shown)"
        return f"{self.field}: {_short(self.found)} → {_short(self.wanted)}"


def differences(wanted: dict[str, Any], found: dict[str, Any], path: str = "") -> list[Difference]:
    """Every field of `wanted` that `found` has otherwise; what only `found` has is somebody else's."""
    told: list[Difference] = []
    for name, value in wanted.items():
        here, there = f"{path}{name}", found.get(name)
        if isinstance(value, dict) and isinstance(there, dict):
            told += differences(value, there, f"{here}.")
        elif not _same(name, value, there):
            told.append(Difference(here, there, value))
    return told


def merged(wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What to write: all that is there, with ours over it."""
    whole = dict(found)
    for name, value in wanted.items():
        there = found.get(name)
        if isinstance(value, dict) and isinstance(there, dict):
            whole[name] = merged(value, there)
        elif name in WIDENED and value and isinstance(there, list):
            whole[name] = [*there, *(one for one in value if one not in there)]
        else:
            whole[name] = value
    return whole


def chosen(name: str, ours: Any, theirs: Any) -> Any:
    """What an operator chose stays, a shorter life or a longer one; a stricter demand for TLS does, too."""
    if name in KEYCLOAKS:
        return ours if theirs in (None, KEYCLOAKS[name]) else theirs
    if name == "sslRequired" and ours in _TLS and theirs in _TLS:
        return max(ours, theirs, key=_TLS.index)
    return ours


def widened(wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """A profile with the hosts and addresses that an operator added to one of its executors kept."""
    known = {_executor(one): one["configuration"] for one in found.get("executors", ())}
    executors = [
        {**one, "configuration": merged(one["configuration"], known.get(_executor(one), {}))}
        for one in wanted.get("executors", ())
    ]
    return {**wanted, "executors": executors} if executors else wanted


def _executor(found: dict[str, Any]) -> tuple[str, ...]:
    """An executor may be there several times, each for other fields of a client."""
    return (found["executor"], *sorted(found["configuration"].get("client-uri-fields", ())))


def _same(name: str, wanted: Any, found: Any) -> bool:
    if isinstance(wanted, list):
        if not isinstance(found, list):
            return not wanted and found is None
        if name in WIDENED and wanted:
            return all(one in found for one in wanted)
        return len(wanted) == len(found) and all(one in found for one in wanted)
    return bool(wanted == found) or (wanted in ({}, "") and found is None)


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 100 else f"{text[:97]}..."
