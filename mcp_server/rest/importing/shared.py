"""Document store of one server: what its workers serve, kept by the process that starts them.

A worker that begins while a document is broken or away begins with what the others have; one worker, the leader, reads
documents again, and what it takes all take. Files are written once and named by their digest; `state` names those that
are served, and is replaced in one step. Nobody but this user may read the folder.
"""

import contextlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from mcp_server import atomic_file
from mcp_server.file_lock import FileLock
from mcp_server.observe.log import logger
from mcp_server.registry.server import ListKind
from mcp_server.rest.importing import snapshot
from mcp_server.rest.importing.documents import Documents, State
from mcp_server.rest.importing.snapshot import DocumentFiles

_STATE: Final = "state"
_NEXT: Final = "next"
_DIGITS: Final = 32


class SharedDocuments(Documents):
    """Of the workers of one server, in a folder of theirs that only its user can read."""

    between_workers = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._stamp: tuple[int, int] | None = None
        self._lead: FileLock | None = None
        self._here: FileLock | None = None

    def state(self) -> State:
        """Of the file, when that is another one."""
        try:
            found = (self._folder / _STATE).stat()
            if (stamp := (found.st_ino, found.st_mtime_ns)) != self._stamp:
                self._state = msgspec.json.decode((self._folder / _STATE).read_bytes(), type=State)
                self._stamp = stamp
        except FileNotFoundError:  # nothing is there yet
            pass
        except (OSError, msgspec.MsgspecError) as error:
            logger.warning("the state of the documents cannot be read", error=str(error))
        return self._state

    def read(self, state: State, name: str) -> DocumentFiles | None:
        """Of its file, whose name is its digest."""
        file = state.documents.get(name)
        if file is None:
            return None
        try:
            data = (self._folder / file).read_bytes()
            if snapshot.digest(data)[:_DIGITS] != file:
                raise ValueError("it is not what was written")
            return snapshot.unpacked(data)
        except (OSError, ValueError) as error:
            logger.warning("a document that was kept cannot be read", api=name, error=str(error))
            return None

    def prepare(self, found: Mapping[str, DocumentFiles], changed: Iterable[ListKind]) -> State:
        """New files, and a state beside the one that counts: a full disk is met before anything is served."""
        before = self.state()
        documents = dict(before.documents)
        for name, one in found.items():
            data = snapshot.packed(one)
            documents[name] = snapshot.digest(data)[:_DIGITS]
            self._write(documents[name], data)
        prepared = msgspec.structs.replace(
            before, generation=before.generation + 1, documents=documents, changed=tuple(changed)
        )
        self._write(_NEXT, msgspec.json.encode(prepared))
        return prepared

    def publish(self, prepared: State) -> State:
        """In one step, which needs no room."""
        before = self.state()
        (self._folder / _NEXT).replace(self._folder / _STATE)
        for old in set(self._kept()) - set(prepared.documents.values()) - set(before.documents.values()):
            (self._folder / old).unlink(missing_ok=True)  # a worker may still be at the one before
        return self.state()

    def note(self, problems: Mapping[str, str]) -> None:
        """For all workers to say."""
        if dict(self.state().problems) != dict(problems):
            self._change(problems=dict(problems))

    def join(self, generation: int) -> None:
        """In a file of its own, locked for life."""
        if self._here is None:
            self._here = FileLock(self._folder / f"worker-{secrets.token_hex(8)}")
        with _no_room("joined"):
            self._here.take()
            self._here.write(str(generation))

    def leave(self) -> None:
        """Its locks are dropped."""
        for held in (self._here, self._lead):
            if held is not None:
                held.drop()
        if self._here is not None:
            self._here.path.unlink(missing_ok=True)
        self._here = self._lead = None

    def leads(self) -> bool:
        """One worker has the lock; another one gets it when that one ends."""
        if self._lead is None:
            self._lead = FileLock(self._folder / "leader")
        return self._lead.take()

    def ask(self) -> None:
        """By a file that the leader takes away."""
        with _no_room("asked"):
            (self._folder / "look").touch()

    def asked(self) -> bool:
        """Whether there was such a file."""
        try:
            (self._folder / "look").unlink()
        except FileNotFoundError:
            return False
        return True

    def all_have(self, generation: int) -> bool:
        """Every other worker that lives."""
        mine = None if self._here is None else self._here.path.name
        workers = (path for path in self._folder.glob("worker-*") if path.name != mine)
        return all(self._has(path, generation) for path in workers)

    def _has(self, worker: Path, generation: int) -> bool:
        """Whether a worker has it, or is no more: the kernel drops the lock of who dies, however that was."""
        life = FileLock(worker)
        try:
            if life.take():
                worker.unlink(missing_ok=True)
                return True
            return int(life.read() or "0") >= generation
        except (OSError, ValueError):
            return True
        finally:
            life.drop()

    def tell(self, generation: int) -> None:
        """So that it is done once, though the leader ends meanwhile."""
        self._change(told=generation)

    def _kept(self) -> Iterator[str]:
        return (path.name for path in self._folder.iterdir() if len(path.name) == _DIGITS)

    def _change(self, **what: object) -> None:
        self._write(_STATE, msgspec.json.encode(msgspec.structs.replace(self.state(), **what)))
        self.state()

    def _write(self, name: str, data: bytes) -> None:
        atomic_file.write(self._folder / name, data)


@contextlib.contextmanager
def _no_room(what: str) -> Iterator[None]:
    """A worker serves what it has read, though a full disk, or a folder that is gone, takes no note of it."""
    try:
        yield
    except OSError as error:
        logger.warning("the other workers cannot be told", what=what, error=error.strerror)
