"""How a handler's questions are asked and answered: one text for both eras (2026-07-28 basic/patterns/mrtr).

Modern: a question without an answer ends the round; its answers so far travel with the client, sealed, and the handler
runs again. Legacy and tasks: the handler waits where it stands, and each request has an id that no other ever has.

An answer is bound to the question that was put, not to its key: between two rounds the world may have changed, and a
yes to "Delete order 5?" must not become one to "Delete all orders?".
"""

import functools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Raw

from mcp_server.authoring.errors import InvalidClientAnswer, ToolError
from mcp_server.observe.log import logger
from mcp_server.protocol import errors, meta, sealed
from mcp_server.protocol.meta import RoutingFields
from mcp_server.protocol.sealed import NONCE_BYTES, InvalidSealedValue, SealingKeys
from mcp_server.protocol.types.inputs import InputRequest, InputRequiredResult
from mcp_server.store.backend import StateBackend, StoreUnavailable, owner_of

PURPOSE: Final = "request-state"
MAX_STATE: Final = 128 * 1024
"""Of answers and notes that one call may carry from round to round, in bytes."""


_NUMBERED: Final = re.compile(r"q\d+")
"""Keys of questions whose author gave none: a place in the order of asking, which says nothing of what is asked."""
Answer = TypeVar("Answer")


class Question(msgspec.Struct, Generic[Answer], frozen=True):
    """Something to ask: `read` turns the client's answer into a value and raises `InvalidClientAnswer`."""

    request: InputRequest
    needs: dict[str, Any]
    read: Callable[[Raw], Answer]

    def legacy_params(self, elicitation_id: str) -> Any:
        """The parameters as a legacy request has them: an address to visit has an id there."""
        params = self.request.params
        if isinstance(params, dict) and params.get("mode") == "url":
            return {**params, "elicitationId": elicitation_id}
        return params


class InputRequired(BaseException):  # not an Exception: a handler's `except Exception` must not swallow it
    """The round ends here; `questions` are those without an answer, `carried` what the next round shall have.

    All of the round's: those that the tasks of one handler ask at once are asked at once, whichever of them is heard.
    """

    def __init__(self, carried: "ResumableInteraction") -> None:
        super().__init__()
        self.carried = carried

    @property
    def questions(self) -> Mapping[str, Question[Any]]:
        """The questions by the keys that their answers come back under."""
        return self.carried.asked


class Interaction(Protocol):
    """How the questions of one call are asked."""

    notes: dict[str, Any]

    async def ask(self, questions: Mapping[str, Question[Any]]) -> dict[str, Any]:
        """The answers by key, read; raises `InvalidClientAnswer`, or `InputRequired`."""


class WaitingInteraction:
    """Rounds of a client that is asked while the handler waits: legacy eras and tasks."""

    def __init__(self, put: Callable[[Mapping[str, Question[Any]]], Awaitable[dict[str, Raw]]]) -> None:
        self.notes: dict[str, Any] = {}
        self._put = put

    async def ask(self, questions: Mapping[str, Question[Any]]) -> dict[str, Any]:
        """Wait for the client's answers."""
        answers = await self._put(questions)
        return {key: question.read(answers[key]) for key, question in questions.items()}


class _State(msgspec.Struct):
    nonce: str
    asked: dict[str, str]
    """The pin of each question that was put in the round, by the key that its answer comes back under."""
    answers: dict[str, Raw]
    """Those that earlier questions have used, by pin."""
    notes: dict[str, Any]


class _Salient(msgspec.Struct):
    """What of the parameters says what is done; the rest is not read, and what stands there cannot end the call."""

    name: Any = None
    uri: Any = None
    arguments: Any = None


_decode_state = msgspec.json.Decoder(_State).decode
_decode_salient = msgspec.json.Decoder(_Salient).decode
_decode_answers = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode
_canonical = msgspec.json.Encoder(order="sorted").encode


