"""Path traversal and aliases: what an address must not smuggle into a handler (CWE-22, RFC 3986 §6.2.2).

A variable of a template is percent-decoded, so that `docs://..%2f..%2fetc%2fpasswd` gives a handler `../../etc/passwd`
and `%61dmin` is `admin`. Handlers join such values to folders, and scopes are declared for addresses.
"""

import functools
import re
from typing import Final
from urllib.parse import quote

MAX_URI: Final = 4096
_SEPARATORS: Final = re.compile(r"[/\\]")
_DRIVE: Final = re.compile(r"[A-Za-z]:[/\\]")
_OCTET: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_STRAY: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_END_OF_HOST: Final = re.compile(r"[/?#]")
_PLAIN: Final = re.compile(r"[!-$&-~]*")
"""Printable ASCII without a percent sign: nothing is escaped, and nothing has to be."""
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def why_unsafe(value: str, *, relative: bool) -> str:
    """Why a handler does not get this value, or the empty text.

    Slash and backslash part segments: the handler may run where both do. `relative` is whether the value stands within
    a path, where one that is absolute would take the place of whatever it is joined to.
    """
    if "/" not in value and "\\" not in value and "\x00" not in value:  # most, at the speed of C
        return "dot segments" if value in (".", "..") else ""
    if "\x00" in value:  # ends a path early where the system reads C strings
        return "NUL"
    if not {".", ".."}.isdisjoint(_SEPARATORS.split(value)):
        return "dot segments"
    if relative and (value[:1] in ("/", "\\") or _DRIVE.match(value)):
        return "an absolute path"
    return ""


def normalised(uri: str) -> str:
    """The one spelling of an address (RFC 3986 §6.2.2): scheme and host in small letters, no letter escaped.

    A host is that to RFC 3986 alone, and a name to most authors: `config://ADMIN` is taken for `config://admin` all the
    same, for a template that serves it may look it up without regard to case, and must not ask for less.
    """
    if len(uri) > MAX_URI:  # no such address is registered, and a caller's may be as long as a body
        return uri
    spelled = uri
    if not _PLAIN.fullmatch(uri):  # a long one costs half a millisecond, and many may come in one batch
        spelled = _OCTET.sub(_octet, quote(uri, safe=_PRINTABLE, errors="surrogatepass"))
    scheme, colon, rest = spelled.partition(":")
    if not colon:
        return spelled
    if not rest.startswith("//"):
        return f"{scheme.lower()}:{rest}"
    end = _END_OF_HOST.search(rest, 2)
    authority = rest[2 : end.start() if end else len(rest)]
    user, at, host = authority.rpartition("@")
    host = _OCTET.sub(_octet, host.lower())
    return f"{scheme.lower()}://{user}{at}{host}{rest[2 + len(authority) :]}"


@functools.lru_cache(maxsize=8)  # each template of a server is asked of the same address
def unescaped(uri: str) -> str:
    """The address with no letter, digit or one of `-._~` escaped: the same one (RFC 3986 §6.2.2.2).

    Not what is none, for a percent sign in it opens no octet: `%6%31` would become one.
    """
    return _OCTET.sub(_octet, uri) if "%" in uri and is_escaped(uri) else uri


def is_escaped(text: str) -> bool:
    """Whether each percent sign in it opens an octet."""
    return _STRAY.search(text) is None


def _octet(found: re.Match[str]) -> str:
    character = chr(int(found[0][1:], 16))
    return character if character in _UNRESERVED else found[0].upper()
