"""Where settings come from beside the environment and files: secret managers, and how often they are asked again."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, InstanceOf

from mcp_server.secrets import stores
from mcp_server.secrets.source import Address
from mcp_server.settings.group import Group, Kind
from mcp_server.settings.values import words


def _addresses(value: Any) -> tuple[Address, ...]:
    given = words(value)
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise ValueError("must be words, or a JSON list of texts")
    return tuple(stores.parsed(one) for one in given)


class SourceSettings(Group):
    """Secret managers."""

    title: ClassVar[str] = "Where secrets are"

    secrets: Annotated[tuple[InstanceOf[Address], ...], BeforeValidator(_addresses), Kind("list")] = Field(
        (),
        description="secret managers that are asked for settings which nothing above them states, the first one first: "
        "`aws:ARN`, `ssm:/path`, `azure:https://...`, `gcp:project/secret`, `vault:https://.../kv/data/mcp?role=...`; "
        "see secrets.md",
    )
    secrets_refresh_s: float = Field(
        300,
        ge=10,
        le=86400,
        description="managers are asked again after so many seconds, a tenth more or less; what they said before stays "
        "while they do not answer",
    )


def addresses(texts: Mapping[str, str]) -> tuple[Address, ...]:
    """The managers that texts name; none where they cannot be read, which the report says."""
    try:
        return _addresses(texts.get("MCP_SECRETS", ""))
    except ValueError:
        return ()
