"""Tasks, each looked at the whole time: what has ended must stay as it ended."""

import asyncio
import math
import random
import time
from collections import Counter
from typing import Final

import msgspec

from tests.operate.client import Answer, Client, new_call
from tests.operate.records import TaskSeen
from tests.operate.tokens import Tokens

LOOK_S: Final = 1.0
UNKNOWN: Final = -32602


class TaskWatch:
    """Begins tasks through the section and looks at all of them until its end."""

    def __init__(
        self, client: Client, tokens: Tokens, count: int, longest_s: float, *, forget_s: float = math.inf
    ) -> None:
        self._forget_s = forget_s
        """After so long a task is looked at no more: its time to live may be over then."""
        self._client, self._tokens, self._count, self._longest_s = client, tokens, count, longest_s
        self._dice, self._began = random.Random(7), time.monotonic()
        self.seen: list[TaskSeen] = []
        self.not_now = 0
        self.faults: Counter[str] = Counter()

    async def run(self, over: asyncio.Event, begin_each_s: float) -> None:
        """Until the event; those that have not ended by then are looked at until they have."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                if over.is_set():
                    break
                group.create_task(self._one(number, over))
                await asyncio.sleep(begin_each_s)

    async def _one(self, number: int, over: asyncio.Event) -> None:
        call = new_call()
        seconds = round(self._dice.uniform(0, self._longest_s), 2)
        params = {"name": "job", "arguments": {"call": call, "seconds": seconds}}
        while True:
            answer = await self._client.modern(self._tokens[number], "tools/call", params, call=call, tasks=True)
            if not answer.not_now or over.is_set():
                break
            self.not_now += 1
            await asyncio.sleep(LOOK_S)
        if "taskId" not in answer.result:
            if not answer.not_now:
                self.faults[f"begin: {answer.told()}"] += 1
            return
        task = TaskSeen(id=answer.result["taskId"], call=call)
        self.seen.append(task)
        patience, began = 60, time.monotonic()
        while time.monotonic() - began < self._forget_s and (
            not over.is_set() or (not task.ended and (patience := patience - 1) > 0)
        ):
            self._look(
                task, await self._client.modern(self._tokens[number], "tasks/get", {"taskId": task.id}, tasks=True)
            )
            await asyncio.sleep(LOOK_S * self._dice.uniform(0.5, 1.5))

    def _look(self, task: TaskSeen, answer: Answer) -> None:
        if status := answer.result.get("status"):
            outcome = answer.result.get("result") or answer.result.get("error") or {}
            task.look(status, msgspec.json.encode(outcome).decode())
        elif answer.message.get("error", {}).get("code") == UNKNOWN:
            task.lost = f"{answer.told()} at {time.monotonic() - self._began:.0f} s"
        elif answer.not_now:
            self.not_now += 1
        else:
            self.faults[f"look after {time.monotonic() - self._began:.1f} s: {answer.told()}"] += 1
