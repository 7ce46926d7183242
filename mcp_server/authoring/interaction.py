"""How a handler's questions are asked and answered: one text for both eras (2026-07-28 basic/patterns/mrtr).

Modern: a question without an answer ends the round; its answers so far travel with the client, sealed, and the handler
runs again. Legacy and tasks: the handler waits where it stands.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import msgspec
from msgspec import UNSET, Raw

from mcp_server.authoring.errors import InvalidClientAnswer, ToolError
from mcp_server.protocol import errors, meta, sealed
from mcp_server.protocol.meta import RoutingFields
from mcp_server.protocol.sealed import NONCE_BYTES, InvalidSealedValue, SealingKeys
from mcp_server.protocol.types.inputs import InputRequest, InputRequiredResult
from mcp_server.store.backend import StateBackend, owner_of

PURPOSE: Final = "request-state"
MAX_STATE: Final = 128 * 1024
"""Of answers and notes that one call may carry from round to round, in bytes."""


class Question(msgspec.Struct, frozen=True):
    """Something to ask: `read` turns the client's answer into a value and raises `InvalidClientAnswer`."""

    request: InputRequest
    needs: dict[str, Any]
    read: Callable[[Raw], Any]


class InputRequired(BaseException):  # not an Exception: a handler's `except Exception` must not swallow it
    """The round ends here; `questions` are those without an answer, `carried` what the next round shall have."""

    def __init__(self, questions: Mapping[str, Question], carried: "ResumableInteraction") -> None:
        super().__init__()
        self.questions, self.carried = questions, carried


class Interaction(Protocol):
    """How the questions of one call are asked."""

    notes: dict[str, Any]

    async def ask(self, questions: Mapping[str, Question]) -> dict[str, Any]:
        """The answers by key, read; raises `InvalidClientAnswer`, or `InputRequired`."""


class WaitingInteraction:
    """Rounds of a client that is asked while the handler waits: legacy eras and tasks."""

    def __init__(self, put: Callable[[Mapping[str, Question]], Awaitable[dict[str, Raw]]]) -> None:
        self.notes: dict[str, Any] = {}
        self._put = put

    async def ask(self, questions: Mapping[str, Question]) -> dict[str, Any]:
        """Wait for the client's answers."""
        answers = await self._put(questions)
        return {key: question.read(answers[key]) for key, question in questions.items()}


class _State(msgspec.Struct):
    nonce: str
    answers: dict[str, Raw]
    notes: dict[str, Any]


_decode_state = msgspec.json.Decoder(_State).decode
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

        Answers may come without a state: a client could as well have let itself be asked first. With `single_use`
        they are then not looked at, for nothing says that they are new.
        """
        answers = _answers(peek.input_responses)
        if peek.request_state is UNSET:
            return ResumableInteraction({} if single_use else answers, {})
        text = meta.text(peek.request_state)
        if text is None:
            raise InvalidSealedValue("requestState must be a text")
        opened = self._keyring.open(text, binding, now=time.time())
        state = _decode_state(opened)
        claim, owner = f"state:{state.nonce}", owner_of(binding[0])
        if single_use and not await self._backend.claim(claim, self._ttl_s + 60, owner=owner):
            raise InvalidSealedValue("used before")
        return ResumableInteraction({**answers, **state.answers}, state.notes)

    def seal(self, carried: "ResumableInteraction", binding: tuple[str, ...]) -> str:
        """The state for the next round; raises `ToolError` for more than a client can be asked to carry."""
        payload = _encode(_State(secrets.token_urlsafe(12), carried.kept, carried.notes))
        if len(payload) > MAX_STATE:
            raise ToolError("The answers are too long to go on.")
        return self._keyring.seal(
            payload, binding, nonce=secrets.token_bytes(NONCE_BYTES), expires_at=time.time() + self._ttl_s
        )


class ResumableInteraction:
    """Rounds of a modern call: answers brought, and those that questions have used, which are kept for the next."""

    def __init__(self, answers: dict[str, Raw], notes: dict[str, Any]) -> None:
        self._answers = answers
        self.notes = notes
        self.kept: dict[str, Raw] = {}

    async def ask(self, questions: Mapping[str, Question]) -> dict[str, Any]:
        """The answers, if they were brought and can be read; else the round ends with the questions left."""
        found: dict[str, Any] = {}
        for key, question in questions.items():
            raw = self._answers.get(key)
            if raw is None:
                continue
            try:
                found[key] = question.read(raw)
            except InvalidClientAnswer:
                continue  # a malformed answer is none (mrtr: ask again)
            self.kept[key] = raw
        left = {key: question for key, question in questions.items() if key not in found}
        if left:
            raise InputRequired(left, self)
        return found


def binding(principal_key: str, method: str, params: Raw) -> tuple[str, ...]:
    """What a state is bound to: who calls, which method, and the parameters that say what is done."""
    try:
        members = msgspec.json.decode(params)
        salient = {name: members.get(name) for name in ("name", "uri", "arguments")}
        return principal_key, method, sealed.digest(_canonical(salient))
    except errors.UNREADABLE as error:
        raise InvalidSealedValue("parameters that cannot be read") from error


def required(questions: Mapping[str, Question], state: str) -> InputRequiredResult:
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
