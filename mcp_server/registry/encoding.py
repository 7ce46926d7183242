"""What a handler returned, encoded: subclasses of built-in types go as their base, texts must be Unicode."""

from collections.abc import Callable
from datetime import date, time
from decimal import Decimal
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec

from mcp_server.authoring.errors import BadResult

Value = TypeVar("Value")
_encode: Final = msgspec.json.Encoder().encode
_BASES: Final[tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    ((date, time), lambda value: value.isoformat()),  # pandas' and pendulum's are such
    ((Decimal, UUID), str),
    ((bytes, bytearray), bytes),
)


def encode(value: Any) -> bytes:
    """The JSON of a value; raises `BadResult` where it has none."""
    try:
        try:
            return _encode(value)
        except (TypeError, RecursionError):  # a subclass somewhere in it; msgspec runs in circles over one as a key
            return _encode(msgspec.to_builtins(value, str_keys=True, enc_hook=_base))
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise BadResult(str(error)) from error


def sendable(value: Value, decode: Callable[[bytes], Value]) -> Value:
    """The value, encoded once before it is: what fails later fails the request, not the tool. Raises `BadResult`."""
    try:
        _encode(value)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return decode(encode(value))
    return value


def text(value: str) -> str:
    """A text as it can be sent; raises `BadResult` for half a surrogate pair, as `os.listdir` gives for odd names."""
    if type(value) is not str:
        value = str.__str__(value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadResult(f"the text is not Unicode: {error}") from error
    return value


def _base(value: Any) -> Any:
    """A value of a subclass as its base."""
    for kinds, convert in _BASES:
        if isinstance(value, kinds):
            return convert(value)
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} has no JSON form")
