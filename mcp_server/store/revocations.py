"""Revocation list: which tokens are over before their end. In memory for each look-up, the same on all workers.

A list of what is refused, not of what is good: it is empty nearly always, and costs nothing then. Whoever keeps
something of a caller's (a cached token, a stream, a task) follows it and ends that when it is told.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

import msgspec

from mcp_server.identity import Principal, TokenMarks
from mcp_server.observe.log import logger
from mcp_server.observe.supervised import supervise
from mcp_server.protocol import sealed
from mcp_server.protocol.errors import UNREADABLE
from mcp_server.store.backend import StateBackend, StoreUnavailable
from mcp_server.store.events import EventBus, EventsMissed, TokensRevoked

Kind = Literal["sid", "sub", "client", "jti", "token", "issuer"]
MAX_ENTRIES: Final = 50_000
"""Some 20 MB. Each costs its issuer a login and a logout, or an operator a command; `first_to_go` makes room."""
EVER: Final = 2.0**53
"""A `before` that no token is issued after."""
NAME: Final = "revoked"
LASTING: Final = "revoked:lasting"
RECALL_S: Final = 1.0
"""How long a start waits for what is kept."""
LOOK_S: Final = 0.25
"""How often a folder is looked at, where workers share nothing else."""
AGAIN_S: Final = (1.0, 2.0, 5.0)
"""Pauses before a store or a folder that failed is tried again; the last one repeats."""
TURN: Final = 100
"""How many are taken in before other work of the process has its turn."""
MAX_UNKEPT: Final = 10_000
NOTED_S: Final = 1.0
"""How long an end waits for what is being written down."""
Marked = Principal | TokenMarks
Key = TypeVar("Key", bound=Hashable)


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of one issuer that are over: what they are named by, and up to when they were issued.

    `sid` is one login, `sub` a person, `client` a client (`azp`), `jti` and `token` (16 hex digits of its SHA-256) one
    token, `issuer` all of them. Who logs in again has a later token. `until` is when no such token can live any more,
    in seconds since the epoch; `why` is for the log. `operator` is whether a person said it, by `mcp-server revoke`,
    and `unaudited` whether one of the workers is to write that down, for the command cannot reach their audit.
    """

    issuer: str
    kind: Kind
    name: str
    before: float
    until: float
    why: str = ""
    operator: bool = False
    unaudited: bool = False

    @property
    def lasting(self) -> bool:
        """Whether it stays while there are others: logouts, of which anybody makes many, must not push it out."""
        return self.operator or self.kind in ("client", "issuer")

    def ends(self, who: Marked) -> bool:
        """Whether it is about this token."""
        return _NAMES[self.kind](who) == self.name and who.issuer == self.issuer and who.issued_at <= self.before


_NAMES: Final[dict[Kind, Callable[[Any], str]]] = {
    "sid": attrgetter("sid"), "sub": attrgetter("subject"), "client": attrgetter("client_id"),
    "jti": attrgetter("jti"), "token": attrgetter("token_digest"), "issuer": attrgetter("issuer"),
}  # fmt: skip
"""What a token is called by in a kind; nothing is revoked by an empty name."""
_INDEXED: Final[tuple[Kind, ...]] = ("sid", "sub")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Revocation).decode
Follower = Callable[[Revocation], int]
"""Ends what it keeps of tokens that are over; how much that was is for the log."""


class RevocationList:
    """The revocations that one process knows. Bounded; what no token can outlive is forgotten."""

    def __init__(self, clock: Callable[[], float] = time.time, max_entries: int = MAX_ENTRIES) -> None:
        self._clock, self._max = clock, max_entries
        self._entries: dict[tuple[str, str, str], Revocation] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, one: Revocation) -> bool:
        """Take it in; whether it says anything new."""
        key = (one.issuer, one.kind, one.name)
        known = self._entries.get(key)
        if one.until <= self._clock() or (known and known.before >= one.before and known.until >= one.until):
            return False
        if known is not None:
            before, until = max(one.before, known.before), max(one.until, known.until)
            operator = one.operator or known.operator
            one = msgspec.structs.replace(one, before=before, until=until, operator=operator)
            del self._entries[key]
        self._entries[key] = one
        if len(self._entries) > self._max + self._max // 10:  # rarely: it looks at all of them
            self._make_room()
        return True

    def over(self, who: Marked) -> bool:
        """Whether a token is over."""
        if not self._entries:
            return False
        issuer, entries = who.issuer, self._entries
        now = self._clock()
        for kind, name in _NAMES.items():
            one = entries.get((issuer, kind, name(who)))
            if one is not None and one.ends(who) and now < one.until:
                return True
        return False

    def _make_room(self) -> None:
        now = self._clock()
        self._entries = {key: one for key, one in self._entries.items() if now < one.until}
        if len(self._entries) > self._max:
            for gone in first_to_go(list(self._entries.values()), self._max):
                del self._entries[gone.issuer, gone.kind, gone.name]
            logger.error("the revocation list is full: the oldest is forgotten", entries=self._max)


