"""What a setting's text may be: lists, maps, networks, URLs and issuers, each read strictly or refused by name."""

import json
from ipaddress import ip_network
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, field_validator
from pydantic_settings import NoDecode

from mcp_server.auth.persons import Persons


def words(value: Any) -> Any:
    """A list in JSON, or words between commas or blanks."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return value.replace(",", " ").split()
    return json_value(value)


def json_value(value: Any) -> Any:
    """A text as the JSON that it must be; what is no text stays; raises `ValueError`."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError("not valid JSON") from error


def issuers(value: Any) -> Any:
    """One URL, or a JSON list of URLs and objects."""
    if isinstance(value, str):
        value = json_value(value) if value.lstrip().startswith("[") else [value]
    return [{"issuer": one} if isinstance(one, str) else one for one in value]


def networks(value: Any) -> Any:
    """Addresses and networks as `words` has them."""
    found = []
    for word in words(value):
        try:
            found.append(ip_network(word))
        except ValueError as error:
            raise ValueError(f"{word!r} is no address or network") from error
    return tuple(found)


Words = Annotated[frozenset[str], NoDecode, BeforeValidator(words)]
WordMap = Annotated[dict[str, Words], NoDecode, BeforeValidator(json_value)]


class IssuerSetting(BaseModel, extra="forbid"):
    """An item of `MCP_ISSUER`; what it leaves out comes from the general settings."""

    issuer: str
    audiences: Words = frozenset()
    algorithms: Words = frozenset()
    fetch_url: str | None = None
    opaque_tokens: bool = False
    persons: Persons = "keycloak"
    service_clients: Words = frozenset()

    @field_validator("issuer")
    @classmethod
    def _safe(cls, issuer: str) -> str:
        return safe_url(issuer)


def safe_url(url: str) -> str:
    """An absolute https URL, or http on loopback, without query and fragment; raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an absolute http(s) URL without query or fragment")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("must be https: plain http is for loopback only")
    return url


def is_loopback(host: str | None) -> bool:
    """Whether a host name means this machine."""
    return host in ("localhost", "127.0.0.1", "::1")
