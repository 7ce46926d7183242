"""Redaction: secrets out of whatever is logged, by how they look and by the name that stands before them.

Every pass is linear in the length of the text: a pattern starts only where a run of its characters starts, its
quantifiers are possessive or in an atomic group, and what a match has consumed is not looked at again. A caller chooses
what an exception says, so a pass that looks back would let one call hold a worker.

A group is repeated in an atomic one, `(?>(?:…)*)`, never by `(?:…)*+`: before Python 3.11.5 that takes what the turn
that failed had read for read, too (gh-106052), and half of a secret would stay.
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
_URL_PASSWORD: Final = re.compile(
    r"(://[^\s/?#:\[\]\"'<>]*+:)(?:\d{1,5}+(?=[/?#,;)\]}\s\"'<>]|\Z)|([^\s\"'<>]*+))"  # a port, or all up to a blank
)
_DOTTED: Final = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]++(?>(?:\.[A-Za-z0-9_-]*+)+)")
MIN_HEADER: Final = 8
"""Characters that a JWT's header has at least, with its `eyJ`."""
MIN_PART: Final = 5
"""Characters that some part behind the header has: the one that follows may be empty (RFC 7516 §7.1, RFC 7515 §F)."""
_SCHEME: Final = re.compile(r"(?i)\b(bearer|dpop|basic)\s++[A-Za-z0-9\-._~+/]{6,}+=*+")
_NAME: Final = re.compile(
    r"(?<![\w-])([\w-]++)"
    r"(\\{0,3}[\"']?\s{0,8}(?:=>?|:|%3[Dd]|%3[Aa])\s{0,8}|\\{0,3}[\"']\s{0,8},\s{0,8}(?=b?\\{0,3}[\"']))"
)
_OF_AWS: Final = re.compile(
    r"\barn:aws[a-z-]*+:secretsmanager:[a-z0-9-]*+:\d{0,12}+:secret:[\w/+.@-]*+|\bsecretsmanager:[A-Z][A-Za-z]++(?![\w-])"
)
"""Names of Amazon's: a secret's own and that of an action on it, which tell an operator what is refused.

What stands behind one is no part of it: in `{ARN: 'value'}` it is the secret.
"""
_QUOTED: Final = re.compile(
    r"[bBrRuUfF]{0,2}(?:\"(?>(?:[^\"\\]++|\\.)*)(?:\"|\Z)|'(?>(?:[^'\\]++|\\.)*)(?:'|\Z))", re.DOTALL
)
_ESCAPED: Final = re.compile(r"\\{1,3}[\"'](?>(?:(?!\\[\"']).)*)(?:\\{1,3}[\"']|\Z)", re.DOTALL)
_OPENING: Final = re.compile(r"[\w.]*+[(\[{]")
_BRACKETS: Final = re.compile(rf"[(\[{{]|[)\]}}]|{_ESCAPED.pattern}|{_QUOTED.pattern}", re.DOTALL)
_LINE: Final = re.compile(r"[^\r\n]*+(?>(?:\r?\n[ \t]++[^\r\n]*+)*)")
"""To the line's end, quotes and folded lines (RFC 9112 §5.2) with it: a value in quotes is seldom a header's last."""
_WORD: Final = re.compile(r"[^\s&\"',;})\]]*+")
_NEXT_NAME: Final = r"[\w-]++\s{0,8}(?:=[^\s,=]|:(?:\s|\Z))"
_LIST: Final = re.compile(rf"{_WORD.pattern}(?>(?:(?:[ \t]*+,[ \t]*+|[ \t]++)(?!{_NEXT_NAME})[^\s&\"',;}})\]]++)*)")
"""Words between commas or blanks, up to one that is the next name: the `=` at the end of Base64 is no name's."""
_COUNT: Final = re.compile(rf"\d{{1,9}}+(?![\w.+/=-])(?!\s{{0,8}},\s{{0,8}}(?!{_NEXT_NAME})[^\s&\"',;}})\]])")
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
_SEVERAL: Final = ("keys", "secrets", "tokens", "passwords", "credentials")
_COUNTING: Final = "tokens"
"""What language models count: `max_tokens` with a bare number is no secret."""


