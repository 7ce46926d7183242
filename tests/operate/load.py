"""The load: an open model, where each call has its due time whatever became of the one before."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from tests.operate.client import Answer, Client, new_call
from tests.operate.records import Call, Calls
from tests.operate.tokens import Tokens

KINDS: Final = {"modern kept": 40, "modern fresh": 25, "session": 15, "legacy fresh": 10, "list": 10}
"""How many of a hundred calls are of which kind."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for in a second, how long calls take at the longest, and what stays open."""

    rate: float
    longest_s: float
    listeners: int
    sessions: int
    tasks: int

    def seconds(self, dice: random.Random) -> float:
        """Most calls are short; one in ten takes up to the longest."""
        cast = dice.random()
        if cast < 0.6:
            return 0.0
        return round(dice.uniform(0, self.longest_s if cast > 0.9 else self.longest_s / 4), 2)


class Sessions:
    """Legacy sessions of clients; one that cannot be opened now is tried again."""

    def __init__(self, client: Client, tokens: Tokens, count: int) -> None:
        self._client, self._tokens = client, tokens
        self.ids: list[str] = [""] * count
        self.lost = 0

    async def open(self, number: int) -> Answer | None:
        """The session of a place is open; an answer is why it is not."""
        if self.ids[number]:
            return None
        answer = await self._client.open_session(self._tokens[number])
        if answer.status == 200 and answer.session:
            self.ids[number] = answer.session
            return None
        return answer


class Load:
    """Begins calls at their due times until it is told to stop, and waits for the last one's answer."""

    def __init__(
        self, client: Client, tokens: Tokens, shape: Shape, *, seed: int = 1, kinds: dict[str, int] = KINDS
    ) -> None:
        self._client, self._tokens, self._shape = client, tokens, shape
        self._dice = random.Random(seed)
        self._kinds = kinds
        self._sessions = Sessions(client, tokens, shape.sessions)
        self._running: set[asyncio.Task[None]] = set()
        self.calls = Calls()
        self.began = time.monotonic()
        self.took_s = 0.0
        self.asked = 0

    async def run(self, over: asyncio.Event) -> None:
        """Until the event: a call each `1 / rate` seconds, late ones at once."""
        self.began = time.monotonic()
        while not over.is_set():
            due = self.asked / self._shape.rate
            if (wait := self.began + due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            self.asked += 1
            self._begin(due)
        self.took_s = time.monotonic() - self.began
        if self._running:
            await asyncio.wait(self._running)

    def _begin(self, due: float) -> None:
        kind = self._dice.choices(list(self._kinds), list(self._kinds.values()))[0]
        task = asyncio.create_task(self._one(kind, due, self._shape.seconds(self._dice), self.asked))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _one(self, kind: str, due: float, seconds: float, number: int) -> None:
        call = new_call()
        ways: dict[str, Callable[[], Awaitable[Answer]]] = {
            "modern kept": lambda: self._work(number, call, seconds, fresh=False),
            "modern fresh": lambda: self._work(number, call, seconds, fresh=True),
            "session": lambda: self._in_session(number, call, seconds),
            "legacy fresh": lambda: self._legacy(number, call, seconds, ""),
            "list": lambda: self._client.modern(self._tokens[number], "tools/list", {}, call=call),
        }
        if kind == "list":
            seconds = 0.0
        answer = await ways[kind]()
        good = bool(answer.result.get("tools")) if kind == "list" else answer.text == f"done {call}"
        verdict = "good" if good and answer.status == 200 else "not_now" if answer.not_now else "failed"
        over = time.monotonic() - self.began
        told = "" if verdict == "good" else answer.told()
        self.calls.add(Call(kind=kind, id=call, due=due, over=over, seconds=seconds, verdict=verdict, told=told))  # type: ignore[arg-type]

    async def _work(self, number: int, call: str, seconds: float, *, fresh: bool) -> Answer:
        return await self._client.modern(
            self._tokens[number], "tools/call", work(call, seconds), call=call, fresh=fresh
        )

    async def _legacy(self, number: int, call: str, seconds: float, session: str) -> Answer:
        return await self._client.legacy(
            self._tokens[number], "tools/call", work(call, seconds), call=call, session=session, fresh=not session
        )

    async def _in_session(self, number: int, call: str, seconds: float) -> Answer:
        """In the session of a place: that of the caller whose token has the same number."""
        place = number % len(self._sessions.ids)
        if why := await self._sessions.open(place):
            return why
        session = self._sessions.ids[place]
        answer = await self._legacy(place, call, seconds, session)
        if answer.status == 404:
            self._sessions.ids[place] = ""
            self._sessions.lost += 1
        return answer


def work(call: str, seconds: float) -> dict[str, object]:
    """The parameters of a call of the counting tool."""
    return {"name": "work", "arguments": {"call": call, "seconds": seconds}}
