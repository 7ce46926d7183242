"""The port of secret managers, and what their answers may be: settings by name, or one clear line of why not.

No line repeats an answer: a value that a store should not have given, or gives in the wrong form, is a secret still.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from mcp_server.protocol.errors import UNREADABLE

PREFIX: Final = "MCP_"
CONNECT_S: Final = 3.0
ANSWER_S: Final = 5.0
"""For one answer; `fetch.py` bounds the whole."""


_UNREADABLE: Final = frozenset(
    {
        "AttributeError",
        "DecodeError",
        "JSONDecodeError",
        "KeyError",
        "ParseError",
        "ResponseParserError",
        "TypeError",
        "UnicodeDecodeError",
    }
)
"""What the clients raise of an answer that is none of their store's, by its kinds."""


def unasked(kind: str) -> str:
    """What is said of a client's error that nothing else is known of: its words may quote an answer."""
    if kind in _UNREADABLE:
        return f"answers with what no such store would ({kind}): is another server there, or a proxy?"
    return f"cannot be asked ({kind})"


class SecretsUnavailable(Exception):
    """A store did not give its settings; the text names the identity and what is missing, and no value."""


class SecretSource(Protocol):
    """One place of one secret manager; `name` is what the operator wrote, without options."""

    name: str

    def fetch(self) -> dict[str, str]:
        """The settings there, by their names; raises `SecretsUnavailable`. It blocks, in a thread of its own."""


class Address(msgspec.Struct, frozen=True):
    """A word of `MCP_SECRETS`: `kind:place?option=value&...`."""

    kind: str
    place: str
    options: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def name(self) -> str:
        """As a problem names it."""
        return f"{self.kind}:{self.place}"


def of_document(text: str | bytes) -> dict[str, str]:
    """The settings of a secret that is a JSON object, a member for each; raises `SecretsUnavailable`."""
    try:
        found = msgspec.json.decode(text)
    except UNREADABLE:
        found = None
    return of_members(found)


def of_members(found: Any) -> dict[str, str]:
    """The same, decoded. What is no text is a setting in JSON; other members are somebody else's."""
    if not isinstance(found, dict):
        raise SecretsUnavailable("what is there is no JSON object of settings by their names")
    ours = {name: value for name, value in found.items() if name.startswith(PREFIX) and value is not None}
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode() for name, value in ours.items()
    }
