"""Contract checker: whether an API's answers are what its document says, told to operators and to nobody else.

A loose tool promises nothing that an answer could break, so a model always gets the data, and an operator would never
hear that document and API have parted. A sample is compared, beside the call and one at a time, so that it costs calls
nothing. What is logged is the document's own: a value, or a key of one, may be a person's.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from mcp_server.authoring import schema
from mcp_server.authoring.errors import UnsupportedType
from mcp_server.observe import metrics
from mcp_server.observe.log import logger
from mcp_server.rest.model import WireAnswer

EVERY_S: Final = 1.0
"""Of one tool one answer in so long is compared."""
TOLD_EVERY_S: Final = 60.0
MOST_BYTES: Final = 64 * 1024
_SHOWN: Final = 3
_running: Final[set["asyncio.Task[None]"]] = set()


class DriftCheck:
    """Compares answers of one tool with a schema, which is made when the first one comes; with None there is none."""

    def __init__(
        self, api: str, tool: str, documented: Callable[[], bytes | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api, self._tool, self._documented, self._clock = api, tool, documented, clock
        self._violations: Callable[[Any], Any] | None = None
        self._made = False
        self._next = self._next_told = 0.0

    def look(self, answer: WireAnswer) -> None:
        """Have an answer compared, if it is one's turn."""
        now = self._clock()
        if now < self._next or _running or answer.cut or not 0 < len(answer.body) <= MOST_BYTES:
            return
        if not 200 <= answer.status < 300 or (self._made and self._violations is None):
            return
        self._next = now + EVERY_S
        task = asyncio.get_running_loop().create_task(self._compare(answer.body, now))
        _running.add(task)
        task.add_done_callback(_running.discard)

    async def _compare(self, body: bytes, now: float) -> None:
        found = await asyncio.to_thread(self._found, body)
        if not found:
            return
        metrics.answer_drifted(self._tool)
        if now >= self._next_told:
            self._next_told = now + TOLD_EVERY_S
            logger.warning("an answer is not what its document says", api=self._api, tool=self._tool, schema=found)

    def _found(self, body: bytes) -> list[str]:
        """The places of the schema that the answer breaks."""
        try:
            if not self._made:
                documented = self._documented()
                self._violations = None if documented is None else schema.validator(msgspec.json.decode(documented))
                self._made = True
            value = msgspec.json.decode(body)
        except UnsupportedType:  # the document's own fault, of which `check` has told
            self._made = True
            return []
        except (msgspec.MsgspecError, RecursionError):  # what is no JSON is told elsewhere
            return []
        places = []
        for one in self._violations(value) if self._violations is not None else ():
            if one is schema.UNASKED:  # too much to be compared is no drift
                return []
            places.append("/" + "/".join(str(part) for part in getattr(one, "schema_path", ())))
            if len(places) == _SHOWN:
                break
        return [place[:200] for place in places]
