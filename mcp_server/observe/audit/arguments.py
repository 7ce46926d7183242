"""Arguments that a tool declares for the audit: checked when it is registered, shown masked and bounded."""

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.observe.redaction import REDACTED, is_secret, redact

MAX_NAMES: Final = 16
MAX_VALUE: Final = 256
"""Bytes of a value as it was sent; of a longer one only its size is shown."""
_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_value: Final = msgspec.json.Decoder(Any).decode


def declared(label: str, names: Iterable[str], known: Collection[str] | None) -> tuple[str, ...]:
    """The names, each once; raises `ValueError` for one that is a secret's, or is no argument of the tool (`known`)."""
    found = tuple(dict.fromkeys((names,) if isinstance(names, str) else names))
    if len(found) > MAX_NAMES:
        raise ValueError(f"{label}: audit_arguments names more than {MAX_NAMES}")
    for name in found:
        if known is not None and name not in known:
            raise ValueError(f"{label}: audit_arguments names {name!r}, which is no argument of it")
        if is_secret(name):
            raise ValueError(f"{label}: audit_arguments names {name!r}: what such a name holds is in no audit")
    return found


def shown(names: tuple[str, ...], arguments: Raw | UnsetType) -> dict[str, Any]:
    """The named ones of a call's arguments as the audit has them; those that were not given are left out.

    A number or truth stands as it is, a text without what looks like a secret, and anything else as such a text.
    """
    if arguments is UNSET:
        return {}
    try:
        given = _members(arguments)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return {name: _masked(given[name]) for name in names if name in given}


def _masked(value: Raw) -> Any:
    data = bytes(value)
    if len(data) > MAX_VALUE:
        return f"[{len(data)} bytes]"
    try:
        found = _value(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return REDACTED
    if found is None or isinstance(found, bool | int | float):
        return found
    return redact(found if isinstance(found, str) else data.decode())