def redact(text: str) -> str:
    """The text, cut to `MAX_TEXT`, with `[redacted]` for tokens, passwords, codes, cookies, keys and session ids."""
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}[{len(text) - MAX_TEXT} characters more]"
    if "PRIVATE KEY-----" in text:
        text = _PEM.sub(REDACTED, text)
    if "://" in text:
        text = _URL_PASSWORD.sub(_without_password, text)
    text = _by_name(text)
    if "eyJ" in text:
        text = _DOTTED.sub(_without_token, text)
    text = _SCHEME.sub(rf"\1 {REDACTED}", text)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate is no UTF-8


def redact_field(name: str, value: object) -> str:
    """A named value as text: nothing of it where the name says that it is a secret."""
    try:
        text = str(value)
    except Exception as error:  # noqa: BLE001 - of a handler's value; whoever logs it shall neither fail nor lose the line
        text = f"({type(value).__name__}: {type(error).__name__} in its text)"
    counted = name.lower().endswith(_COUNTING) and _COUNT.fullmatch(text)
    return REDACTED if is_secret(name) and name != "code" and not counted else redact(text)


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
    done, harmless = 0, _Passed(_OF_AWS, text) if "secretsmanager:" in text else None
    for found in _NAME.finditer(text):
        if harmless is not None and harmless.holds(found.start(), found.end()):
            continue
        if found.start() < done or len(found[1]) > 128 or not is_secret(found[1]):
            continue
        end = _end_of_value(text, found.end(), found[1].lower(), found[2])
        if end > found.end():
            parts += (text[done : found.end()], REDACTED)
            done = end
    return "".join((*parts, text[done:]))


class _Passed:
    """Matches that are passed over by somebody who goes on in a text and never back."""

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self._matches = pattern.finditer(text)
        self._next = next(self._matches, None)

    def holds(self, start: int, end: int) -> bool:
        """Whether all between these places is in one match."""
        while self._next is not None and self._next.end() <= start:
            self._next = next(self._matches, None)
        return self._next is not None and self._next.start() <= start and end <= self._next.end()


def _end_of_value(text: str, start: int, name: str, between: str) -> int:
    """Where the value ends that starts here: with its line, its quotes or brackets, its list or its word."""
    keyword = "=" in between and text[start : start + 1] in ('"', "'")  # an argument of a call, not a header
    if any(one in name for one in _WHOLE_LINE) and not keyword and '"' not in between and "'" not in between:
        return _matched(_LINE, text, start)
    for form in (_QUOTED, _ESCAPED):
        if (found := form.match(text, start)) is not None:
            return found.end()
    opening = _OPENING.match(text, start)
    if opening is not None and (name != "code" or opening.end() == start + 1):
        return _end_of_brackets(text, opening.end() - 1)
    if name.endswith(_COUNTING) and _COUNT.match(text, start) is not None:
        return start
    end = _matched(_LIST if name.endswith(_SEVERAL) else _WORD, text, start)
    return start if name == "code" and end - start < MIN_CODE else end


def _end_of_brackets(text: str, start: int) -> int:
    """Where the bracket closes that opens here, those in it and texts in quotes passed over; the end if it never does.

    What lies behind is redacted as one, so nothing in it is looked at again.
    """
    depth = 0
    for found in _BRACKETS.finditer(text, start):
        depth += (found[0] in "([{") - (found[0] in ")]}")
        if depth == 0:
            return found.end()
    return len(text)


def _matched(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return start if found is None else found.end()


def _without_password(url: re.Match[str]) -> str:
    """A URL up to its password's colon, and from the last `@` on: a password may hold any of `/?#@` unescaped."""
    _, at, behind = (url[2] or "").rpartition("@")
    return f"{url[1]}{REDACTED}@{behind}" if at else url[0]


def _without_token(dotted: re.Match[str]) -> str:
    """A run of Base64url and dots without the JWT in it, wherever in the run it starts.

    Each part is judged once: a search that began anew at each `eyJ` of a run was quadratic, 2.8 s for 60 kB.
    """
    parts = dotted[0].split(".")
    last = max((place for place, part in enumerate(parts) if len(part) >= MIN_PART), default=0)
    done = 0
    for part in parts[:last]:
        at = part.find("eyJ")
        if 0 <= at <= len(part) - MIN_HEADER:
            return dotted[0][: done + at] + REDACTED
        done += len(part) + 1
    return dotted[0]
