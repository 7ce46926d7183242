"""How workers share state."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, SecretStr

from mcp_server.settings.addresses import REDIS_SCHEMES, redis_scheme
from mcp_server.settings.group import Group


def _redis(url: SecretStr) -> SecretStr:
    if not redis_scheme(url.get_secret_value()):
        raise ValueError(f"must begin with {', '.join(f'{scheme}://' for scheme in REDIS_SCHEMES)}")
    return url


class StoreSettings(Group):
    """Redis or Valkey."""

    title: ClassVar[str] = "Shared state"

    redis_url: Annotated[SecretStr, AfterValidator(_redis)] | None = Field(
        None,
        description="Redis 6.2 or later, or Valkey (`redis://host:6379/0`): sessions, streams, subscriptions, "
        "questions and tasks then work on whichever worker or machine the next request lands on",
    )
