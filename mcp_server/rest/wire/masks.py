"""Answers without what an API repeats of the call: the credential it was sent, in any spelling, and its own host."""

import base64
import binascii
import functools
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from mcp_server.rest.model import WireAnswer
from mcp_server.rest.wire import problems

MASKED: Final = b"[masked]"
_SOMEWHERE: Final = "…".encode()
LEAST: Final = 4
"""Characters of what is looked for in an error: anything shorter is no secret, and stands in every text."""
LEAST_IN_DATA: Final = 12
"""The same where an answer is data, of which nothing must be lost by chance."""
_BEGINNING: Final = 12
"""So many characters of a long credential tell which one it is: an API may quote it in part."""
_ALWAYS_AS_IT_IS: Final = re.compile(r"[A-Za-z0-9_.~-]+")
_GOES_ON: Final = rb"[A-Za-z0-9\-._~+/=%]*"
_ASKED_BY_NAME: Final = (
    rb"(\b(?:host|hostname|server|upstream|resolve|resolving|lookup|dial|tcp|getaddrinfo|enotfound|eai_again|econnrefused)"
    rb"[\s\"'=:(\[]{1,4}|@|//)"
)


def of_header(value: str) -> tuple[str, ...]:
    """The secrets in a credential: the whole, the word behind its scheme, a pair of Basic and its password."""
    word = value.rpartition(" ")[2]
    found = [value, word]
    if ":" in word:
        found += [base64.b64encode(word.encode()).decode().rstrip("="), word.partition(":")[2]]
    elif value[:6].lower() == "basic ":
        pair = _decoded(word)
        found += [word.rstrip("="), pair, pair.partition(":")[2]]
    return tuple(dict.fromkeys(one for one in found if len(one) >= LEAST))


def without_credential(answer: WireAnswer, sent: Iterable[str]) -> WireAnswer:
    """The answer, nothing in it of what was sent: an API that repeats it would have us hand it to a model."""
    if answer.status < 300:
        return _data(answer, sent)
    patterns = [pattern for one in sent for pattern in _spellings(one)]
    if not patterns:
        return answer
    pattern, headers = re.compile(b"|".join(patterns), re.IGNORECASE), dict(answer.headers)
    if "location" in headers:  # its path is told
        headers["location"] = pattern.sub(MASKED, _bytes(headers["location"])).decode("utf-8", "replace")
    return msgspec.structs.replace(_error(answer, pattern, MASKED), headers=headers)


def without_host(answer: WireAnswer, url: str) -> WireAnswer:
    """An error that does not say where the API is."""
    anywhere, asked_for = _host(url)
    return _error(_error(answer, anywhere, _SOMEWHERE), asked_for, rb"\1" + _SOMEWHERE)


def _data(answer: WireAnswer, sent: Iterable[str]) -> WireAnswer:
    """Data, looked through for the credential as it is, and as addresses, pages and JSON spell what is not plain in it.

    No spelling changes its longest plain part: where that is not, it costs an `in`, which is next to nothing.
    """
    body = answer.body
    for one in sent:
        if len(one) < LEAST_IN_DATA:
            continue
        end = one[-_BEGINNING:]
        if _ALWAYS_AS_IT_IS.fullmatch(end) and end.encode() not in body:  # of a long one, a look at all of it costs
            continue
        if (part := _plain_part(one)) in body:
            body = body.replace(part, MASKED) if part == _bytes(one) else re.sub(_spelt(one), MASKED, body)
    return answer if body is answer.body else msgspec.structs.replace(answer, body=body)


def _error(answer: WireAnswer, pattern: re.Pattern[bytes], by: bytes) -> WireAnswer:
    """An error without what a pattern finds; of a long one its beginning."""
    body = _plainly(answer.body[: problems.MAX_READ])
    cut = answer.cut or len(answer.body) > problems.MAX_READ
    return msgspec.structs.replace(answer, body=pattern.sub(by, body), cut=cut)


def _plainly(body: bytes) -> bytes:
    r"""JSON in its usual spelling: what is written as `\u0041` is read as it was meant."""
    if b"\\" not in body:
        return body
    try:
        return msgspec.json.encode(msgspec.json.decode(body))
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        return body