def first_to_go(entries: Sequence[Revocation], limit: int) -> list[Revocation]:
    """Those beyond a bound: the oldest logins, tokens and persons that issuers named, then the oldest of all."""
    return sorted(entries, key=lambda one: one.lasting)[: max(0, len(entries) - limit)]  # the sort keeps their order


class MarksIndex(Generic[Key]):
    """Index by token marks: what is kept for callers, by the login and the person of their tokens.

    Those are said to be over by the thousand, and each would else be compared with all that is kept, by every worker:
    12 ms. What operators say is looked for everywhere.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[Kind, str], dict[Key, Marked]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, key: Key, who: Marked) -> None:
        """Something is kept for this caller."""
        for mark in _indexed(who):
            self._found.setdefault(mark, {})[key] = who

    def remove(self, key: Key, who: Marked) -> None:
        """It is kept no more."""
        for mark in _indexed(who):
            there = self._found[mark]
            del there[key]
            if not there:
                del self._found[mark]

    def over(self, one: Revocation, everything: Callable[[], Iterable[tuple[Key, Marked]]]) -> list[Key]:
        """What is kept for tokens that are over; `everything` is asked for where that is in no index."""
        looked_at = self._found.get((one.kind, one.name), {}).items() if one.kind in _INDEXED else everything()
        return [key for key, who in looked_at if one.ends(who)]


def _indexed(who: Marked) -> list[tuple[Kind, str]]:
    """An empty name is nobody's."""
    return [(kind, name) for kind in _INDEXED if (name := _NAMES[kind](who))]


class RevocationLedger(Protocol):
    """Where revocations are kept beyond a process; each raises `OSError` or `StoreUnavailable`."""

    async def keep(self, one: Revocation) -> None:
        """Keep one."""

    async def first(self, one: Revocation) -> bool:
        """Whether this is the first worker that asks about it."""

    async def read(self, *, anew: bool = True) -> list[Revocation]:
        """All that are kept; where it is not `anew`, those since the last reading suffice."""

    def changed(self) -> bool:
        """Whether there may be others since the last reading, which nobody would tell otherwise."""


class StoreLedger:
    """The store that workers and machines share; its bus tells of news."""

    def __init__(self, backend: StateBackend) -> None:
        self._backend = backend

    async def keep(self, one: Revocation) -> None:
        """Keep one."""
        await self._backend.remember(LASTING if one.lasting else NAME, _encode(one), one.until, MAX_ENTRIES)

    async def first(self, one: Revocation) -> bool:
        """By a claim, which lasts as long as workers may read of it."""
        return await self._backend.claim(f"audited:{digest_of(one)}", max(one.until - time.time(), 1))

    async def read(self, *, anew: bool = True) -> list[Revocation]:
        """All that are kept; decoded in a thread, for 50,000 keep a loop for a second."""
        lines = [line for name in (LASTING, NAME) for line in await self._backend.remembered(name)]
        return await asyncio.to_thread(decoded, lines) if len(lines) > TURN else decoded(lines)

    def changed(self) -> bool:
        """The bus tells."""
        return False


def digest_of(one: Revocation) -> str:
    """A name of it that says nothing."""
    return sealed.digest(_encode(one))


def decoded(lines: Sequence[bytes]) -> list[Revocation]:
    """Those that can be read: another version may have written others."""
    found = []
    for line in lines:
        try:
            found.append(_decode(line))
        except UNREADABLE:
            continue
    return found


