"""Exchanged tokens over real sockets: a token endpoint that a test scripts, and what goes to it."""

import asyncio
import contextlib
import gc
import hashlib
import random
from collections.abc import Callable
from typing import Any, TextIO

import msgspec
import pytest

from mcp_server.identity import Credential, Principal
from mcp_server.rest.client import Limits
from mcp_server.rest.exchange import Exchange, ExchangeConfig, Identity, NoAccess
from mcp_server.rest.wire.grants import Wanted
from mcp_server.store.revocations import EVER, Revocation
from tests.kit.exchanges import CLIENT, ISSUER, READ, WRITE, Clock, caller, exchanging, form, issues, no_access
from tests.kit.logs import written_since
from tests.kit.principals import principal
from tests.kit.shuffled import ShuffledLoop
from tests.kit.upstreams import Exchange as Request
from tests.kit.upstreams import answers, api, says


async def test_a_callers_token_becomes_one_for_the_api() -> None:
    async with exchanging() as (made, issuer):
        token = await made.token(caller(), READ)
    assert token.startswith("for.alice-token.orders-read.")
    (sent,) = issuer.seen
    assert sent.head.startswith(b"POST /token HTTP/1.1\r\n")
    assert b"authorization: Basic aHR0cCUzQSUyRiUyRmxvY2FsaG9zdCUzQTgwMDAlMkZtY3A6" in sent.head
    asked = form(sent)
    assert (asked["subject_token"], asked["audience"], asked["scope"]) == ("alice-token", "orders-api", "orders:read")


async def test_it_is_asked_for_once_for_each_caller_audience_and_scopes() -> None:
    async with exchanging() as (made, issuer):
        first = [await made.token(caller(one), wanted) for one in ("alice", "bob") for wanted in (READ, WRITE)]
        again = [await made.token(caller(one), wanted) for one in ("alice", "bob") for wanted in (READ, WRITE)]
    assert first == again
    assert len(set(first)) == len(issuer.seen) == 4


async def test_many_at_once_ask_once_and_who_hangs_up_ends_nobody_elses() -> None:
    held = asyncio.Event()

    async def later(request: Request) -> None:
        await held.wait()
        await issues(request)

    async with exchanging(later) as (made, issuer):
        calls = [asyncio.create_task(made.token(caller(), READ)) for _ in range(20)]
        await asyncio.wait_for(issuer.arrived.wait(), 60)
        calls[0].cancel()
        await asyncio.wait([calls[0]])
        held.set()
        assert len(set(await asyncio.gather(*calls[1:]))) == 1
        assert calls[0].cancelled()
        assert len(issuer.seen) == 1


@pytest.mark.parametrize(("exp", "until"), [(10_000.0, 1270.0), (1100.0, 1070.0)])
async def test_it_is_renewed_before_the_earlier_end(exp: float, until: float) -> None:
    clock = Clock()
    async with exchanging(clock=clock) as (made, issuer):
        first = await made.token(caller(exp=exp), READ)
        clock.now = until - 1
        assert await made.token(caller(exp=exp), READ) == first
        clock.now = until
        assert await made.token(caller(exp=exp), READ) != first
    assert len(issuer.seen) == 2


async def test_a_callers_token_without_an_end_lasts_as_long_as_it_is_believed() -> None:
    opaque = Credential(b"opaque", msgspec.structs.replace(principal(), expires_at=1100.0))
    clock = Clock()
    async with exchanging(clock=clock) as (made, issuer):
        await made.token(opaque, READ)
        clock.now = 1070.0
        await made.token(opaque, READ)
    assert len(issuer.seen) == 2


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
async def test_a_clock_that_is_set_neither_keeps_a_token_nor_drops_it(step: float) -> None:
    wall, ours = Clock(), Clock()
    async with exchanging(clock=wall, monotonic=ours) as (made, issuer):
        first = await made.token(caller(exp=1e9), READ)
        wall.now += step
        assert await made.token(caller(exp=1e9), READ) == first
        ours.now += 271
        assert await made.token(caller(exp=1e9), READ) != first
    assert len(issuer.seen) == 2


