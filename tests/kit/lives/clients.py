"""Clients that follow the protocol: requests to a worker, and what they know of streams, changes and tasks."""

import asyncio
import json
from collections import Counter
from typing import Any

from tests.kit.lives.workers import Worker, until

CLOSED = "=The client has ended its session."
LISTS = {"notifications/tools/list_changed": "tools", "notifications/prompts/list_changed": "prompts"}


class Exchange:
    """One HTTP request to a worker and what its client has read of the answer. It may hang up."""

    def __init__(self, worker: Worker, method: str, name: str, body: Any = None, **fields: str) -> None:
        self.worker, self.status, self.ended = worker, 0, False
        self.fields: dict[str, str] = {}
        self.gone = asyncio.Event()
        self.events: list[tuple[str, Any]] = []
        """The id, and the data as JSON; None of a priming event."""
        self.content = b""
        self._request = self._message(method, name, body, fields)
        self.task = worker.run(worker.endpoint(*self._request))

    def _message(self, method: str, name: str, body: Any, fields: dict[str, str]) -> tuple[Any, Any, Any]:
        content = b"" if body is None else json.dumps(body).encode()
        usual = {"host": "localhost:8000", "accept": "application/json, text/event-stream"}
        usual |= {"authorization": f"Bearer {name}", "content-type": "application/json"}
        usual |= {"content-length": str(len(content))} if body is not None else {}
        named = [(one.replace("_", "-").encode(), value.encode()) for one, value in {**usual, **fields}.items()]
        scope = {"type": "http", "method": method, "path": "/mcp", "raw_path": b"/mcp", "query_string": b""}
        first: list[Any] = [{"type": "http.request", "body": content}]

        async def receive() -> dict[str, Any]:
            if first:
                return dict(first.pop())
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if not self.gone.is_set() and self.worker.alive:
                self._read(message)

        return {**scope, "client": ("127.0.0.1", 5), "headers": named}, receive, send

    def _read(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.fields = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            return
        self.content += message.get("body", b"")
        self.ended = not message.get("more_body", False)
        if self.fields.get("content-type") == "text/event-stream":
            *whole, self.content = self.content.split(b"\n\n")
            for event in whole:
                lines = dict(line.split(b": ", 1) for line in event.splitlines() if not line.startswith(b":"))
                if b"data" in lines:
                    data = json.loads(lines[b"data"]) if lines[b"data"] else None
                    self.events.append((lines.get(b"id", b"").decode(), data))

    @property
    def open(self) -> bool:
        """Whether the client reads it, and there may be more."""
        return not (self.ended or self.gone.is_set()) and self.worker.alive and not self.task.done()

    @property
    def said(self) -> list[Any]:
        """The messages of a stream."""
        return [data for _, data in self.events if data is not None]

    def hang_up(self) -> None:
        self.gone.set()

    async def answer(self) -> Any:
        """The answer of one that ends."""
        async with asyncio.timeout(60):
            await asyncio.wait([self.task])
        if not self.task.cancelled():
            self.task.result()
        return self.said[-1] if self.events else json.loads(self.content or b"null")


async def opens(exchange: Exchange) -> None:
    await until(lambda: exchange.status)


async def closes(exchange: Exchange) -> None:
    await until(lambda: not exchange.open)


class Talk:
    """A call of a legacy session that goes on speaking, and what its client has of it."""

    def __init__(self, mark: str, who: str, session: str, exchange: Exchange) -> None:
        self.mark, self.who, self.session, self.exchange = mark, who, session, exchange
        self.home, self.first = exchange.worker, exchange
        self.said: list[str] = []
        self.got: list[str] = []
        self.last = self.question = ""
        self.read_to = 0
        self.over = self.broken = self.closed = False
        """Whether it says no more, something that was said could not be kept, its session's end was its own."""

    def read(self) -> None:
        """A client takes what it is sent."""
        for at, data in self.exchange.events[self.read_to :]:
            self.last = at or self.last
            if data is not None and "error" in data:
                assert self.over  # its worker was told to stop
            elif data is not None and (told := self._told(data)) == CLOSED:
                self.over, self.closed, self.question = True, True, ""
            elif data is not None:
                self.got.append(told)
        self.read_to = len(self.exchange.events)

    def _told(self, data: Any) -> str:
        match data.get("method"):
            case "notifications/message":
                return str(data["params"]["data"])
            case "elicitation/create":
                self.question = str(data["id"])
                return "?"
            case _:
                return f"={data['result']['content'][0]['text']}"

    def goes_on_at(self, exchange: Exchange) -> None:
        self.exchange, self.read_to = exchange, 0


class Listener:
    """A stream of changes: the general one of a legacy session, or that of a modern subscription."""

    def __init__(self, who: str, exchange: Exchange, wanted: set[str], session: str = "") -> None:
        self.who, self.exchange, self.wanted, self.session = who, exchange, wanted, session
        self.due: Counter[str] = Counter()
        self.late: dict[str, Worker] = {}
        """What is told once all can be reached again, and by whom."""
        self.tasks: dict[str, str] = {}
        """How each stood when it was asked for."""

    def told(self) -> Counter[str]:
        said = Counter[str]()
        for one in self.exchange.said:
            method = one.get("method")
            if method in LISTS:
                said[LISTS[method]] += 1
            elif method == "notifications/resources/updated":
                said[one["params"]["uri"]] += 1
        return Counter({key: times for key, times in said.items() if key in self.wanted})

    def knows(self) -> bool:
        """Whether it was told of each change, and of each once."""
        return self.told() == self.due

    def caught_up(self) -> bool:
        """Whether it was told of what changed while somebody could not be reached."""
        told = self.told()
        return all(told[key] > self.due[key] for key in self.late)

    def knows_of(self, task_id: str, status: str) -> bool:
        """Whether a task stands so by what was told."""
        return self.stands(task_id) == status

    def stands(self, task_id: str) -> str:
        """How a task stands by what was told."""
        told = [one["params"] for one in self.exchange.said if one.get("method") == "notifications/tasks"]
        return next((str(one["status"]) for one in reversed(told) if one["taskId"] == task_id), self.tasks[task_id])


class Job:
    """A task, its owner, and how it ended."""

    def __init__(self, mark: str, who: str) -> None:
        self.mark, self.who = mark, who
        self.end: Any = None
