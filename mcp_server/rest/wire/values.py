"""Values as texts: numbers, percent-encoding, and what may stand in a path segment, a header or a cookie."""

import math
import re
import unicodedata
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.model import MAX_DECODED

MAX_TEXT: Final = 16 * 1024
"""Characters of a value in a path or header: servers take 8 KiB of a request's head, few take more."""
MAX_BITS: Final = 4096
"""Of a whole number: Python itself refuses to write much longer ones."""
_TRIPLET: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NO_FIELD: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""RFC 9110 §5.5: of the controls a field's value may have tabs only."""
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]*")
"""RFC 3986 §2.3. Most values are of nothing else, and are not asked what they would be encoded."""
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_~-]{1,256}")
"""What no server takes for anything but itself, wherever it stands in a path."""
_SEPARATOR: Final = re.compile(r"[/\\]")
_SUSPECT: Final = re.compile(r"(?:^|[/\\])\.|%")
_DOTS: Final = re.compile(r"\.\.?[\s\0]*(?:;.*)?", re.DOTALL)
_COOKIE: Final = re.compile(r"[!#$%&'()*+\-./0-9:<=>?@A-Z\[\]^_`a-z{|}~]*")
"""RFC 6265 §4.1.1: no space, quote, comma, semicolon or backslash, and ASCII only."""

RESERVED_IN_QUERY: Final = ":/?@!$'()*,"
"""What `allowReserved` leaves as it is in a query: not what begins another part or pair (`# [ ] & = + ;`)."""
RESERVED_IN_PATH: Final = ":@!$'()*,&=+"
"""The same in a path (3.2): neither `/ ? # [ ]`, nor `;`, which some servers cut off with what follows it."""

RESERVED_IN_COOKIE: Final = ":/?#[]@!$&'()*+="


def text(value: Any, name: str) -> str:
    """A scalar as its text, lists and objects as JSON: `true`, `5` for 5.0, never an exponent."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return _whole(value, name)
        case float():
            return _number(value, name)
        case _:
            return json(value, name)


def json(value: Any, name: str) -> str:
    """Compact JSON."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:  # a lone surrogate, huge numbers
        raise BadArguments(f"{name}: cannot be written as JSON") from error


def _whole(value: int, name: str) -> str:
    if value.bit_length() > MAX_BITS:
        raise BadArguments(f"{name}: the number is too long")
    return str(value)


def _number(value: float, name: str) -> str:
    if not math.isfinite(value):
        raise BadArguments(f"{name}: must be a finite number")
    return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")


def encoded(value: str, name: str, safe: str = "") -> str:
    """Percent-encoded: all but RFC 3986's unreserved characters and `safe`."""
    if _UNRESERVED.fullmatch(value):
        return value
    try:
        return quote(value, safe=safe)
    except UnicodeEncodeError as error:
        raise BadArguments(f"{name}: is no valid Unicode text") from error


def reserved_in_query(value: str, name: str) -> str:
    """RFC 6570's reserved expansion: triplets that are percent-encoded already stay."""
    return encoded(_TRIPLET.sub("%25", value), name, RESERVED_IN_QUERY + "%")


def checked_segment(value: str, name: str) -> None:
    """Refuse what a server could take for a way out of its place in the path; raises `BadArguments`.

    Encoding alone is not enough: proxies decode `%2F`, some twice, some take a backslash or a fullwidth look-alike for
    a slash, and Java's cut a segment off at its `;`. No identifier has such a segment in it, so none is lost.
    """
    if _IDENTIFIER.fullmatch(value):
        return
    if not value:
        raise BadArguments(f"{name}: must not be empty, for it is a part of the path")
    _bounded(value, name)
    if _CONTROL.search(value):
        raise BadArguments(f"{name}: must have no control characters")
    if leads_out(value):
        raise BadArguments(f"{name}: must have no '.' or '..' segment, for it is a part of the path")


def leads_out(path: str) -> bool:
    """Whether some server takes a segment of it for `.` or `..`: decoded, normalized, without `;x` or blanks after it.

    `..;` is `..` to Tomcat and what is built on it, `.. ` to Windows.
    """
    if path.isascii() and not _SUSPECT.search(path):  # nearly all, at once
        return False
    spellings, seen = {path}, path
    while "%" in seen and len(spellings) < MAX_DECODED and (seen := unquote(seen)) not in spellings:
        spellings.add(seen)
    for spelling in spellings | {unicodedata.normalize("NFKC", one) for one in spellings if not one.isascii()}:
        if any(_DOTS.fullmatch(part) for part in _SEPARATOR.split(spelling)):
            return True
    return False


def checked_field(value: str, name: str) -> str:
    """A header's value as it is (RFC 9110 §5.5), or `BadArguments`: a line break would begin another header."""
    _bounded(value, name)
    if _NO_FIELD.search(value):
        raise BadArguments(f"{name}: must have no line breaks or control characters, for it is a header's value")
    _ = encoded(value, name)  # goes out as UTF-8, which a lone surrogate has none of
    return value


def _bounded(value: str, name: str) -> None:
    if len(value) > MAX_TEXT:
        raise BadArguments(f"{name}: over {MAX_TEXT} characters")


def checked_cookie(value: str, name: str) -> str:
    """A cookie's value as it is (style `cookie` escapes nothing), or `BadArguments`."""
    if not _COOKIE.fullmatch(value):
        raise BadArguments(
            f"{name}: a cookie's value has no spaces, quotes, commas, semicolons, backslashes or controls"
        )
    return value
