"""Limits that several workers share over a real Redis: what they let through together, what a store that is away costs."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from msgspec import Raw

from mcp_server import McpServer, settings
from mcp_server.engine.call import Call
from mcp_server.engine.limiting import CallLimits, SharedLimitLedger, StatedLimits
from mcp_server.engine.outcome import Cancelled, Completed, Limited, Outcome
from mcp_server.engine.pipeline import Pipeline
from mcp_server.limits import limiter as limiting
from mcp_server.limits.accounts import LEASE_S
from mcp_server.limits.allowances import Allowances, Ask, Grant, Refusal, Wanted
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.limits.ledger import Batch, Ledger, Settled
from mcp_server.limits.limiter import Limiter
from mcp_server.limits.rule import read, read_all
from mcp_server.observe import metrics
from mcp_server.protocol.jsonrpc import Notification
from mcp_server.store.redis import RedisBackend
from tests.kit import calls
from tests.kit.backends import Clock, until
from tests.kit.calls import Channel, call, serving
from tests.kit.ledgers import Accounts, MemoryLedger, TurnedLedger
from tests.kit.stack import free_port

server = McpServer("limits")
gate = asyncio.Event()
held: asyncio.Queue[None] = asyncio.Queue()


@server.tool()
async def quick() -> str:
    """Answer."""
    return "quick"


@server.tool(limits=["2 at once", "1000/day per client"])
async def hold() -> str:
    """Wait for the gate."""
    held.put_nowait(None)
    await gate.wait()
    return "held"


@server.tool(limits=["cost 5"])
async def dear() -> str:
    """Answer, at a price."""
    return "dear"


Workers = Callable[[list[str]], Awaitable[Pipeline]]


@pytest.fixture
async def workers(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Workers]:
    """Makes workers of one store that is new, held to the same limits by a clock that stands still."""
    monkeypatch.setattr(limiting, "PATIENCE_S", 60)  # a busy machine's store is slow, and not away
    clock, resource, opened = Clock(), secrets.token_hex(8), []
    clock.now = 1_800_000_000.0

    async def join(everywhere: list[str]) -> Pipeline:
        store = RedisBackend(redis_url, resource)
        allowances = Allowances(shared=True, clock=clock, wall=clock)
        stated = CallLimits(
            StatedLimits(everywhere=read_all(everywhere)), Limiter(TurnedLedger(store, clock), allowances)
        )
        context = serving(server, calls.limits(rate=None, stated=stated))
        pipeline, _ = await context.__aenter__()
        opened.append((context, pipeline, store))
        return pipeline

    yield join
    for context, pipeline, store in opened:
        await pipeline.stop()
        await context.__aexit__(None, None, None)
        await store._redis.aclose()


def tool(name: str, who: str = "https://issuer user") -> Call:
    return call("tools/call", {"name": name}, channel=Channel(who))


def let_through(outcomes: list[Outcome]) -> int:
    return sum(not isinstance(one, Limited) for one in outcomes)


async def test_a_quota_of_all_calls_is_shared_out_by_what_they_cost(workers: Workers) -> None:
    """Two workers in turn, each told of what the other has used."""
    one, other = [await workers(["12/day per principal"]) for _ in range(2)]
    found = []
    order = ((one, "dear"), (other, "dear"), (other, "dear"), (other, "quick"), (one, "quick"), (one, "dear"))
    for pipeline, name in order:
        found.append(await pipeline.serve(tool(name)))
        await pipeline.stop()  # it is settled, and so it knows of the other's
    assert [type(outcome) for outcome in found] == [Completed, Completed, Limited, Completed, Completed, Limited]
    refused = found[2]
    assert isinstance(refused, Limited)
    assert refused.reason == "quota_used"
    assert refused.text == (
        f"the quota is used up (12/day per principal, of which this call takes 5); try again in {refused.retry_after_s} s"
    )
    assert 0 < refused.retry_after_s <= 86_400


async def test_what_costs_more_than_a_credit_is_not_let_through_once_by_each_worker(workers: Workers) -> None:
    all_of_them = [await workers(["5/day per principal"]) for _ in range(4)]
    assert let_through(await asyncio.gather(*[one.serve(tool("dear")) for one in all_of_them])) == 1


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("number", [1, 4])
async def test_several_workers_let_through_what_one_does_and_a_credit_each(
    workers: Workers, number: int, together: bool
) -> None:
    """120 calls of one principal at 4 a second (operate.md, gap 7: one let 37 of them through, four 118)."""
    all_of_them = [await workers(["4/s burst 21 per principal"]) for _ in range(number)]
    asked = [all_of_them[one % number].serve(tool("quick")) for one in range(120)]
    outcomes = list(await asyncio.gather(*asked)) if together else [await one for one in asked]
    assert 21 <= let_through(outcomes) <= 21 + (number if number > 1 else 0)
    assert {one.retry_after_s for one in outcomes if isinstance(one, Limited)} <= {1, 2}
    other = await all_of_them[0].serve(tool("quick", "https://issuer other"))
    assert not isinstance(other, Limited)


async def test_what_runs_at_once_is_counted_on_all_workers_and_comes_back(workers: Workers) -> None:
    gate.clear()
    one, other = await workers([]), await workers([])
    first = [asyncio.create_task(one.serve(tool("hold"))), asyncio.create_task(other.serve(tool("hold")))]

    async def both_run() -> bool:
        return held.qsize() == 2

    await until(both_run)
    refused = await one.serve(tool("hold"))
    assert refused == Limited("too_many_at_once", 1, "tool", "2 at once")
    gate.set()
    assert let_through(list(await asyncio.gather(*first))) == 2

    async def free() -> bool:
        return not isinstance(await one.serve(tool("hold")), Limited)

    await until(free)


async def test_a_slot_that_is_kept_for_the_next_call_is_not_in_its_way(workers: Workers) -> None:
    """It asks for its quota, and with it for the slot that its own worker still holds."""
    one = await workers(["1 at once", "9/day"])
    outcomes = [await one.serve(tool("quick")) for _ in range(10)]
    assert [one.limit if isinstance(one, Limited) else "" for one in outcomes] == [""] * 9 + ["quota_used"]


async def test_nothing_of_a_caller_is_readable_in_the_store_and_all_of_it_ends(
    workers: Workers, redis_url: str
) -> None:
    pipeline = await workers(["4/s per principal", "100/day per client", "100/month", "9 at once per principal"])
    ledger = pipeline._limits.stated._limiter._ledger
    assert isinstance(ledger, TurnedLedger)
    store = ledger._backend
    before = set(await store._redis.keys("*"))
    for who in ("https://issuer user", "\n192.0.2.1"):
        await pipeline.serve(tool("quick", who))
    await pipeline.stop()
    made = set(await store._redis.keys("*")) - before - {f"{store._namespace}:limiters:clock".encode()}
    names = sorted(str(one, "ascii").removeprefix(f"{store._namespace}:") for one in made if isinstance(one, bytes))
    assert len(names) == 4, names  # the caller's rate, its client's day, the month of all, the workers
    assert not any("user" in one or "client" in one or "192" in one for one in names)
    assert all([await store._redis.pttl(one) > 0 for one in made])


class Hanging:
    """A ledger that says nothing."""

    def __init__(self) -> None:
        self.asked = 0

    async def settle(self, batch: Batch) -> Settled | None:
        self.asked += 1
        await asyncio.Event().wait()
        return None


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_a_store_that_is_away_refuses_nobody_within_a_share(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiting, "PATIENCE_S", 0.01)
    monkeypatch.setattr(limiting, "LAST_S", 0.01)
    counted: list[None] = []
    monkeypatch.setattr(metrics, "limit_not_shared", lambda: counted.append(None))
    clock = Clock()
    store = RedisBackend(f"redis://127.0.0.1:{free_port()}/0", "r")
    ledger: Ledger = SharedLimitLedger(store) if how == "refuses" else Hanging()
    allowances = Allowances(shared=True, workers=2, clock=clock, wall=clock)
    limiter = Limiter(ledger, allowances)
    stated = CallLimits(StatedLimits(everywhere=(read("10/s burst 10 per principal"),)), limiter)
    async with serving(server, calls.limits(rate=None, stated=stated)) as (pipeline, told):
        outcomes = [await pipeline.serve(tool("quick")) for _ in range(20)]
        assert 5 <= let_through(outcomes) <= 6, "its half, and the call that began before it was known"
        assert counted
        clock.now += 10
        assert not isinstance(await pipeline.serve(tool("quick")), Limited)
        assert {line.reason for line, _, _ in told.calls} == {"", "too_fast"}
        await pipeline.stop()
        if limiter._settling is not None:
            limiter._settling.cancel()
    await store._redis.aclose()


@pytest.mark.parametrize("workers", [1, 4])
async def test_workers_that_never_reached_the_store_share_a_limit_by_what_settings_say(workers: int) -> None:
    """Else each would take itself for the only one, and a store that is slow at the start multiplied each limit."""
    found = settings.load(
        {
            "MCP_ISSUER": "https://issuer.example",
            "MCP_RESOURCE": "https://mcp.example/mcp",
            "MCP_LIMITS": '{"*": ["12/h per principal", "12/day per principal"]}',
            "MCP_WORKERS": str(workers),
        }
    )

    async def through_one() -> int:
        store = RedisBackend(f"redis://127.0.0.1:{free_port()}/0", "r")
        limits = found.limits.pipeline(60, SharedLimitLedger(store), found.http.workers)
        async with serving(server, limits) as (pipeline, _):
            outcomes = [await pipeline.serve(tool("quick")) for _ in range(15)]
            await pipeline.stop()
        await store._redis.aclose()
        return let_through(outcomes)

    together = sum([await through_one() for _ in range(workers)])
    assert 12 <= together <= 12 + workers, "one each may begin before it is known that the store is away"


class Slow:
    """A ledger that counts between two steps of the loop."""

    def __init__(self, accounts: Accounts) -> None:
        self._ledger = MemoryLedger(accounts, "w")

    async def settle(self, batch: Batch) -> Settled | None:
        await asyncio.sleep(0)
        settled = await self._ledger.settle(batch)
        await asyncio.sleep(0)
        return settled


STRANGER = "\n192.0.2.1"


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("shared", ["1000/s", "1000/day", "1000 at once"])
@pytest.mark.parametrize("own", ["5/m per principal", "5/day per principal", "5 at once per principal"])
async def test_what_all_share_takes_no_limit_of_its_own_from_who_has_no_token(
    own: str, shared: str, together: bool
) -> None:
    """That one is this worker's alone: the store, which is asked about the other, knows nothing of it."""
    clock = Clock()
    clock.now = 1_800_000_000.0
    accounts = Accounts(clock)
    limiter = Limiter(Slow(accounts), Allowances(shared=True, clock=clock, wall=clock))
    wanted = [Wanted(read(text), "server", text, who) for text, who in ((own, STRANGER), (shared, ""))]

    async def begin() -> Grant | Refusal:
        begun = limiter.begin(wanted)
        return await limiter.wait(begun) if isinstance(begun, Ask) else begun

    begun = await asyncio.gather(*[begin() for _ in range(30)]) if together else [await begin() for _ in range(30)]
    assert {one.limit.text for one in begun if isinstance(one, Refusal)} == {own}
    granted = [one for one in begun if isinstance(one, Grant)]
    assert len(granted) == 5
    for one in granted:
        one.release()
    await limiter.stop()
    assert not accounts.counts or list(accounts.counts.values()) == [5]
    assert not any(count for held in accounts.slots.values() for count, _ in held.values())


