"""Which documents a server serves, as of which generation, and why the newest of some is not among them."""

from collections.abc import Iterable, Mapping

import msgspec

from mcp_server.registry.server import ListKind
from mcp_server.rest.importing.snapshot import DocumentFiles


class State(msgspec.Struct, kw_only=True, frozen=True):
    """What is served: the file of each document, and why the newest of some is not; `told` is of `generation`s."""

    generation: int = 0
    documents: Mapping[str, str] = {}
    problems: Mapping[str, str] = {}
    changed: tuple[ListKind, ...] = ()
    """The lists that this generation changed."""
    told: int = 0


class Documents:
    """What is served, and who looks whether there is something newer; of a process that is alone.

    It leads, and nobody has to be given anything.
    """

    between_workers = False

    def __init__(self) -> None:
        self._state = State()

    def state(self) -> State:
        """What is served now."""
        return self._state

    def read(self, state: State, name: str) -> DocumentFiles | None:
        """The document of an API; None where there is none, or no longer."""
        return None

    def prepare(self, found: Mapping[str, DocumentFiles], changed: Iterable[ListKind]) -> State:
        """What is to be published: all of it that needs room on a disk is done now. Raises `OSError`."""
        return msgspec.structs.replace(self._state, generation=self._state.generation + 1, changed=tuple(changed))

    def publish(self, prepared: State) -> State:
        """Have all serve it from now on."""
        self._state = prepared
        return prepared

    def note(self, problems: Mapping[str, str]) -> None:
        """Why the newest document of some APIs is not served."""
        self._change(problems=dict(problems))

    def join(self, generation: int) -> None:
        """Note what is served here; who has joined is waited for."""

    def leave(self) -> None:
        """Nothing is served here any longer."""
        self._state = State()

    def leads(self) -> bool:
        """Whether it is here that documents are looked at."""
        return True

    def ask(self) -> None:
        """Have the leader look soon."""

    def asked(self) -> bool:
        """Whether somebody has asked since."""
        return False

    def all_have(self, generation: int) -> bool:
        """Whether every worker serves it."""
        return True

    def tell(self, generation: int) -> None:
        """Note that listeners were told of it."""
        self._change(told=generation)

    def _change(self, **what: object) -> None:
        self._state = msgspec.structs.replace(self._state, **what)
