"""Arguments that a tool declares for the audit: checked when it is registered, shown masked and bounded.

What is measured and shown is what the handler gets: the same value may be written in many ways, and a caller would
choose the one that hides it (`5000.000…`, three hundred blanks before a number, escapes).
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.observe.redaction import MAX_TEXT, REDACTED, is_secret, redact

MAX_NAMES: Final = 16
MAX_VALUE: Final = 256
"""Characters of a value that are shown; of a longer one also its size and a digest."""
_LOOKED_AT: Final = 4 * MAX_VALUE
"""Characters of a long value, and members of an object, that secrets are looked for in: a caller has a megabyte."""
_LARGEST: Final = 10**MAX_VALUE
_DIGEST: Final = 32
"""Hex digits: 64 bits would be found a second value for."""
_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_value: Final = msgspec.json.Decoder(Any).decode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


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


def shown(
    names: tuple[str, ...], arguments: Raw | UnsetType, read: Callable[[Raw], Mapping[str, Any]]
) -> dict[str, Any]:
    """The named ones of a call's arguments as the audit has them; those that were not given are left out.

    `read` makes the handler's values of them. A number or truth stands as it is, a text without what looks like a
    secret, and anything else as such a text.
    """
    if arguments is UNSET:
        return {}
    try:
        given = _members(arguments)
    except _UNREADABLE:
        return {}
    named = [name for name in names if name in given]
    try:
        got = read(arguments) if named else {}
    except Exception:  # noqa: BLE001 - no handler got what a type refuses, whatever that raised: shown as it was sent
        got = {}
    return {name: _shown(got[name] if name in got else given[name]) for name in named}


def _shown(value: Any) -> Any:
    try:
        plain = _value(value) if isinstance(value, Raw) else msgspec.to_builtins(value, str_keys=True, enc_hook=str)
        if isinstance(plain, int) and abs(plain) >= _LARGEST:
            plain = hex(plain)  # its decimal digits take time by their square
        if plain is None or isinstance(plain, bool | int | float):
            return plain
        if isinstance(plain, str):
            return _bounded(plain, plain)
        whole = msgspec.json.encode(plain).decode()
        masked = msgspec.json.encode(_by_names(plain, iter(range(_LOOKED_AT)))).decode()
    except (*_UNREADABLE, msgspec.EncodeError, TypeError, ValueError, OverflowError):
        return REDACTED
    return _bounded(whole, masked)


def _by_names(value: Any, budget: Iterator[int]) -> Any:
    """The first members, nothing of those whose names say that they are secret; names as a handler reads them."""
    if isinstance(value, dict):
        members = zip(value.items(), budget, strict=False)
        return {name: REDACTED if _hides(name) else _by_names(one, budget) for (name, one), _ in members}
    if isinstance(value, list | tuple):
        return [_by_names(one, budget) for one, _ in zip(value, budget, strict=False)]
    return value[:_LOOKED_AT] if isinstance(value, str) else value


def _hides(name: str) -> bool:
    """Whether nothing of a member is shown; a name without end is one, for those that were looked at are kept."""
    return len(name) > _LOOKED_AT or is_secret(name)


def _bounded(whole: str, text: str) -> str:
    """A text without what looks like a secret; the beginning of a long one, without blanks that would fill it."""
    if len(whole) <= MAX_VALUE:
        return redact(text)
    data = whole.encode("utf-8", "surrogatepass")
    begins = redact(" ".join(text.lstrip()[:MAX_TEXT].split())[:_LOOKED_AT])[:MAX_VALUE]
    return f"{begins}… [{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:_DIGEST]}]"