async def test_who_hangs_up_at_any_step_gives_back_once_what_a_call_took_that_never_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The caller's own slot, one of all workers, and a call of its quota."""
    monkeypatch.setattr(limiting, "PATIENCE_S", 60)
    cut = [await ran_when_cut(steps) for steps in range(12)]
    assert cut == sorted(cut)
    assert cut.count(False) > 4, "before, while and just after the store was asked"
    assert cut[-1]


async def ran_when_cut(steps: int) -> bool:
    """Whether a call ran that was cancelled after so many steps of the loop; each that ran is counted, no other."""
    clock, own = Clock(), ConcurrencyLimiter(1)
    clock.now = 1_800_000_000.0
    accounts = Accounts(clock)
    allowances = Allowances(shared=True, clock=clock, wall=clock)
    limiter = Limiter(Slow(accounts), allowances)
    stated = CallLimits(StatedLimits(everywhere=read_all(["3/day", "1 at once"])), limiter)
    async with serving(server, calls.limits(rate=None, stated=stated, calls=own)) as (pipeline, _):
        call = asyncio.create_task(pipeline.serve(tool("quick")))
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        (found,) = await asyncio.gather(call, return_exceptions=True)
        ran = not isinstance(found, BaseException)
        assert not own.total
        outcomes = [await pipeline.serve(tool("quick")) for _ in range(5)]
        assert let_through(outcomes) == 3 - ran
        assert {one.limit for one in outcomes if isinstance(one, Limited)} == {"quota_used"}
        await pipeline.stop()
    assert list(accounts.counts.values()) == [3]
    assert not any(count for held in accounts.slots.values() for count, _ in held.values())
    return ran