class RequestStateCodec:
    """Seals what a call carries from round to round; bound to principal, method and parameters, and short-lived."""

    def __init__(self, keyring: SealingKeys, backend: StateBackend, ttl_s: float) -> None:
        self._keyring, self._backend, self._ttl_s = keyring, backend, ttl_s

    async def resume(
        self, peek: RoutingFields, binding: tuple[str, ...], *, single_use: bool
    ) -> "ResumableInteraction":
        """What a repeated call brings, or an empty round for a first one; raises `InvalidSealedValue`.

        An answer counts for the question that the state says was put under its key. Without a state nobody was asked:
        the client answers of its own accord, by the names that a tool's author gave. With `single_use` that is not
        looked at, for nothing says that it is new.
        """
        given = _answers(peek.input_responses)
        if peek.request_state is UNSET:
            return ResumableInteraction({}, {}, unasked={} if single_use else given)
        text = meta.text(peek.request_state)
        if text is None:
            raise InvalidSealedValue("requestState must be a text")
        opened = self._keyring.open(text, binding, now=time.time())
        try:
            state = _decode_state(opened)
        except msgspec.ValidationError as error:  # of a version before this one, while workers are replaced
            raise InvalidSealedValue("sealed by another version") from error
        brought = {pinned: given[key] for key, pinned in state.asked.items() if key in given}
        rounds = ResumableInteraction({**brought, **state.answers}, state.notes, put=state.asked)
        if single_use:
            claim, token = f"state:{state.nonce}", secrets.token_hex(8)
            if not await self._backend.claim(claim, self._ttl_s + 60, token, owner_of(binding[0])):
                raise InvalidSealedValue("used before")
            rounds.give_back = functools.partial(self._release, claim, token)
        return rounds

    async def _release(self, claim: str, token: str) -> None:
        try:
            await self._backend.release(claim, token)
        except StoreUnavailable as away:  # its client begins anew
            logger.error("a single-use requestState cannot be given back", reason=str(away))

    def seal(self, carried: "ResumableInteraction", binding: tuple[str, ...]) -> str:
        """The state for the next round; raises `ToolError` for more than a client can be asked to carry."""
        asked = {key: pin(key, question) for key, question in carried.asked.items()}
        payload = _encode(_State(secrets.token_urlsafe(12), asked, carried.kept, carried.notes))
        if len(payload) > MAX_STATE:
            raise ToolError("The answers are too long to go on.")
        return self._keyring.seal(
            payload, binding, nonce=secrets.token_bytes(NONCE_BYTES), expires_at=time.time() + self._ttl_s
        )


class ResumableInteraction:
    """Rounds of a modern call: answers brought, and those that questions have used, which are kept for the next.

    `answers` are by pin, `put` has the pins of the questions of the round before. `unasked` are answers by key, of
    a client that was asked nothing yet.
    """

    def __init__(
        self,
        answers: Mapping[str, Raw],
        notes: dict[str, Any],
        *,
        put: Mapping[str, str] | None = None,
        unasked: Mapping[str, Raw] | None = None,
    ) -> None:
        self._answers, self._put, self._unasked = answers, put or {}, unasked or {}
        self.notes = notes
        self.kept: dict[str, Raw] = {}
        self.asked: dict[str, Question[Any]] = {}
        """What this run of the handler has asked and got no answer to."""
        self.give_back: Callable[[], Awaitable[None]] = _nothing
        """Lets a state that is good once be brought again: its call was refused, and no handler has begun."""

    async def ask(self, questions: Mapping[str, Question[Any]]) -> dict[str, Any]:
        """The answers, if they were brought and can be read; else the round ends with the questions left."""
        found: dict[str, Any] = {}
        for key, question in questions.items():
            pinned = pin(key, question)
            raw = self._answer(key, pinned)
            if raw is None:
                continue
            try:
                found[key] = question.read(raw)
            except InvalidClientAnswer:
                continue  # a malformed answer is none (mrtr: ask again)
            self.kept[pinned] = raw
        left = {key: question for key, question in questions.items() if key not in found}
        if left:
            for key, question in left.items():
                self.asked.setdefault(key, question)  # another one under the same key is for the next round
            raise InputRequired(self)
        return found

    def _answer(self, key: str, pinned: str) -> Raw | None:
        if pinned in self._answers:
            return self._answers[pinned]
        put = self._put.get(key, pinned)
        if put != pinned and put not in self.kept:  # where it never reads the same twice, the rounds would not end
            logger.info("a question has changed since it was put, and is put anew", key=key)
        return None if _NUMBERED.fullmatch(key) else self._unasked.get(key)


async def _nothing() -> None:
    """Nothing to give back."""


def pin(key: str, question: Question[Any]) -> str:
    """A digest of a question as its user sees it, schema and all, and of its key: what an answer is bound to.

    With the key, for the same words may be asked twice in one call, and answered differently.
    """
    return sealed.digest(_canonical((key, question.request)))


def binding(principal_key: str, method: str, params: Raw) -> tuple[str, ...]:
    """What a state is bound to: who calls, which method, and the parameters that say what is done."""
    try:
        return principal_key, method, sealed.digest(_canonical(_decode_salient(params)))
    except errors.UNREADABLE as error:
        raise InvalidSealedValue("parameters that cannot be read") from error


def required(questions: Mapping[str, Question[Any]], state: str) -> InputRequiredResult:
    """The result that asks."""
    return InputRequiredResult(
        input_requests={key: question.request for key, question in questions.items()}, request_state=state
    )


def _answers(raw: Any) -> dict[str, Raw]:
    if raw is UNSET:
        return {}
    try:
        return _decode_answers(raw)
    except errors.UNREADABLE:
        return {}
