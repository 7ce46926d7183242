"""What is wanted against what is there: only what the description owns is compared (values in, values out)."""

from typing import Any, Final

import msgspec

WIDENED: Final = frozenset(
    {
        "redirectUris", "webOrigins", "trusted-hosts", "allowed-client-scopes", "web-origins",
        "allow-permitted-domains", "cimd-allow-permitted-domains",
    }
)  # fmt: skip
"""Lists that an operator may have made longer: ours are added, theirs stay."""
_TLS: Final = ("none", "external", "all")
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
        elif name in WIDENED and isinstance(there, list):
            whole[name] = [*there, *(one for one in value if one not in there)]
        else:
            whole[name] = value
    return whole


def stricter(name: str, ours: Any, theirs: Any) -> Any:
    """An operator's realm is never made looser: a shorter life and a stricter demand for TLS stay."""
    if name == "accessTokenLifespan" and isinstance(theirs, int) and 0 < theirs < ours:
        return theirs
    if name == "sslRequired" and ours in _TLS and theirs in _TLS:
        return max(ours, theirs, key=_TLS.index)
    return ours


def widened(wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """A profile with the hosts that an operator added to one of its executors kept."""
    known = {one["executor"]: one["configuration"] for one in found.get("executors", ())}
    executors = [
        {**one, "configuration": merged(one["configuration"], known.get(one["executor"], {}))}
        for one in wanted.get("executors", ())
    ]
    return {**wanted, "executors": executors} if executors else wanted


def _same(name: str, wanted: Any, found: Any) -> bool:
    if isinstance(wanted, list):
        if not isinstance(found, list):
            return not wanted and found is None
        if name in WIDENED:
            return all(one in found for one in wanted)
        return len(wanted) == len(found) and all(one in found for one in wanted)
    return bool(wanted == found) or (wanted in ({}, "") and found is None)


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 100 else f"{text[:97]}..."