async def test_a_client_may_cancel_what_still_asks_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiting, "PATIENCE_S", 60)
    clock, own, hanging = Clock(), ConcurrencyLimiter(1), Hanging()
    limiter = Limiter(hanging, Allowances(shared=True, clock=clock, wall=clock))
    stated = CallLimits(StatedLimits(everywhere=read_all(["3/day", "1 at once"])), limiter)
    async with serving(server, calls.limits(rate=None, stated=stated, calls=own)) as (pipeline, told):
        asked = call("tools/call", {"name": "quick"}, channel=Channel("https://issuer user", conversation="c"))
        waiting = asyncio.create_task(pipeline.serve(asked))

        async def asking() -> bool:
            return bool(hanging.asked)

        await until(asking)
        params = Raw(b'{"requestId":1}')
        await pipeline.runtime.notified(Notification("notifications/cancelled", params), "c")
        assert await waiting == Cancelled("cancelled", ran=False)
        assert [(one.decision, one.reason, one.seconds) for one, _, _ in told.calls] == [("deny", "cancelled", None)]
        assert not own.total
        await pipeline.stop()
        if limiter._settling is not None:
            limiter._settling.cancel()


async def test_a_slot_that_is_freed_does_not_wait_for_the_next_renewal(workers: Workers) -> None:
    """Seconds away: who waited as he was told would be refused again and again."""
    pipeline = await workers(["1 at once"])
    limiter = pipeline._limits.stated._limiter
    gate.clear()
    holding = asyncio.create_task(pipeline.serve(tool("hold")))
    await held.get()

    async def settled() -> bool:
        return limiter._settling is None and limiter._timer is not None

    await until(settled)
    gate.set()
    await holding
    assert (
        limiter._settling is not None
        or limiter._timer is None
        or (limiter._timer.when() - asyncio.get_running_loop().time() <= LEASE_S)
    )


async def test_who_hangs_up_while_the_store_is_asked_gives_back_what_it_was_granted(workers: Workers) -> None:
    gate.set()
    pipeline = await workers(["1 at once"])
    waiting = asyncio.create_task(pipeline.serve(tool("quick")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    async def free() -> bool:
        return not isinstance(await pipeline.serve(tool("quick")), Limited)

    await until(free)
