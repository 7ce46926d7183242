"""How issuers, APIs and stores are reached: a company's certificate authorities, and its proxy."""

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from mcp_server.route import Route
from mcp_server.settings.group import Conflict, Group, Shown
from mcp_server.settings.values import Hidden, Words

ENVIRONMENT: Final = "environment"


def _readable(path: Path) -> Path:
    """A file with certificates in it: one without would be believed to have been added, and each call fail."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError):  # the first is its base: a missing file, a folder, no certificate in it
        raise ValueError("must be a readable file of PEM certificates") from None
    return path


def _proxy(value: SecretStr) -> SecretStr:
    if value.get_secret_value() != ENVIRONMENT:
        _checked(value.get_secret_value())
    return value


def _checked(url: str) -> str:
    """An HTTP proxy's address; the message does not repeat it, for it may hold a password."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        good = good and parts.path in ("", "/") and not parts.query and not parts.fragment
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"must be http://[user:password@]host:port, or {ENVIRONMENT}")
    return url


class NetworkSettings(Group):
    """The way out of here."""

    title: ClassVar[str] = "The network"

    ca_file: Annotated[Path, AfterValidator(_readable)] | None = Field(
        None,
        description="PEM certificates of authorities that are trusted in addition to the system's CAs, by whatever is "
        "called: issuers, APIs, documents, and a store at `rediss://`",
    )
    proxy: Annotated[SecretStr, AfterValidator(_proxy)] | None = Field(
        None,
        description="the HTTP proxy that issuers, APIs and documents are called through, "
        "`http://user:password@host:3128`; `environment` for what `HTTPS_PROXY` and `NO_PROXY` say, which are not "
        "read else. Behind a proxy it is the proxy that looks names up: let it refuse addresses inside",
    )
    no_proxy: Annotated[Words, Shown("loopback")] = Field(
        frozenset(), description="hosts that are called directly: names, with what is below them, and networks"
    )

    def conflicts(self) -> Iterator[Conflict]:
        """A proxy of the environment that is none: nothing would be reached, and each call say why not."""
        try:
            self.route()
        except ValueError:
            yield Conflict(("proxy",), "HTTPS_PROXY (ALL_PROXY) must be http://[user:password@]host:port")

    def route(self, environment: Mapping[str, str] = os.environ) -> Route:
        """The way out, as one value; raises `ValueError` where the environment's proxy is none."""
        stated = self.proxy.get_secret_value() if self.proxy else ""
        direct = set(self.no_proxy)
        if stated == ENVIRONMENT:
            found = {name.lower(): value for name, value in environment.items() if value}
            stated = found.get("https_proxy") or found.get("all_proxy") or ""
            stated = _checked(stated) if stated else ""
            direct |= {one.strip() for one in found.get("no_proxy", "").split(",") if one.strip()}
        return Route(
            ca_file="" if self.ca_file is None else str(self.ca_file),
            proxy=Hidden(stated),
            direct=tuple(sorted(direct)),
        )
