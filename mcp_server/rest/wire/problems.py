"""What a failed answer of an API tells the model: what to change, and nothing of hosts, headers or traces."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import msgspec

from mcp_server.rest.model import WireAnswer

MAX_JSON: Final = 2_048
MAX_READ: Final = 64 * 1024
"""Bytes of an error that are looked at: each text of it is searched for what must not be told."""
MAX_TEXT: Final = 500
MAX_CLEANED: Final = 8 * 1024
"""Characters of a whole error that are cleaned: an API may repeat a caller's body in it, and others wait."""
_EACH: Final = 16
"""What a text costs beside its characters."""
MAX_WAIT_S: Final = 86_400
_URL: Final = re.compile(r"(\b[a-z][a-z0-9+.-]{1,15}://)([^\s\"'<>]*+)", re.IGNORECASE)
_UP_TO_PATH: Final = re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s/\"'<>?#]*+", re.IGNORECASE)
_USER: Final = re.compile(r"(?<![^\s\"'<>(),;=@/])[^\s\"'<>@/:]{1,64}:[^\s\"'<>@]{0,128}@[\w.\[\]:-]*")
_IPV6: Final = re.compile(
    r"(?<![\w:.])\[?([0-9a-f:]{2,39}(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?)(?:%[\w.-]{1,32})?(?:\](?::\d{1,5})?)?(?!\w)",
    re.IGNORECASE,
)
_ENDINGS: Final = (
    "internal|local|localdomain|svc|cluster|intranet|lan|corp|arpa|onion|com|org|net|edu|gov|io|dev|cloud|test|example"
)
_COUNTRIES: Final = "de|uk|eu|fr|nl|ch|jp|au|br|pl|se|dk|fi|cz|cn|kr|ru"
"""Behind two names at least: `title.de` is a member of an object."""
_ADDRESS: Final = re.compile(
    r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b|\bip(?:-\d{1,3}){4}\b|\blocalhost(?::\d{1,5})?\b"
    rf"|(?<![@\w.-])(?:(?:[a-z0-9_-]{{1,63}}\.){{1,8}}(?:{_ENDINGS})|(?:[a-z0-9_-]{{1,63}}\.){{2,8}}(?:{_COUNTRIES}))"
    r"\b(?::\d{1,5})?"
    r"|(?<![@\w.-])(?:[a-z0-9-]{1,63}\.){0,8}xn--[a-z0-9-]{1,59}(?:\.[a-z0-9-]{1,63}){0,8}(?::\d{1,5})?"
    r"|(?<![\w.-])[a-z][a-z0-9-]{0,62}(?:\.[a-z0-9-]{1,63}){0,8}:(?:443|\d{4,5})\b"
    r"|\b(?:host|hostname|server|upstream|data source)=[^\s,;&\"']+|(?-i:\bHost: ?)[^\s,;&\"']+",
    re.IGNORECASE,
)
"""Addresses of machines by number, by a name that ends as theirs do, with a port, or behind a word for them."""
_FILE: Final = re.compile(
    r"(?<![\w.])(?:[a-z]:\\|/)[\w.\\/ -]{1,200}"
    r"\.(?:py|js|mjs|ts|java|kt|rb|php|go|rs|cs|scala|exs?|cpp|c|jar|dll)\b(?::\d+)*",
    re.IGNORECASE,
)
_TRACE: Final = re.compile(
    r"^ ?at [\w$.<>`/]++[(\[]|Traceback \(most recent|^ ?File \"|\bFile \"[^\"\n]{1,300}\", line \d|^ ?at .+:\d+:\d+"
    r"|\sat [^\s(]{1,200}+ ?\([^()\s]{1,300}:\d+(?::\d+)?\)|^Caused by:|^goroutine \d+|^panic: |^ ?#\d++ [^\s(]*[/\\(]"
    r"|Stack ?trace:|stack backtrace:|^thread '[^'\n]{1,100}' panicked|^ ?\S{1,300}:\d+:in [`']"
    r"|^\*\* \([A-Z]|^ \S{1,300}\.go:\d+",
    re.MULTILINE | re.IGNORECASE,
)
"""For what `_lines` gives: a pattern of blanks that runs over line ends costs the square of a text of nothing else."""
_SECRET: Final = re.compile(
    r"\b(?:bearer|basic|dpop|digest|token)\s+[a-z0-9\-._~+/]{8,}=*|\beyJ[\w-]{4,}(?:\.[\w-]*)*"
    r"|\b(?:(?:proxy-)?authorization|(?:set-)?cookie|x-[a-z-]{0,40}(?:token|key|secret|auth)[a-z-]{0,40}|api_?key)\s?[:=]\s?"
    r"(?:(?:bearer|basic|dpop|digest|token)\s+)?[^\s,;&}\"']{6,}",
    re.IGNORECASE,
)
_LAST: Final = re.compile(r"\s\S*\Z")
_UNSAID: Final = frozenset(
    [
        "trace",
        "stack",
        "stacktrace",
        "stackframes",
        "backtrace",
        "traceback",
        "exception",
        "exceptions",
        "debug",
        "host",
        "hostname",
        "server",
        "instance",
        "cause",
        "innererror",
        "headers",
        "requestheaders",
        "remoteaddress",
        "remotehost",
        "upstream",
        "authorization",
        "cookies",
        "developermessage",
    ]
)
_TITLE: Final = re.compile(r"<title[^<>]{0,200}>([^<]{1,200})", re.IGNORECASE)
_CHALLENGE_SCOPE: Final = re.compile(r"\bscope\s*=\s*\"([^\"]{1,1024})\"", re.IGNORECASE)
_ADVICE: Final[Mapping[int, str]] = {
    400: "change the arguments",
    404: "there is nothing under these arguments",
    405: "the API does not offer this",
    406: "the API cannot answer in this form",
    409: "it conflicts with what is there now: look first, then try again",
    410: "it is gone",
    412: "it was changed meanwhile: look first, then try again",
    413: "it is too large: send less",
    415: "the API does not take this form of body",
    422: "change the arguments",
    423: "it is locked now",
}
_PHRASES: Final[Mapping[int, str]] = {
    400: "Bad Request", 402: "Payment Required", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable",
    408: "Request Timeout", 409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed",
    413: "Content Too Large", 414: "URI Too Long", 415: "Unsupported Media Type", 418: "I'm a Teapot",
    422: "Unprocessable Content", 423: "Locked", 424: "Failed Dependency", 428: "Precondition Required",
    431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons", 500: "Internal Server Error",
    501: "Not Implemented", 502: "Bad Gateway", 504: "Gateway Timeout", 507: "Insufficient Storage",
}  # fmt: skip