def _spellings(secret: str) -> Iterator[bytes]:
    """Patterns for a secret in an error, of which nothing is lost; of a long one its beginning will do."""
    yield re.escape("".join(f"\\u{ord(one):04x}" for one in secret[:_BEGINNING]).encode()) + rb"(?:\\u[0-9a-f]{4})*"
    if not _ALWAYS_AS_IT_IS.fullmatch(secret) or len(secret) < _BEGINNING + LEAST:
        yield _spelt(secret)
    if len(secret) >= _BEGINNING + LEAST and " " not in secret:
        yield _spelt(secret[:_BEGINNING]) + _GOES_ON


def _spelt(secret: str) -> bytes:
    """A pattern for a secret as texts, addresses, pages and JSON write it, each character in a way of its own.

    Which ones are escaped is each library's own choice: `/` is PHP's, `=` Gson's, `+` .NET's.
    """
    return b"".join(map(_character, secret))


@functools.lru_cache(maxsize=1024)
def _character(one: str) -> bytes:
    """Its spellings; each begins and ends in its own way, so looking for them takes linear time."""
    if _ALWAYS_AS_IT_IS.fullmatch(one):
        return re.escape(one.encode())
    quoted = quote(one, safe="", errors="replace").replace("%", "%(?:25){0,3}")  # an address in an address, too
    in_json = {_in_json(one), json.dumps(one)[1:-1], f"\\u{ord(one):04x}", *(("\\/",) if one == "/" else ())}
    in_page = {html.escape(one), f"&#{ord(one)};", f"&#0{ord(one)};", f"&#x{ord(one):x};"}
    others = {one, *in_json, *in_page, *("+" if one == " " else "")}
    found = [
        quoted.encode(),
        *map(re.escape, sorted(map(_bytes, others), key=len, reverse=True)),
    ]  # of `&amp;` the whole
    return b"(?i:" + b"|".join(found) + b")"


def _plain_part(secret: str) -> bytes:
    """The longest part that every spelling leaves as it is."""
    return max(_ALWAYS_AS_IT_IS.findall(secret), key=len, default="").encode()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _in_json(secret: str) -> str:
    return msgspec.json.encode(_bytes(secret).decode()).decode()[1:-1]


def _decoded(word: str) -> str:
    try:
        return base64.b64decode(word + "=" * (-len(word) % 4)).decode()
    except (binascii.Error, ValueError):
        return ""


@functools.lru_cache(maxsize=256)
def _patterns(host: str, *, in_path: bool) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    names: list[str] = [host, _unicode(host)]
    labels = host.split(".")
    names += [".".join(labels[:count]) for count in range(2, len(labels))]
    if re.search(r"[\d-]", labels[0]) and not labels[0].isdigit():
        names.append(labels[0])
    # One plain word is a host only where it is asked for as one: `orders` is what the whole API is about.
    certain = [one for one in dict.fromkeys(names) if "." in one or "-" in one or ":" in one or not one.isalpha()]
    if "." not in host and not in_path:
        certain.append(host)
    word = rb"[A-Za-z0-9_-]"
    listed = b"|".join(re.escape(one.encode()) for one in sorted(certain, key=len, reverse=True))
    anywhere = rb"(?<!" + word + rb")\[?(?:" + listed + rb")\]?(?::\d{1,5})?(?!" + word + rb")" if certain else rb"(?!)"
    first = re.escape(labels[0].encode())
    asked = _ASKED_BY_NAME + first + rb"(?::\d{1,5})?(?!" + word + rb")|()(?<!" + word + rb")" + first + rb":\d{2,5}\b"
    return re.compile(anywhere, re.IGNORECASE), re.compile(asked, re.IGNORECASE)


def _host(url: str) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    parts: Any = urlsplit(url)
    host = (parts.hostname or "").lower()
    return _patterns(host, in_path=host in re.split(r"[^\w.-]+", parts.path.lower()))


def _unicode(host: str) -> str:
    try:
        return host.encode().decode("idna")
    except UnicodeError:
        return host