async def test_who_has_no_time_left_waits_for_no_token_and_the_next_one_has_it() -> None:
    held = asyncio.Event()

    async def later(request: Request) -> None:
        await held.wait()
        await issues(request)

    async with exchanging(later) as (made, issuer):
        with pytest.raises(NoAccess, match="at the moment"):
            await made.headers(Identity(wanted=READ), caller(), within_s=0.05)
        patient = asyncio.create_task(made.headers(Identity(wanted=READ), caller(), within_s=10))
        held.set()
        assert (await patient)[0][1].startswith("Bearer for.alice-token.")
    assert len(issuer.seen) == 1


async def test_one_exchange_has_one_deadline_whatever_stalls(log_file: TextIO) -> None:
    before = log_file.tell()

    async def endless(_: str) -> str | None:
        await asyncio.Event().wait()
        return None

    async with Exchange(CLIENT, endless, means=ExchangeConfig(total_s=0.05)) as made:
        await no_access(made, "unavailable")
    assert "too slow" in written_since(log_file, before)
    async with api(says()) as issuer:

        async def endpoint(_: str) -> str | None:
            return f"http://127.0.0.1:{issuer.port}/token"

        async with Exchange(CLIENT, endpoint, means=ExchangeConfig(total_s=0.5, limits=Limits(attempts=1))) as made:
            await no_access(made, "unavailable")
            await asyncio.wait_for(issuer.closed.wait(), 60)


@pytest.mark.parametrize(
    "stated", [b"1" + b"0" * 400, b"-1" + b"0" * 400, b"-5", b"0", b"1e308", b"null", b'"x"', b"[]"]
)
async def test_a_life_that_is_none_ends_no_call(stated: bytes) -> None:
    body = b'{"access_token":"t","token_type":"Bearer","expires_in":' + stated + b"}"
    async with exchanging(answers(body=body)) as (made, _):
        assert [await made.token(caller(), READ) for _ in range(2)] == ["t", "t"]


async def test_a_token_that_the_api_did_not_accept_is_dropped_once() -> None:
    async with exchanging() as (made, issuer):
        first = await made.token(caller(), READ)
        other = await made.token(caller("bob"), READ)
        second, third = await asyncio.gather(*(made.token(caller(), READ, rejected=first) for _ in range(2)))
        assert first != second == third
        assert await made.token(caller(), READ, rejected=first) == second  # a late one takes what came meanwhile
        assert await made.token(caller("bob"), READ) == other
    assert len(issuer.seen) == 3


async def test_the_cache_is_bounded() -> None:
    async with exchanging(most=2) as (made, issuer):
        for one in ("a", "b", "c", "c", "a"):
            await made.token(caller(one), READ)
    assert len(issuer.seen) == 4


REFUSED = answers(403, b'{"error":"access_denied","error_description":"Client is not within the token audience"}')
ENDED = answers(400, b'{"error":"invalid_request","error_description":"Invalid token"}')


@pytest.mark.parametrize(
    ("act", "kind", "cure"),
    [
        (REFUSED, "refused", "add an audience mapper"),
        (ENDED, "session_ended", "session has ended"),
        (answers(500), "unavailable", "answered 500"),
        (answers(302, b"", Location="http://127.0.0.1:1/"), "unavailable", "answered 302"),
        (answers(200, b"<html>"), "unavailable", "no usable access_token"),
        (answers(200, b'"' + b"x" * 100_000), "unavailable", "no usable access_token"),
        (says(then="resets"), "unavailable", "closed the connection"),
    ],
)
async def test_a_refusal_is_for_the_operator_and_a_caller_is_told_nothing(
    act: Any, kind: str, cure: str, log_file: TextIO
) -> None:
    before = log_file.tell()
    async with exchanging(act, issues) as (made, issuer):
        await no_access(made, kind)
        written = written_since(log_file, before)
        await made.token(caller(), READ)  # and is not kept
    assert len(issuer.seen) == 2
    assert cure in written
    for secret in ("alice-token", "server-s3cret", "Basic "):
        assert secret not in written


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:16]


async def test_what_was_traded_for_a_revoked_token_is_forgotten() -> None:
    async with exchanging(issues, issues, issues) as (made, issuer):
        for user in ("alice-token", "bob"):
            await made.token(caller(user), READ)
        await made.own_token(ISSUER, READ)
        revoked = Revocation(
            issuer=caller().principal.issuer, kind="token", name=digest("bob"), before=EVER, until=EVER
        )
        assert (made.revoked(revoked), made.revoked(revoked)) == (1, 0)
        await made.token(caller("alice-token"), READ)
        assert len(issuer.seen) == 3