def problem(answer: WireAnswer, url: str) -> str:
    """The text for the model; `url` is what was asked for, so that a redirect within the API can be named."""
    status = answer.status
    if 300 <= status < 400:
        return _redirected(answer, url)
    if status == 401:
        return "The API did not accept our credential (401); the operator of this server can see why."
    if status in (429, 503):
        wait = retry_after(answer)
        when = f"try again in {wait} s" if wait else "try again later"
        return f"The API is {'asked too often' if status == 429 else 'not available'} ({status}): {when}."
    if status >= 500:
        return f"The API failed ({status} {_phrase(status)}). It is no fault of the arguments; try again later."
    if status == 403:
        return _joined("The API does not allow this to the caller (403)", said(answer))
    advice = f": {_ADVICE[status]}" if status in _ADVICE else ""
    return _joined(f"The API refused the call ({status} {_phrase(status)}){advice}", said(answer))


def said(answer: WireAnswer) -> str:
    """What the API itself says of it (RFC 9457 where it keeps to that), as far as it is fit for a stranger."""
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type.endswith("html") or answer.body[:1] == b"<":
        title = _TITLE.search(answer.body[:20_000].decode("utf-8", "replace"))
        return clean(" ".join(title[1].split())) if title else ""
    if len(answer.body) > MAX_READ:
        return ""
    try:
        value = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if media_type in ("", "text/plain") and not answer.cut:
            return clean(answer.body[: 4 * MAX_TEXT].decode("utf-8", "replace"))
        return ""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict) and (media_type == "application/problem+json" or {"title", "detail"} & value.keys()):
        value = {name: value[name] for name in value if name not in ("type", "status", "instance")}
    return _small(value)


