"""Authorization requests that wait for a person: bounded in bytes, the largest client's oldest make room."""

import secrets
import sys
from typing import Final

import msgspec

from devstack.realm.model import User

MAX_BYTES: Final = 8 * 1024 * 1024
ENTRY_BYTES: Final = 1024
"""What an entry takes beside its parameters: with it one bound holds the number of entries, too."""


class Login(msgspec.Struct, frozen=True):
    """When a person logged in, and what they showed for this very authorization: a session alone is level 0."""

    auth_time: int = 0
    level: int = 0


class Waiting(msgspec.Struct):
    """A request's parameters, and the person who has logged in for it."""

    parameters: dict[str, str]
    user: User | None = None
    login: Login = Login()

    @property
    def client_id(self) -> str:
        """The client that sent the person here."""
        return self.parameters["client_id"]


class Pending:
    """The requests that wait, by their unguessable names.

    Anyone may begin one, with a link that a browser follows. A flood of one client's requests pushes out that
    client's own, the oldest first: a login that another client has begun goes on.
    """

    def __init__(self, most: int = MAX_BYTES) -> None:
        self._most, self._total = most, 0
        self._waiting: dict[str, Waiting] = {}
        self._held: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def held(self) -> int:
        """The bytes that are held."""
        return self._total

    def put(self, waiting: Waiting) -> str:
        """Keep one under a new name."""
        size = _size(waiting)
        while self._waiting and self._total + size > self._most:
            largest = max(self._held, key=self._held.__getitem__)
            self.pop(next(name for name, one in self._waiting.items() if one.client_id == largest))
        name = secrets.token_urlsafe(24)
        self._waiting[name] = waiting
        self._count(waiting.client_id, size)
        return name

    def get(self, name: str) -> Waiting | None:
        """The one of that name, if it still waits."""
        return self._waiting.get(name)

    def pop(self, name: str) -> Waiting:
        """Take one that waits out."""
        waiting = self._waiting.pop(name)
        self._count(waiting.client_id, -_size(waiting))
        return waiting

    def _count(self, client_id: str, size: int) -> None:
        self._total += size
        self._held[client_id] = self._held.get(client_id, 0) + size
        if not self._held[client_id]:
            del self._held[client_id]


def _size(waiting: Waiting) -> int:
    return ENTRY_BYTES + sum(map(sys.getsizeof, (*waiting.parameters, *waiting.parameters.values())))
