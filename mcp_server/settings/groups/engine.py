"""What a valid call may take: times, pages, and the keys that seal what a client carries for us."""

import secrets
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from mcp_server.settings.group import Group, Shown
from mcp_server.settings.values import MIN_KEY, HiddenBytes, long_keys, words

DRAWN: Final = "drawn-at-start:"
"""How a key begins that nobody has stated: its server's workers have it, the next server has another one."""


def random_key() -> str:
    """A sealing key for as long as this server runs."""
    return DRAWN + secrets.token_urlsafe(MIN_KEY)


class EngineSettings(Group):
    """Calls, questions, tasks."""

    title: ClassVar[str] = "Calls, questions and tasks"

    call_timeout_s: float = Field(600, gt=0, description="after this a call is ended")
    ask_timeout_s: float = Field(
        300, gt=0, le=86400, description="how long a handler waits for a legacy client's answer"
    )
    state_keys: Annotated[
        tuple[SecretStr, ...], BeforeValidator(words), AfterValidator(long_keys), Shown("random at start")
    ] = Field(
        default_factory=lambda: (SecretStr(random_key()),),
        min_length=1,
        description="secrets of 32 characters or more that seal cursors and the state of questions; the first seals, "
        "each opens; name them when several machines serve, or when a restart must not end open questions",
    )
    state_ttl_s: float = Field(
        600,
        ge=10,
        le=86400,
        description="how long a client has to come back with the answers to a round of questions",
    )
    task_ttl_s: float = Field(3600, ge=10, description="how long a task may run and be looked at")
    task_lease_s: float = Field(
        30,
        ge=1,
        le=600,
        description="with Redis: a task whose worker has not been heard of for so long is taken over by another",
    )
    page_size: int = Field(100, ge=1, le=1000, description="entries of a list in one answer")

    @property
    def keys_stated(self) -> bool:
        """Whether an operator has named the state keys: those of one start end with it."""
        return not any(key.get_secret_value().startswith(DRAWN) for key in self.state_keys)

    def sealing_keys(self) -> tuple[bytes, ...]:
        """The keys in bytes; no `repr` shows them."""
        return tuple(HiddenBytes(key.get_secret_value().encode()) for key in self.state_keys)
