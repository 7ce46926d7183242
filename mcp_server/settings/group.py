"""What every group of settings is: a frozen model whose fields say for themselves what a page tells of them."""

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict


class Kind(NamedTuple):
    """Metadata of a type: what an operator writes there; tests take from it which settings a rule is for."""

    word: str


class Shown(NamedTuple):
    """Metadata of a field: what the page has for its default, where the default is no text an operator could write."""

    default: str


class Conflict(NamedTuple):
    """Settings that are each right and do not go together; the report has a line under the name of the first."""

    fields: tuple[str, ...]
    text: str


class Group(BaseModel):
    """The settings that one package owns.

    Pydantic's own messages quote what was given: without `hide_input_in_errors` a secret stands in a traceback.
    Infinite and undefined numbers pass each comparison that ought to bound them, or none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)
    title: ClassVar[str]

    def conflicts(self) -> Iterator[Conflict]:
        """What in the group does not go together."""
        return iter(())
