"""What a setting's text may be: lists, maps, scopes, networks and secrets, each read strictly or refused by name."""

import json
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from mcp_server.registry.scope_pattern import scope_set
from mcp_server.settings import addresses
from mcp_server.settings.group import Kind

MIN_KEY: Final = 32


class Hidden(str):
    """A secret text that no `repr` shows, its own or a struct's that holds it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"


class HiddenBytes(bytes):
    """The same in bytes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'**********'"


def words(value: Any) -> Any:
    """A list in JSON, or words between commas or blanks."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return value.replace(",", " ").split()
    return _json_list(value)


def json_like(example: str) -> Callable[[Any], Any]:
    """What reads a text as the JSON that it must be, raises `ValueError` with an example, and leaves what is no text.

    Who wrote `mcp:write=mcp:read`, or quotes of Python's, learns nothing from being told that it is no JSON.
    """

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f"must be JSON, such as {example}") from None

    return read


_json_list: Final = json_like('["one", "another"], or else words between blanks or commas')


def long_keys(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Keys that nobody guesses; raises `ValueError`."""
    if any(len(require_utf8(key).get_secret_value()) < MIN_KEY for key in keys):
        raise ValueError(f"each must have at least {MIN_KEY} characters: openssl rand -base64 32")
    return keys


def require_utf8(secret: SecretStr) -> SecretStr:
    """Bytes of a variable that are none, or half a surrogate of JSON's, have no form in which they can be used."""
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8") from None  # the cause would show the secret
    return secret


def one_line(secret: SecretStr) -> SecretStr:
    """RFC 6749 appendix A: no secret and no token has a line's end, and a file with a second line is another file."""
    if any(sign < " " or sign == "\x7f" for sign in require_utf8(secret).get_secret_value()):
        raise ValueError("must be one line, without control characters")
    return secret


def networks(value: Any) -> Any:
    """Addresses and networks as `words` has them."""
    found = []
    for number, word in enumerate(words(value), 1):
        try:
            found.append(ip_network(str(word)))  # of a number it would make an address
        except ValueError:
            raise ValueError(f"word {number} {_no_network(str(word))}") from None
    return tuple(found)


def _no_network(word: str) -> str:
    try:
        ip_network(word, strict=False)
    except ValueError:
        return "is no address (10.0.0.7) and no network (10.0.0.0/8)"
    return "is an address within a network: a network has no bits beyond its mask (10.0.0.0/8)"


def scope(text: str) -> str:
    """A scope-token (RFC 6749 §3.3): a quote or a line's end would break the challenge it stands in."""
    scope_set({text})
    return text


def _client_id(text: str) -> str:
    """RFC 6749 appendix A.1: what is visible in ASCII, and blanks."""
    if not text.isascii() or not text.isprintable():
        raise ValueError("must be visible ASCII characters")
    return text


OneLine = Annotated[SecretStr, AfterValidator(one_line)]
Words = Annotated[frozenset[str], BeforeValidator(words), Kind("list")]
Scope = Annotated[str, AfterValidator(scope), Kind("scope")]
Scopes = Annotated[frozenset[Scope], BeforeValidator(words), Kind("list of scopes")]
RoleScopes = Annotated[dict[str, Scopes], BeforeValidator(json_like('{"editor": ["mcp:write"]}')), Kind("JSON")]
ScopeScopes = Annotated[dict[Scope, Scopes], BeforeValidator(json_like('{"mcp:write": ["mcp:read"]}')), Kind("JSON")]
ClientId = Annotated[str, AfterValidator(_client_id), Kind("text")]
Hosts = Annotated[frozenset[Annotated[str, AfterValidator(addresses.host)]], BeforeValidator(words), Kind("list")]
Origins = Annotated[frozenset[Annotated[str, AfterValidator(addresses.origin)]], BeforeValidator(words), Kind("list")]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(networks), Kind("list")]
PublicUrl = Annotated[str, AfterValidator(addresses.safe_url), Kind("URL")]
FetchUrl = Annotated[str, AfterValidator(addresses.fetch_url), Kind("URL")]
IssuerUrl = Annotated[PublicUrl, AfterValidator(addresses.issuer_base)]
IssuerFetchUrl = Annotated[FetchUrl, AfterValidator(addresses.issuer_base)]
WebUrl = Annotated[str, AfterValidator(addresses.web_url), Kind("URL")]
ListenHost = Annotated[str, AfterValidator(addresses.listening), Kind("text")]
UrlPath = Annotated[str, AfterValidator(addresses.url_path), Kind("text")]
Port = Annotated[int, Field(ge=0, le=65535)]
