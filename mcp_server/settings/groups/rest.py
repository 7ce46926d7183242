"""The REST API behind the server: its document, its address, as whom it is called."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, Field, SecretStr

from mcp_server.registry.server import Import
from mcp_server.rest.importing import configs
from mcp_server.rest.importing.configs import Stated, ValidatedApis
from mcp_server.rest.offer.config import ApiConfig
from mcp_server.settings.group import Conflict, Group, Kind, Shown
from mcp_server.settings.values import Hidden, Scopes, WebUrl, json_like

CONFIG: Final = Path("mcp.toml")
"""Read where it lies in the working directory and no other is named."""
Secrets = Annotated[dict[str, SecretStr], BeforeValidator(json_like('{"orders": "..."}')), Kind("secret")]


class RestSettings(Group):
    """An OpenAPI document, and how its API is called."""

    title: ClassVar[str] = "A REST API as tools"

    openapi: str = Field(
        "", description="an OpenAPI document (2.0 to 3.2), a path or an https address: its operations become tools"
    )
    config: Annotated[Path | None, Shown("`mcp.toml`, where there is one")] = Field(
        None, description="the file that selects, names, groups and maps operations, of one API or of several"
    )
    upstream_url: WebUrl | None = Field(
        None, description="the API's base address; without it, the one https server that the document names"
    )
    upstream_audience: str = Field(
        "",
        description="the API's name in the realm: the caller's token is traded for one of this audience "
        "(RFC 8693), never passed on",
    )
    upstream_scopes: Annotated[Scopes | None, Shown("those of the operation")] = Field(
        None, description="the scopes that such a token is asked for, as the realm calls them"
    )
    upstream_secrets: Annotated[Secrets, Shown("none")] = Field(
        {},
        description='static secrets in JSON, by the names that `mcp.toml` has for them (`mode = "secret"`), for APIs '
        "that know no tokens",
    )
    openapi_reload_s: float = Field(
        0,
        ge=0,
        description="documents are read again after so many seconds: 0, or 1 and more. With 0 only where a worker "
        "begins anew. A broken one changes nothing",
    )

    def conflicts(self) -> Iterator[Conflict]:
        """A reload that would hammer."""
        if 0 < self.openapi_reload_s < 1:
            yield Conflict(("openapi_reload_s",), "must be 0, or 1 and more")

    @property
    def imports(self) -> bool:
        """Whether an API is configured here, whatever the author includes."""
        return bool(self.openapi or self.upstream_url or self._file() is not None)

    def apis(self, included: Iterable[Import] = ()) -> tuple[ApiConfig, ...]:
        """All APIs, the author's among them; raises `ConfigError` with every problem."""
        return configs.apis(self._stated(), included)

    def validated(self, included: Iterable[Import] = ()) -> ValidatedApis:
        """The same as far as they can be read, with every problem."""
        return configs.validated(self._stated(), included)

    def _stated(self) -> Stated:
        return Stated(
            openapi=self.openapi,
            url=self.upstream_url or "",
            audience=self.upstream_audience,
            scopes=self.upstream_scopes,
            secrets=self.secrets(),
            config=self._file(),
        )

    def secrets(self) -> Mapping[str, str]:
        """The static secrets, as texts that no `repr` shows."""
        return {name: Hidden(secret.get_secret_value()) for name, secret in self.upstream_secrets.items()}

    def _file(self) -> Path | None:
        if self.config is not None:
            return self.config
        return CONFIG if CONFIG.is_file() else None
