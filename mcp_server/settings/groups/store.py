"""How workers share state."""

import re
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, Field, SecretStr

from mcp_server.settings.addresses import REDIS_SCHEMES, has_port, redis_scheme
from mcp_server.settings.group import Group

_READABLE: Final = re.compile(
    r"[a-z]+://(?:[^/?#@\s]*@)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[0-9]*)?"
    r"(?:\?(?:(?:db=[0-9]+|protocol=[23]|(?:ssl_[a-z_]+|client_name)=[A-Za-z0-9._/-]+)(?:&|$))+)?"
)
"""User and password, host, port, number; of options those that need no other text than this."""


def _redis(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    if not redis_scheme(text):
        raise ValueError(f"must begin with {', '.join(f'{scheme}://' for scheme in REDIS_SCHEMES)}")
    if not text.startswith("unix:") and not (_READABLE.fullmatch(text) and has_port(text)):
        raise ValueError(  # redis-py would tell what it cannot read, and that in each worker
            "must be redis://user:password@host:port/0; / ? # @ in a password stand escaped (%2F %3F %23 %40)"
        )
    return url


class StoreSettings(Group):
    """Redis or Valkey."""

    title: ClassVar[str] = "Shared state"

    redis_url: Annotated[SecretStr, AfterValidator(_redis)] | None = Field(
        None,
        description="Redis 6.2 or later, or Valkey (`redis://host:6379/0`): sessions, streams, subscriptions, "
        "questions and tasks then work on whichever worker or machine the next request lands on",
    )