async def test_the_end_of_a_session_is_told_where_its_token_was_traded_before() -> None:
    told: list[Principal] = []
    async with exchanging(issues, ENDED, on_ended=told.append) as (made, _):
        first = await made.token(caller(), READ)
        await no_access(made, "session_ended", caller("bob"))
        assert told == []
        with pytest.raises(NoAccess, match="sign in again") as raised:
            await made.token(caller(), READ, rejected=first)
        assert raised.value.ended
        with pytest.raises(NoAccess):
            await made.own_token(ISSUER, READ)
    assert [(one.token_digest, one.expires_at) for one in told] == [(digest("alice-token"), 2030.0)]


@pytest.mark.parametrize(
    ("exp", "act", "ended"), [(1000.0, ENDED, True), (1001.0, ENDED, False), (1000.0, REFUSED, False)]
)
async def test_a_token_that_lives_by_the_leeway_alone_has_ended(
    exp: float, act: Callable[..., Any], ended: bool
) -> None:
    told: list[Principal] = []
    async with exchanging(act, on_ended=told.append) as (made, _):
        with pytest.raises(NoAccess) as raised:
            await made.token(caller(exp=exp), READ)
    assert (raised.value.ended, bool(told)) == (ended, ended)


async def test_whose_token_was_traded_is_remembered_to_a_bound_and_refusals_of_other_kinds_end_nothing() -> None:
    told: list[Principal] = []
    acts = (issues, issues, REFUSED, ENDED)
    async with exchanging(*acts, most=1, on_ended=told.append) as (made, _):
        for user, wanted in (("a", READ), ("b", READ), ("b", WRITE), ("a", WRITE)):
            with contextlib.suppress(NoAccess):
                await made.token(caller(user), wanted)
        assert told == []
        with pytest.raises(NoAccess):
            await made.token(caller("b"), WRITE)
    assert [one.token_digest for one in told] == [digest("b")]


async def test_who_calls_again_is_remembered_however_many_come_and_go() -> None:
    """Eviction from what is kept costs an exchange, of the request's own token, and no caller their 401."""
    told: list[Principal] = []
    acts = (issues, issues, issues, issues, ENDED)
    async with exchanging(*acts, most=2, on_ended=told.append) as (made, issuer):
        for user, wanted in (("a", READ), ("b", READ), ("a", WRITE), ("c", READ)):
            assert f".{user}." in f".{await made.token(caller(user), wanted)}"
        assert len(issuer.seen) == 4
        with pytest.raises(NoAccess, match="sign in again"):
            await made.token(caller("a"), READ)  # of a, the first token is no longer kept
    assert [one.token_digest for one in told] == [digest("a")]


async def test_an_issuer_that_returns_the_callers_token_is_refused() -> None:
    body = msgspec.json.encode({"access_token": "alice-token", "token_type": "Bearer"})
    async with exchanging(answers(body=body)) as (made, _):
        await no_access(made, "refused")


async def test_scopes_that_were_left_out_are_the_operators_to_know(log_file: TextIO) -> None:
    body = msgspec.json.encode({"access_token": "t", "token_type": "Bearer", "expires_in": 300, "scope": "profile"})
    before = log_file.tell()
    async with exchanging(answers(body=body)) as (made, issuer):
        assert [await made.token(caller(), READ) for _ in range(3)] == ["t"] * 3
    written = written_since(log_file, before)
    assert written.count("left scopes out") == 1
    assert "orders:read" in written
    assert len(issuer.seen) == 1


async def test_an_unknown_issuer_and_a_missing_caller_are_told_apart() -> None:
    async with exchanging() as (made, issuer):
        stranger = Credential(b"x", principal("https://other"))
        await no_access(made, "unavailable", stranger)
        with pytest.raises(NoAccess) as raised:
            await made.token(None, READ)
        assert raised.value.kind == "no_caller"
    assert issuer.seen == []


async def test_who_gets_no_token_is_not_kept() -> None:
    """All of the call is in the traceback of what it is told, its arguments and its token among it."""
    async with exchanging(answers(400, b'{"error": "invalid_request"}')) as (made, _):
        gc.collect()
        gc.disable()
        try:
            before = _credentials()
            with contextlib.suppress(NoAccess):
                await made.token(caller(), READ)
            await asyncio.sleep(0)  # the loop itself has something to call
            assert _credentials() == before
        finally:
            gc.enable()