class Revocations:
    """The revocation list of one worker, its followers, and what keeps it alike on all of them.

    `keeps_s` is how long a revocation is remembered: as long as tokens live.
    """

    def __init__(
        self,
        bus: EventBus,
        keeps_s: float = 86_400,
        ledgers: Sequence[RevocationLedger] = (),
        clock: Callable[[], float] = time.time,
        look_s: float = LOOK_S,
    ) -> None:
        self._look_s = look_s
        self.bus, self.keeps_s, self._ledgers, self._clock = bus, keeps_s, ledgers, clock
        self.known = RevocationList(clock)
        self.followers: dict[str, Follower] = {}
        self.write_down: Callable[[Revocation], object] | None = None
        """Puts a line about it into the audit."""
        self._unkept: dict[Revocation, None] = {}
        """What no ledger has yet: it is tried again."""
        self._missed = asyncio.Event()
        """What is kept has not been read since the start or the last gap. Only a reading that succeeds clears it: were
        one given up, a revoked token would stay good here, for nobody tells of it again."""
        self._missed.set()
        self._jobs: set[asyncio.Task[object]] = set()
        self._noting: set[asyncio.Task[object]] = set()
        """Those of them that write something down, or tell it, which nobody else does."""
        bus.subscribe(TokensRevoked, self._on_revoked)
        bus.subscribe(EventsMissed, lambda _: self._missed.set())

    async def start(self) -> None:
        """Begin with what is kept, and look for more where nobody tells."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECALL_S):
                await self._catch_up()
        if self._ledgers:
            self._soon(supervise("revocations", self._watch))

    async def stop(self) -> None:
        """Look no more. What this worker has claimed to write down nobody else writes, nor tells what it learned."""
        if self._noting:
            await asyncio.wait(self._noting, timeout=NOTED_S)
        for job in (jobs := list(self._jobs)):
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def revoke(self, one: Revocation) -> None:
        """Have these tokens be over: here at once, then wherever workers share anything.

        Raises `StoreUnavailable` or `OSError` where the others do not know.
        """
        self.take(one)
        if self._ledgers:
            self._unkept[one] = None
            if len(self._unkept) > MAX_UNKEPT:
                del self._unkept[next(iter(self._unkept))]
            await self._keep(one)

    def revoke_soon(self, one: Revocation) -> None:
        """`revoke` for who cannot wait; that others do not know is in the log."""
        self.take(one)
        self._note(self._publish(one))

    def take(self, one: Revocation) -> None:
        """Know of it, and end what is kept of these tokens here."""
        if not self.known.add(one):
            return
        ended: dict[str, int] = {}
        for name, follow in self.followers.items():
            try:
                ended[name] = follow(one)
            except Exception:  # noqa: BLE001 - whatever it is, the others end theirs
                logger.exception("what a revoked token began was not ended", part=name)
        logger.info("tokens are revoked", kind=one.kind, why=one.why, ended=ended)
        if one.unaudited and self.write_down is not None:
            self._note(self._audit(one, self.write_down))

    async def _audit(self, one: Revocation, write_down: Callable[[Revocation], object]) -> None:
        """Write down what a command could not, once for all workers; where nobody can say, rather twice than never."""
        first = True
        try:
            first = all([await ledger.first(one) for ledger in self._ledgers])
        except (StoreUnavailable, OSError):
            pass
        finally:  # at an end that could wait no longer, too
            if first:
                write_down(one)

    async def _keep(self, one: Revocation) -> None:
        """Kept first, then told: whoever does not hear of it reads it."""
        for ledger in self._ledgers:
            await ledger.keep(one)
        await self.bus.publish(TokensRevoked(msgspec.Raw(_encode(one))))
        self._unkept.pop(one, None)

    async def _publish(self, one: Revocation) -> None:
        try:
            await self.revoke(one)
        except (StoreUnavailable, OSError) as error:
            logger.error("other workers were not told of a revocation", kind=one.kind, reason=str(error))

    def _on_revoked(self, event: TokensRevoked) -> None:
        for one in decoded([bytes(event.revocation)]):
            self.take(one)

    async def _catch_up(self) -> bool:
        """Learn what is kept, and have kept what is not; whether all of it could be done."""
        try:
            if self._missed.is_set() or any(ledger.changed() for ledger in self._ledgers):
                await self._read()
            for one in list(self._unkept):
                await self._keep(one)
        except (StoreUnavailable, OSError) as error:
            logger.error("revocations cannot be read", reason=str(error))
            return False
        return True

    async def _read(self) -> None:
        """Take in what is kept; whatever ends that before its end, it is to be done again."""
        anew = self._missed.is_set()
        self._missed.clear()  # before: a gap while it is read is another one
        try:
            for ledger in self._ledgers:
                for number, one in enumerate(await ledger.read(anew=anew), 1):
                    self.take(one)
                    if number % TURN == 0:
                        await asyncio.sleep(0)
        except BaseException:
            self._missed.set()
            raise

    async def _watch(self) -> None:
        failures = 0
        while True:
            if failures:
                await asyncio.sleep(AGAIN_S[min(failures, len(AGAIN_S)) - 1])
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_s):
                        await self._missed.wait()
            failures = 0 if await self._catch_up() else failures + 1

    def _soon(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        job = asyncio.get_running_loop().create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return job

    def _note(self, work: Coroutine[Any, Any, object]) -> None:
        """The same, and an end waits for it."""
        self._noting.add(job := self._soon(work))
        job.add_done_callback(self._noting.discard)
