"""Redaction: secrets out of whatever is logged, by how they look and by the name that stands before them.

Every pass is linear in the length of the text: a pattern starts only where a run of its characters starts, its
quantifiers are possessive, and what a match has consumed is not looked at again. A caller chooses what an exception
says, so a pass that looks back would let one call hold a worker.
"""

import functools
import re
from typing import Final

REDACTED: Final = "[redacted]"
MAX_TEXT: Final = 64 * 1024
"""Characters of one text that are kept; the rest is cut before anything is looked for, so no text costs more."""

_PEM: Final = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{1,64}-----|\Z)", re.DOTALL
)
_URL_PASSWORD: Final = re.compile(r"(://[^\s/?#@:\"'<>]*+:)[^\s/?#\"'<>]*@")
_DOTTED: Final = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]*+)++")
_JWT: Final = re.compile(r"eyJ[A-Za-z0-9_-]{5,}+\.[A-Za-z0-9_-]{5,}+")
_SCHEME: Final = re.compile(r"(?i)\b(bearer|dpop|basic)\s++[A-Za-z0-9\-._~+/]{6,}+=*+")
_NAME: Final = re.compile(
    r"(?<![\w-])([\w-]++)"
    r"(\\{0,3}[\"']?\s{0,8}(?:=>?|:|%3[Dd]|%3[Aa])\s{0,8}|\\{0,3}[\"']\s{0,8},\s{0,8}(?=b?\\{0,3}[\"']))"
)
_QUOTED: Final = re.compile(r"[bBrRuUfF]{0,2}(?:\"(?:[^\"\\]++|\\.)*+(?:\"|\Z)|'(?:[^'\\]++|\\.)*+(?:'|\Z))", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\{1,3}[\"'](?:(?!\\[\"']).)*+(?:\\{1,3}[\"']|\Z)", re.DOTALL)
_BRACKETED: Final = re.compile(r"[(\[{][^)\]}]*+[)\]}]?")
_LINE: Final = re.compile(r"[^\r\n\"']*+")
_WORD: Final = re.compile(r"[^\s&\"',;})\]]*+")
MIN_CODE: Final = 8
"""Characters that an authorization code has at least: `code=3` and `"code": -32602` are none."""

_SECRET: Final = re.compile(
    r"passw(?:or)?d|passphrase|pwd|secret|token|apikey|accesskey|privatekey|credential|authorization|cookie"
    r"|codeverifier|devicecode|usercode|assertion|requeststate|session(?:id|state)|dpop|^sid$|^code$|^otp$"
)
_KEY: Final = re.compile(r"[_-]keys?$")
_HARMLESS: Final = re.compile(
    r"(?:digest|endpoint|types?|methods?|supported|length|lifespan|ttls?|count|file|path|ur[il])$"
)
_WHOLE_LINE: Final = ("cookie", "authorization")


def redact(text: str) -> str:
    """The text, cut to `MAX_TEXT`, with `[redacted]` for tokens, passwords, codes, cookies, keys and session ids."""
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}[{len(text) - MAX_TEXT} characters more]"
    if "PRIVATE KEY-----" in text:
        text = _PEM.sub(REDACTED, text)
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1{REDACTED}@", text)
    text = _by_name(text)
    if "eyJ" in text:
        text = _DOTTED.sub(_without_token, text)
    text = _SCHEME.sub(rf"\1 {REDACTED}", text)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate is no UTF-8


def redact_field(name: str, value: object) -> str:
    """A named value as text: nothing of it where the name says that it is a secret."""
    return REDACTED if is_secret(name) and name != "code" else redact(str(value))


@functools.lru_cache(1024)
def is_secret(name: str) -> bool:
    """Whether a name says that its value is a secret, in any of the spellings: `api_key`, `X-Api-Key`, `apiKey`."""
    lower = name.lower()
    bare = lower.replace("_", "").replace("-", "")
    found = _SECRET.search(bare) or _KEY.search(lower)
    return bool(found) and not _HARMLESS.search(bare)


def _by_name(text: str) -> str:
    """Values behind a name, as query strings, headers, JSON, Python's `repr` and environments write them."""
    parts: list[str] = []
    done = 0
    for found in _NAME.finditer(text):
        if found.start() < done or len(found[1]) > 128 or not is_secret(found[1]):
            continue
        end = _end_of_value(text, found.end(), found[1].lower())
        if end > found.end():
            parts += (text[done : found.end()], REDACTED)
            done = end
    return "".join((*parts, text[done:]))


def _end_of_value(text: str, start: int, name: str) -> int:
    """Where the value ends that starts here: with its quotes or brackets, its line, or its word."""
    if any(one in name for one in _WHOLE_LINE) and text[start : start + 1] not in ('"', "'", "\\", "b", "["):
        return _matched(_LINE, text, start)
    for form in (_QUOTED, _ESCAPED, _BRACKETED):
        if (found := form.match(text, start)) is not None:
            return found.end()
    end = _matched(_WORD, text, start)
    return start if name == "code" and end - start < MIN_CODE else end


def _matched(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return start if found is None else found.end()


def _without_token(dotted: re.Match[str]) -> str:
    """A run of Base64url and dots without the JWT in it, wherever in the run it starts."""
    run = dotted[0]
    found = _JWT.search(run)
    return run if found is None else run[: found.start()] + REDACTED
