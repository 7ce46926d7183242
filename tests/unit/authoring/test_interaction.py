"""An answer is one to the question that was put: rounds, tasks and waiting clients, whatever changes in between."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Raw

from mcp_server import Context, Root, SamplingMessage, TextContent, elicitation, url_elicitation
from mcp_server.authoring import interaction
from mcp_server.authoring.interaction import InputRequired, Question, RequestStateCodec, pin
from mcp_server.observe.log import logger
from mcp_server.protocol.meta import RoutingFields
from mcp_server.protocol.sealed import InvalidSealedValue, SealingKeys
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.client_requests import ClientRequests
from mcp_server.sessions.tasks import TaskInteraction
from mcp_server.store.events import EventBus, QuestionAnswered
from mcp_server.store.memory import InMemoryBackend
from tests.kit.contexts import context
from tests.kit.tasks import Handlers

CAN: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}}
BINDING = ("alice", "tools/call", "digest")


class Sure(msgspec.Struct):
    sure: bool


class Really(msgspec.Struct):
    sure: bool
    really: bool = False


YES = {"action": "accept", "content": {"sure": True}}
SAID = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "said"}}
ROOTS = {"roots": [{"uri": "file:///a"}]}


def raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


class Client:
    """A modern client of one handler: each call brings the state of the one before, unless it is told another."""

    def __init__(self, handler: Callable[[Context], Awaitable[Any]], *, single_use: bool = False) -> None:
        self._handler, self._single_use = handler, single_use
        keys = SealingKeys([b"k" * 32], interaction.PURPOSE)
        self._codec = RequestStateCodec(keys, InMemoryBackend(), 60)
        self.state: Any = UNSET
        self.asked: Mapping[str, Any] = {}

    async def call(self, **answers: Any) -> Any:
        """What the handler returns; None where it asks, and `asked` has what."""
        given = raw(answers) if answers else UNSET
        peek = RoutingFields(request_state=self.state, input_responses=given)
        rounds = await self._codec.resume(peek, BINDING, single_use=self._single_use)
        try:
            return await self._handler(context(rounds=rounds, capabilities=CAN))
        except InputRequired as required:
            self.state = raw(self._codec.seal(required.carried, BINDING))
            self.asked = {key: one.request.params for key, one in required.questions.items()}
            return None


async def form(ctx: Context, changed: bool) -> Any:
    return await ctx.elicit("Delete ALL ORDERS?" if changed else "Delete order 5?", Sure)


async def schema(ctx: Context, changed: bool) -> Any:
    return await (ctx.elicit("Sure?", Really) if changed else ctx.elicit("Sure?", Sure))


async def page(ctx: Context, changed: bool) -> Any:
    return await ctx.elicit_url("Go", f"https://shop.example/{'pay' if changed else 'look'}")


async def model(ctx: Context, changed: bool) -> Any:
    return await ctx.sample([SamplingMessage("user", TextContent("b" if changed else "a"))], max_tokens=5)


async def limit(ctx: Context, changed: bool) -> Any:
    return await ctx.sample("a", max_tokens=6 if changed else 5)


async def kind(ctx: Context, changed: bool) -> Any:
    return await (ctx.elicit_url("Sure?", "https://shop.example") if changed else ctx.elicit("Sure?", Sure))


async def named(ctx: Context, changed: bool) -> Any:
    return await ctx.elicit("Delete all?" if changed else "Delete one?", Sure, key="confirm")


@pytest.mark.parametrize(
    ("ask", "answer"),
    [(form, YES), (schema, YES), (page, {"action": "accept"}), (model, SAID), (limit, SAID), (kind, YES), (named, YES)],
)
@pytest.mark.requirement("17.11")
async def test_an_answer_to_another_question_is_none(ask: Any, answer: Any) -> None:
    changed = False

    async def handler(ctx: Context) -> Any:
        return await ask(ctx, changed)

    client = Client(handler)
    assert await client.call() is None
    (key,) = before = client.asked
    changed = True
    assert await client.call(**{key: answer}) is None
    assert client.asked.keys() == before.keys()
    assert client.asked != before
    changed = False
    assert await client.call(**{key: answer}) is None  # nor is it one to the first question, put two rounds ago
    assert await client.call(**{key: answer}) is not None


async def test_an_answer_that_was_used_is_not_kept_for_another_question() -> None:
    what = "order 5"

    async def handler(ctx: Context) -> Any:
        first = await ctx.elicit(f"Delete {what}?", Sure)
        second = await ctx.elicit("Tell them?", Sure)
        return what, first.accepted, second.accepted

    client = Client(handler)
    await client.call()
    await client.call(q1=YES)
    assert list(client.asked) == ["q2"]
    what = "ALL ORDERS"
    assert await client.call(q2=YES) is None
    assert client.asked["q1"]["message"] == "Delete ALL ORDERS?"
    await client.call(q1={"action": "decline"})
    assert await client.call(q2=YES) == ("ALL ORDERS", False, True)


async def test_the_log_has_a_question_that_changes_and_none_that_follows_another() -> None:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["extra"]["key"]), level="INFO")
    number = 0

    async def changes(ctx: Context) -> Any:
        nonlocal number
        number += 1
        return await ctx.elicit(f"{number}?", Sure, key="changes")

    async def follows(ctx: Context) -> Any:
        return [await ctx.elicit(f"{one}?", Sure, key="follows") for one in "ab"]

    try:
        for handler in (changes, follows):
            client = Client(handler)
            await client.call()
            await client.call(**dict.fromkeys(client.asked, YES))
    finally:
        logger.remove(sink)
    assert lines == ["changes"]


async def test_one_key_serves_several_questions_each_with_its_own_answer() -> None:
    async def handler(ctx: Context) -> Any:
        return [(await ctx.elicit(f"Delete {item}?", Sure, key="sure")).action for item in "abc"]

    client = Client(handler)
    await client.call()
    for action in ("accept", "decline"):
        assert await client.call(sure={"action": action, "content": {"sure": True}}) is None
    assert client.asked["sure"]["message"] == "Delete c?"
    assert await client.call(sure={"action": "cancel"}) == ["accept", "decline", "cancel"]


async def test_the_same_words_asked_twice_are_two_questions() -> None:
    async def handler(ctx: Context) -> Any:
        return [(await ctx.elicit("Again?", Sure)).action for _ in range(2)]

    client = Client(handler)
    await client.call()
    assert await client.call(q1=YES) is None
    assert await client.call(q2={"action": "decline"}) == ["accept", "decline"]


async def test_of_several_questions_those_that_stayed_the_same_are_answered() -> None:
    changed = False

    async def handler(ctx: Context) -> Any:
        return await ctx.ask(
            sure=elicitation("Delete all?" if changed else "Delete one?", Sure),
            page=url_elicitation("Go", "https://shop.example"),
        )

    client = Client(handler)
    await client.call()
    changed = True
    assert await client.call(sure=YES, page={"action": "accept"}) is None
    assert client.asked.keys() == {"sure"}
    assert (await client.call(sure=YES))["page"].accepted


async def ask_by_name(ctx: Context) -> Any:
    return await ctx.roots(key="folders")


async def ask_by_place(ctx: Context) -> Any:
    return await ctx.roots()


async def test_who_was_asked_nothing_may_answer_by_name_and_not_by_place() -> None:
    assert await Client(ask_by_name).call(folders=ROOTS, other=5) == [Root("file:///a")]
    assert await Client(ask_by_name, single_use=True).call(folders=ROOTS) is None
    assert await Client(ask_by_place).call(q1=ROOTS) is None


async def test_a_state_answers_nothing_that_was_not_put_in_its_round() -> None:
    async def handler(ctx: Context) -> Any:
        await ctx.elicit("First?", Sure, key="first")
        return await ctx.elicit("Second?", Sure, key="second")

    client = Client(handler)
    await client.call()
    assert await client.call(first=YES, second=YES) is None
    assert client.asked.keys() == {"second"}


async def test_a_single_use_state_holds_its_questions() -> None:
    what = "one"

    async def handler(ctx: Context) -> Any:
        return (await ctx.elicit(f"Delete {what}?", Sure)).action

    client = Client(handler, single_use=True)
    await client.call()
    what = "all"
    assert await client.call(q1=YES) is None
    spent = client.state
    assert await client.call(q1=YES) == "accept"
    client.state = spent
    with pytest.raises(InvalidSealedValue, match="used before"):
        await client.call(q1=YES)


async def test_a_state_of_another_version_is_not_valid() -> None:
    keys = SealingKeys([b"k" * 32], interaction.PURPOSE)
    old = msgspec.json.encode({"nonce": "n", "answers": {"q1": YES}, "notes": {}})
    state = keys.seal(old, BINDING, nonce=b"n" * 12, expires_at=2**40)
    with pytest.raises(InvalidSealedValue, match="version"):
        await RequestStateCodec(keys, InMemoryBackend(), 60).resume(
            RoutingFields(request_state=raw(state)), BINDING, single_use=False
        )


def test_a_pin_is_of_what_the_user_sees() -> None:
    question = elicitation("Sure?", Sure)
    assert pin("a", question) == pin("a", elicitation("Sure?", Sure))
    others: list[tuple[str, Question[Any]]] = [
        ("b", question),
        ("a", elicitation("sure?", Sure)),
        ("a", elicitation("Sure?", Really)),
    ]
    assert len({pin(key, one) for key, one in [("a", question), *others]}) == 4


# Several tasks of one handler


async def in_a_group(ctx: Context) -> Any:
    async with asyncio.TaskGroup() as group:
        jobs = [group.create_task(ctx.elicit(f"{one}?", Sure)) for one in "ab"]
    return [job.result().action for job in jobs]


async def gathered(ctx: Context) -> Any:
    return [one.action for one in await asyncio.gather(ctx.elicit("a?", Sure), ctx.elicit("b?", Sure))]


@pytest.mark.parametrize("handler", [in_a_group, gathered])
async def test_what_tasks_ask_at_once_is_one_round(handler: Any) -> None:
    async def run(ctx: Context) -> Any:
        try:
            return await handler(ctx)
        except BaseExceptionGroup as group:  # the edge of a handler does so
            raise group.exceptions[0] from None

    client = Client(run)
    await client.call()
    assert {key: one["message"] for key, one in client.asked.items()} == {"q1": "a?", "q2": "b?"}
    assert await client.call(q1=YES, q2={"action": "decline"}) == ["accept", "decline"]


async def test_two_questions_at_once_under_one_key_are_put_one_after_the_other() -> None:
    async def handler(ctx: Context) -> Any:
        both = asyncio.gather(*(ctx.elicit(f"{one}?", Sure, key="sure") for one in "ab"))
        return [one.action for one in await both]

    client = Client(handler)
    await client.call()
    assert client.asked["sure"]["message"] == "a?"
    await client.call(sure=YES)
    assert client.asked["sure"]["message"] == "b?"
    assert await client.call(sure={"action": "decline"}) == ["accept", "decline"]


# Waiting clients


async def test_a_waiting_clients_answers_find_their_questions_in_whatever_order() -> None:
    bus = EventBus(InMemoryBackend())
    requests, sent, all_sent = ClientRequests(bus, 60), [], asyncio.Event()

    async def send(message: bytes) -> None:
        sent.append(json.loads(message))
        if len(sent) == 3:
            all_sent.set()

    jobs = [asyncio.create_task(requests.ask("s", send, "roots/list", {"n": n})) for n in range(3)]
    await all_sent.wait()
    for one in reversed(sent):
        bus.deliver(QuestionAnswered("s", one["id"], raw(one["params"]["n"]), UNSET))
    assert [bytes(await job) for job in jobs] == [b"0", b"1", b"2"]
    for one in sent:  # answers that come late answer nothing
        bus.deliver(QuestionAnswered("s", one["id"], raw("late"), UNSET))


async def test_a_tasks_question_is_not_answered_under_the_key_of_another() -> None:
    handlers, heard = Handlers(), asyncio.Event()
    tasks = handlers.of(EventBus(InMemoryBackend()), 60)

    async def work(running: TaskInteraction) -> CallToolResult:
        actions = []
        for what in ("one", "all"):
            ctx = context(rounds=running, capabilities=CAN)
            actions.append((await ctx.elicit(f"Delete {what}?", Sure)).action)
        heard.set()
        return CallToolResult([TextContent(",".join(actions))])

    task = await tasks.start(handlers.begun(work, "alice"))

    async def asked() -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                record = await tasks.find(task.task_id, "alice")
                assert record is not None
                if record.questions:
                    return {key: one.params["message"] for key, one in record.questions.items()}  # type: ignore[index]
                await asyncio.sleep(0)

    async def says(**responses: Any) -> None:
        record = await tasks.find(task.task_id, "alice")
        assert record is not None
        await tasks.answer(record, {key.replace("_", "-"): raw(one) for key, one in responses.items()})

    assert await asked() == {"q1": "Delete one?"}
    await says(q1={"action": "decline"})
    assert await asked() == {"q1-2": "Delete all?"}
    await says(q1=YES)  # says yes to what it was asked before
    assert not heard.is_set()
    await says(q1_2={"action": "cancel"})
    async with asyncio.timeout(60):
        await heard.wait()
    await tasks.stop()


# What a state is bound to


def test_what_stands_beside_the_parameters_that_say_what_is_done_is_not_read() -> None:
    plain = interaction.binding("alice", "tools/call", Raw(b'{"name":"t","arguments":{"a":1,"b":2}}'))
    for beside in (b'"x":"\xff"', b'"_x":"\xed\xa0\x80"', b'"x":' + b"[" * 5 + b"]" * 5, b'"_meta":{"\xff":1}'):
        params = Raw(b'{"arguments":{"b":2,"a":1},%s,"name":"t"}' % beside)
        assert interaction.binding("alice", "tools/call", params) == plain
    for other in (b'{"name":"t","arguments":{"a":1}}', b'{"name":"u","arguments":{"a":1,"b":2}}', b'{"uri":"t"}'):
        assert interaction.binding("alice", "tools/call", Raw(other)) != plain
    for broken in (
        b'{"name":"t","arguments":{"a":"\xff"}}',
        b'{"name":"t","arguments":' + b"[" * 9999 + b"]" * 9999 + b"}",
    ):
        with pytest.raises(InvalidSealedValue):
            interaction.binding("alice", "tools/call", Raw(broken))
