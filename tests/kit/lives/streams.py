"""The part of the machine that is about sessions, their calls and who listens to changes."""

import asyncio
import functools
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from mcp_server.protocol.types.tasks import EXTENSION
from mcp_server.web import authn
from tests.kit import wire
from tests.kit.backends import settle
from tests.kit.lives import workers
from tests.kit.lives.clients import Exchange, Job, Listener, Talk, closes, opens
from tests.kit.lives.handlers import Doors
from tests.kit.lives.stores import Store
from tests.kit.lives.workers import Worker, until

CAN: dict[str, Any] = {"elicitation": {}, "extensions": {EXTENSION: {}}}
INITIALIZE = wire.INITIALIZE | {"capabilities": {"elicitation": {}}}
PEOPLE = ("alice", "bob")
WORKER = st.integers(0, 1)
URIS = ("news://a", "news://b")


class Streams(RuleBasedStateMachine):
    """Two workers, sessions and their calls, and who listens to changes."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.loop.set_task_factory(workers.count_tasks)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(authn, "identify", workers.identify)
        self.folder, self.doors, self.numbers = tempfile.TemporaryDirectory(), Doors(), 0
        self.workers: list[Worker] = []
        self.cut: set[Worker] = set()
        self.sessions: dict[str, tuple[str, set[str]]] = {}
        self.talks: list[Talk] = []
        self.listeners: list[Listener] = []
        self.jobs: dict[str, Job] = {}
        self.doubt = False
        """Whether somebody died in the midst of something, so that nobody knows all that is kept."""

    def make_store(self) -> Store:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        async def begin() -> None:
            self.store = self.make_store()
            self.workers = [await self.born(), await self.born()]

        self.run(begin())
        for who in PEOPLE:
            self.open_session(0, who)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        async def whole() -> Any:
            try:
                return await work
            finally:
                await settle(20)

        return self.loop.run_until_complete(whole())

    async def born(self) -> Worker:
        store = self.store.join()
        worker = Worker(self.doors, store, Path(self.folder.name), self.store.sever)
        self.store.known(worker)
        await worker.start()
        return worker

    def mark(self, what: str = "m") -> str:
        self.numbers += 1
        return f"{what}{self.numbers}"

    def sound(self, worker: Worker) -> bool:
        return worker.alive and worker not in self.cut

    # What clients do.

    def post(self, at: int, who: str, message: Any, session: str = "") -> Exchange:
        """A legacy message in its session, a modern one with its headers."""
        params = message.get("params", {})
        if session or message.get("method") == "initialize":
            more = {"mcp_session_id": session} if session else {}
        else:
            params["_meta"][f"{wire.PREFIX}clientCapabilities"] = CAN
            named = params.get("name") or params.get("taskId")
            more = wire.headers(message["method"], named)
        return Exchange(self.workers[at], "POST", who, message, **more)

    @rule(at=WORKER, who=st.sampled_from(PEOPLE))
    def open_session(self, at: int, who: str) -> None:
        async def open_one() -> None:
            sound = self.sound(self.workers[at])
            exchange = self.post(at, who, wire.legacy("initialize", INITIALIZE))
            await exchange.answer()
            assert exchange.status == (200 if sound else 503)
            if sound:
                self.sessions[exchange.fields["mcp-session-id"]] = who, set()
            else:
                self.doubt = True

        self.run(open_one())

    @rule(at=WORKER, data=st.data())
    def close_session(self, at: int, data: st.DataObject) -> None:
        if not (session := self.one(data, list(self.sessions))):
            return

        async def close() -> None:
            who, _ = self.sessions[session]
            exchange = Exchange(self.workers[at], "DELETE", who, mcp_session_id=session)
            await exchange.answer()
            if not self.sound(self.workers[at]):
                assert exchange.status == 503
                return
            assert exchange.status == 204
            del self.sessions[session]
            for one in self.listeners:
                if one.session == session and self.sound(one.exchange.worker):
                    await closes(one.exchange)

        self.run(close())

    @rule(at=WORKER, data=st.data(), uri=st.sampled_from(URIS), wanted=st.booleans())
    def subscribe(self, at: int, data: st.DataObject, uri: str, wanted: bool) -> None:
        if not (session := self.one(data, list(self.sessions))) or self.cut:
            return

        async def ask() -> None:
            who, uris = self.sessions[session]
            method = "resources/subscribe" if wanted else "resources/unsubscribe"
            exchange = self.post(at, who, wire.legacy(method, {"uri": uri}), session)
            assert (await exchange.answer())["result"] == {}
            (uris.add if wanted else uris.discard)(uri)
            await settle()
            for one in self.listeners:
                if one.session == session and one.exchange.open:
                    await until(functools.partial(self.hears_of, one, uris))
                    one.wanted = {"tools", "prompts", *uris}

        self.run(ask())

    def hears_of(self, one: Listener, uris: set[str]) -> bool:
        """Whether a session's stream is subscribed to these resources where it is open."""
        listeners = one.exchange.worker.runtime.listeners
        stream = next(found for found in listeners if found.session == one.session and found.token)
        return set(stream.wanted.resource_subscriptions) == uris

    @rule(at=WORKER, data=st.data())
    def listen_in_session(self, at: int, data: st.DataObject) -> None:
        if not (session := self.one(data, list(self.sessions))) or self.cut:
            return

        async def listen() -> None:
            who, uris = self.sessions[session]
            exchange = Exchange(self.workers[at], "GET", who, mcp_session_id=session)
            await opens(exchange)
            assert exchange.status == 200
            for one in self.listeners:
                if one.session == session:
                    await closes(one.exchange)
            self.listeners.append(Listener(who, exchange, {"tools", "prompts", *uris}, session))

        self.run(listen())

    @rule(at=WORKER, who=st.sampled_from(PEOPLE))
    def listen(self, at: int, who: str) -> None:
        """A modern subscription to all that there is, others' tasks among it."""

        async def listen() -> None:
            wanted = {"toolsListChanged": True, "resourceSubscriptions": list(URIS), "taskIds": sorted(self.jobs)}
            message = wire.modern("subscriptions/listen", {"notifications": wanted}, self.mark())
            exchange = self.post(at, who, message)
            await opens(exchange)
            if not self.sound(self.workers[at]) and self.jobs:
                assert exchange.status == 503
                return
            own = sorted(task_id for task_id, job in self.jobs.items() if job.who == who)
            honoured = exchange.said[0]["params"]["notifications"]
            assert sorted(honoured.get("taskIds", [])) == own
            listener = Listener(who, exchange, {"tools", *URIS})
            listener.tasks = {one: (await self.status(one)) for one in own}
            self.listeners.append(listener)

        self.run(listen())

    @rule(data=st.data())
    def stop_listening(self, data: st.DataObject) -> None:
        if one := self.one(data, [one for one in self.listeners if one.exchange.open]):
            one.exchange.hang_up()
            self.run(settle())

    @rule(at=WORKER, what=st.sampled_from(["tools", "prompts", *URIS]))
    def change(self, at: int, what: str) -> None:
        async def change() -> None:
            worker = self.workers[at]
            for one in self.listeners:
                if one.exchange.open and what in one.wanted:
                    near = one.exchange.worker is worker or (self.sound(worker) and self.sound(one.exchange.worker))
                    if near:
                        one.due[what] += 1
                    else:
                        one.late[what] = worker
            told = worker.mcp.resource_updated if what in URIS else worker.mcp.list_changed
            worker.context.run(told, what)  # type: ignore[arg-type]
            await self.hear()

        self.run(change())

    async def hear(self) -> None:
        for one in self.listeners:
            if one.exchange.open:
                await until(one.knows)

    @rule(at=WORKER, data=st.data())
    def call(self, at: int, data: st.DataObject) -> None:
        if not (session := self.one(data, list(self.sessions))) or self.cut:
            return

        async def call() -> None:
            mark, (who, _) = self.mark(), self.sessions[session]
            message = wire.legacy("tools/call", {"name": "talk", "arguments": {"mark": mark}}, mark)
            self.talks.append(Talk(mark, who, session, self.post(at, who, message, session)))

        self.run(call())

    @rule(data=st.data(), order=st.sampled_from(["say", "say", "ask", "end"]))
    def order(self, data: st.DataObject, order: str) -> None:
        going = [one for one in self.talks if not one.over and not one.question and one.home.alive]
        if not (talk := self.one(data, going)):
            return

        async def say() -> None:
            self.orders(talk, order)
            await self.said(talk)

        self.run(say())

    def orders(self, talk: Talk, order: str) -> None:
        text = self.mark("s") if order == "say" else order
        if order == "ask" and talk.session not in self.sessions:
            return
        talk.said.append({"ask": "?", "end": f"={talk.mark}"}.get(order, f"{talk.mark} {text}"))
        talk.over = order == "end"
        talk.broken |= talk.home in self.cut
        self.doors.order(talk.mark).put_nowait(text)

    async def said(self, talk: Talk) -> None:
        """What was said is heard by a client that is there, on whatever worker."""
        await settle()
        reads = talk.exchange.open and (talk.exchange is talk.first or not talk.broken)
        if reads and self.sound(talk.exchange.worker):

            def whole() -> bool:
                talk.read()
                return talk.got == talk.said

            await until(whole)
        talk.read()

    @rule(data=st.data(), at=WORKER)
    def answer(self, data: st.DataObject, at: int) -> None:
        asking = [one for one in self.talks if one.question and one.home.alive and one.session in self.sessions]
        if not (talk := self.one(data, asking)) or self.cut:
            return

        async def answer() -> None:
            said = {"jsonrpc": "2.0", "id": talk.question, "result": {"action": "decline"}}
            exchange = self.post(at, talk.who, said, talk.session)
            await exchange.answer()
            assert exchange.status == 202
            talk.question = ""
            talk.said.append(f"{talk.mark} decline")
            await self.said(talk)

        self.run(answer())

    @rule(data=st.data())
    def hang_up(self, data: st.DataObject) -> None:
        if talk := self.one(data, [one for one in self.talks if one.exchange.open and one.last]):
            talk.read()
            talk.exchange.hang_up()
            self.run(settle())

    @rule(data=st.data(), at=WORKER)
    def come_back(self, data: st.DataObject, at: int) -> None:
        gone = [one for one in self.talks if not one.exchange.open and one.last and one.session in self.sessions]
        if not (talk := self.one(data, gone)) or self.cut:
            return

        async def come_back() -> None:
            talk.read()
            worker = self.workers[at]
            fields = {"mcp_session_id": talk.session, "last_event_id": talk.last}
            talk.goes_on_at(Exchange(worker, "GET", talk.who, **fields))
            await opens(talk.exchange)
            await self.said(talk)

        self.run(come_back())

    async def record(self, task_id: str) -> Any:
        for worker in self.workers:
            if self.sound(worker):
                return await worker.runtime.tasks.find(task_id, workers.who(self.jobs[task_id].who).key)
        return None

    async def status(self, task_id: str) -> str:
        record = await self.record(task_id)
        return "" if record is None else str(record.status)

    def one(self, data: st.DataObject, of: list[Any]) -> Any:
        """By its place: ids are drawn anew in each life."""
        return of[data.draw(st.integers(0, len(of) - 1))] if of else None