def _credentials() -> int:
    return sum(type(one) is Credential for one in gc.get_objects())


async def test_closing_ends_what_is_under_way_and_it_opens_again() -> None:
    async with api(says(), issues) as issuer:

        async def endpoint(_: str) -> str | None:
            return f"http://127.0.0.1:{issuer.port}/token"

        made = Exchange(CLIENT, endpoint, clock=Clock(), means=ExchangeConfig(limits=Limits(attempts=1)))
        async with made:
            call = asyncio.create_task(made.token(caller(), READ))
            await asyncio.wait_for(issuer.arrived.wait(), 60)
        with pytest.raises(NoAccess, match="moment"):
            await call
        await asyncio.wait_for(issuer.closed.wait(), 60)
        async with made:
            begun = asyncio.create_task(made.token(caller(), READ))
        with pytest.raises(NoAccess):
            await begun
        async with made:
            assert await made.token(caller(), READ)


# As whom.


async def test_each_mode_has_its_headers() -> None:
    async with exchanging(secrets={"ORDERS_KEY": "k3y"}) as (made, issuer):
        (exchanged,) = await made.headers(Identity(wanted=READ), caller())
        (own,) = await made.headers(Identity(mode="client_credentials", wanted=READ, issuer=ISSUER), caller())
        secret = await made.headers(Identity(mode="secret", secret="ORDERS_KEY", header="x-api-key"), caller())
        nothing = await made.headers(Identity(mode="none"), caller())
        assert (secret, nothing) == ((("x-api-key", "k3y"),), ())
        assert exchanged[1].startswith("Bearer for.alice-token.")
        assert own[1].startswith("Bearer for.server.")
        again = await made.headers(Identity(wanted=READ), caller(), rejected=exchanged[1].removeprefix("Bearer "))
        assert again != (exchanged,)
        with pytest.raises(NoAccess, match="operator has been told"):
            await made.headers(Identity(mode="secret", secret="UNKNOWN"), caller())
    assert [form(one)["grant_type"].rpartition(":")[2] for one in issuer.seen] == [
        "token-exchange",
        "client_credentials",
        "token-exchange",
    ]
    assert all("alice-token" not in str(form(one)) for one in issuer.seen[1:2])


async def test_the_servers_own_token_is_never_a_callers() -> None:
    async with exchanging() as (made, _):
        own = await made.own_token(ISSUER, READ)
        users = [await made.token(caller(one), READ) for one in ("alice", "bob")]
    assert len({own, *users}) == 3


def test_no_interleaving_gives_one_caller_anothers_token() -> None:
    """10,000 calls of eight callers, some cancelled, some rejected, time going on: each meets their own.

    Which of them goes on at an await is shuffled; all of the server stands in `tests/properties/test_interleavings.py`.
    """
    with asyncio.Runner(loop_factory=lambda: ShuffledLoop(15)) as runner:
        runner.run(_interleaved())


async def _interleaved() -> None:
    clock, chance = Clock(), random.Random(15)
    users = [f"user{number}" for number in range(8)]

    async def call(made: Exchange, user: str, wanted: Wanted, rejected: str = "") -> str:
        token = await made.token(caller(user, exp=1e9), wanted, rejected)
        _, whose, scope, _ = token.split(".")
        assert (whose, scope) == (user, next(iter(wanted.scopes)).replace(":", "-"))
        return token

    async with exchanging(clock=clock, most=12) as (made, issuer):
        last = ""
        for _ in range(200):
            calls = [
                asyncio.create_task(
                    call(
                        made, chance.choice(users), chance.choice((READ, WRITE)), last if chance.random() < 0.05 else ""
                    )
                )
                for _ in range(50)
            ]
            for one in chance.sample(calls, 3):
                one.cancel()
            done = await asyncio.gather(*calls, return_exceptions=True)
            failed = [
                one for one in done if isinstance(one, BaseException) and not isinstance(one, asyncio.CancelledError)
            ]
            assert failed == []
            last = next(one for one in done if isinstance(one, str))
            clock.now += chance.choice((0, 1, 100))
    assert 16 <= len(issuer.seen) < 10_000