def clean(text: str) -> str:
    """A text of an API without hosts, credentials and what follows where a stack trace begins."""
    if len(text) > 4 * MAX_TEXT:
        text = _LAST.sub("", text[: 4 * MAX_TEXT])  # half an address would pass for a word
    text = _lines(text)
    trace = _TRACE.search(text)
    if trace is not None:
        text = text[: trace.start()]
    text = _SECRET.sub("…", _USER.sub("…", _URL.sub(_without_host, text)))
    text = _FILE.sub("…", _ADDRESS.sub("…", _IPV6.sub(_without_ipv6, text)))
    text = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def _lines(text: str) -> str:
    """A text whose lines are not empty, and have one space where they had blanks, in front as well."""
    lines = ((line, " ".join(line.split())) for line in text.splitlines())
    return "\n".join(f" {words}" if line[0].isspace() else words for line, words in lines if words)


def _without_host(found: re.Match[str]) -> str:
    """An address from its path on; a password in it may hold a slash, so all up to the last `@` goes."""
    return _UP_TO_PATH.sub("", found[1] + found[2].rpartition("@")[2])


def _without_ipv6(found: re.Match[str]) -> str:
    """An IPv6 address is none told; a time of day, or the name of a class, is as it was."""
    for spelt in (found[1], found[1].rstrip(":"), found[1].lstrip(":")):
        try:
            ipaddress.IPv6Address(spelt)
        except ValueError:
            continue
        return found[0] if spelt == "::" else "…"
    return found[0]


def retry_after(answer: WireAnswer) -> int:
    """The seconds after which the API wants to be asked again, at most a day; 0 where it does not say, or by a date."""
    stated = answer.headers.get("retry-after", "").strip()
    return min(int(stated), MAX_WAIT_S) if stated.isascii() and stated.isdigit() and len(stated) < 10 else 0


def missing_scopes(answer: WireAnswer) -> tuple[str, ...] | None:
    """The API's scopes that a 403 asks for (RFC 6750 §3.1); None where it is refused for another reason."""
    challenge = answer.headers.get("www-authenticate", "")[:4_096]
    if answer.status != 403 or "insufficient_scope" not in challenge:
        return None
    found = _CHALLENGE_SCOPE.search(challenge)
    return tuple(found[1].split()) if found else ()


def _redirected(answer: WireAnswer, url: str) -> str:
    if answer.status == 304:
        return "The API says that nothing has changed (304)."
    text = f"The API redirects ({answer.status}); redirects are not followed."
    try:
        there, here = urlsplit(urljoin(url, answer.headers.get("location", ""))), urlsplit(url)
    except ValueError:
        return text
    same = (there.scheme, there.netloc) == (here.scheme, here.netloc) and "location" in answer.headers
    return f"{text} It names {clean(there.path)} of the same API." if same else text


def _small(value: Any) -> str:
    kept = _Cleaning().kept(value, 6)
    encoded = msgspec.json.encode(kept)
    if kept in ({}, [], None):
        return ""
    if len(encoded) <= MAX_JSON:
        return encoded.decode()
    texts = list(_texts(kept))[:5]
    return clean("; ".join(texts))


class _Cleaning:
    """A problem without what speaks of the API's inside; what comes after `MAX_CLEANED` characters is left out."""

    def __init__(self) -> None:
        self._left = MAX_CLEANED

    def kept(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._clean(value)
        if isinstance(value, dict) and depth:
            names = [name for name in value if name.lower().replace("_", "").replace("-", "") not in _UNSAID]
            return {self._clean(name)[:100]: self.kept(value[name], depth - 1) for name in names[:50] if self._left > 0}
        if isinstance(value, list) and depth:
            return [self.kept(one, depth - 1) for one in value[:20] if self._left > 0]
        self._left -= 1
        return None if isinstance(value, dict | list) else value

    def _clean(self, text: str) -> str:
        self._left -= min(len(text), 4 * MAX_TEXT) + _EACH
        return clean(text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _joined(head: str, detail: str) -> str:
    return f"{head}. It says: {detail}" if detail else f"{head}."


def _phrase(status: int) -> str:
    """What a status means to a model that does not know its number."""
    return _PHRASES.get(status, "refused" if status < 500 else "failed")
