"""The authenticator: credentials in, a principal or a refusal out; what it remembers and for how long; its two starts."""

import asyncio
import time
from typing import Any

import pytest
from prometheus_client import REGISTRY

from mcp_server.auth.authenticator import Authenticator, CacheLookup
from mcp_server.auth.refusals import AccessDenied, DenialReason
from mcp_server.auth.tokens.bearer import Credentials, NoCredentials, read
from mcp_server.auth.tokens.claims import granted
from mcp_server.identity import Principal
from mcp_server.observe import metrics
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.memory import InMemoryBackend
from tests.kit import proofs
from tests.kit.issuers import INTROSPECT, METADATA, Paper
from tests.kit.proofs import KEY

BOUND: dict[str, Any] = {"cnf": {"jkt": KEY.thumbprint()}, "typ": "DPoP"}
NO_PROOF = proofs.of_request(None)
Outcome = Principal | NoCredentials | AccessDenied


async def judged(asked: Authenticator, token: str, proof: str | None = None) -> Outcome:
    sent = Credentials(token.encode(), bound=proof is not None)
    return await asked.authenticate(sent, proofs.of_request(proof))


def reason(outcome: Outcome) -> DenialReason:
    assert isinstance(outcome, AccessDenied)
    return outcome.reason


def counted(outcome: str) -> float:
    metrics.hand_on()
    return REGISTRY.get_sample_value("mcp_token_cache_total", {"outcome": outcome}) or 0.0


async def test_a_token_is_judged_once_and_then_found() -> None:
    paper = Paper()
    async with paper.fetcher() as fetcher:
        asked = Authenticator(paper.config(), fetcher=fetcher)
        token = paper.token()
        header = f"Bearer {token}".encode()
        missed = asked.cached(header)
        assert isinstance(missed, CacheLookup)
        assert missed.found is None
        first = await asked.authenticate(Credentials(token.encode()), NO_PROOF, "", missed)
        assert isinstance(first, Principal)
        assert (first.subject, granted(first), first.username) == ("user", frozenset({"mcp:read"}), None)
        assert asked.cached(header) is first
        for nothing in (None, b"Basic abc", b"DPoP " + token.encode()):
            assert asked.cached(nothing) is None


async def test_a_token_whose_session_has_ended_is_refused_though_its_signature_is_good() -> None:
    paper = Paper()
    async with paper.fetcher() as fetcher:
        asked = Authenticator(paper.config(), fetcher=fetcher)
        token, other = paper.token(), paper.token(jti="other")
        who = await judged(asked, token)
        assert isinstance(who, Principal)
        asked.end(who)
        assert isinstance(asked.cached(f"Bearer {token}".encode()), CacheLookup)
        for _ in range(2):
            assert reason(await judged(asked, token)) is DenialReason.SESSION_ENDED
        assert isinstance(await judged(asked, other), Principal)


async def test_no_credentials_and_malformed_ones_are_handed_on() -> None:
    asked = Authenticator(Paper().config())
    assert isinstance(await asked.authenticate(NoCredentials(), NO_PROOF), NoCredentials)
    malformed = read(b"Bearer")
    assert await asked.authenticate(malformed, NO_PROOF) is malformed


async def test_what_was_looked_up_counts_for_the_very_token_only() -> None:
    """Blanks around a token are no part of it: a look-up by the header's bytes is of another text then."""
    paper = Paper()
    async with paper.fetcher() as fetcher:
        asked = Authenticator(paper.config(), fetcher=fetcher)
        token = paper.token()
        header = f"Bearer  {token} ".encode()
        seen, credentials = asked.cached(header), read(header)
        assert isinstance(seen, CacheLookup)
        assert isinstance(await asked.authenticate(credentials, NO_PROOF, "", seen), Principal)
        assert isinstance(asked.cached(f"Bearer {token}".encode()), Principal)
        other = CacheLookup(token.encode(), b"d" * 32, None)
        refused = await asked.authenticate(Credentials(b"nonsense"), NO_PROOF, "", other)
        assert isinstance(refused, AccessDenied)
        assert refused.token_digest != other.digest.hex()[:16]


async def test_hits_and_misses_are_counted_those_of_bound_tokens_too() -> None:
    """House fault 47: bound tokens were in neither series."""
    paper = Paper()
    async with paper.fetcher() as fetcher:
        asked = Authenticator(paper.config(), fetcher=fetcher)
        bound, plain = paper.token(**BOUND), paper.token()
        hits, misses = counted("hit"), counted("miss")
        for _ in range(3):
            assert isinstance(await judged(asked, bound, proofs.made(bound)), Principal)
            if not isinstance(asked.cached(f"Bearer {plain}".encode()), Principal):
                await judged(asked, plain)
        assert (counted("hit") - hits, counted("miss") - misses) == (4, 2)


async def test_the_leeway_is_the_same_for_a_new_token_and_for_one_seen_before() -> None:
    """House fault 29: in the leeway each call was verified anew, and a stream that it opened ended at once."""
    paper, now = Paper(), [1_000_000.0]
    async with paper.fetcher() as fetcher:
        asked = Authenticator(paper.config(leeway_s=30), fetcher=fetcher, clock=lambda: now[0])
        token = paper.token(exp=1_000_100, iat=1_000_000)
        caller = await judged(asked, token)
        assert isinstance(caller, Principal)
        assert (caller.expires_at, caller.claims["exp"]) == (1_000_130, 1_000_100)
        header = f"Bearer {token}".encode()
        now[0] = 1_000_129
        assert asked.cached(header) is caller
        assert isinstance(await judged(asked, paper.token(exp=1_000_100, iat=1_000_000, jti="2")), Principal)
        now[0] = 1_000_130
        assert not isinstance(asked.cached(header), Principal)
        assert reason(await judged(asked, token)) is DenialReason.EXPIRED


async def test_a_token_is_forgotten_with_its_key() -> None:
    paper = Paper()
    async with paper.fetcher() as fetcher:
        asked = Authenticator(paper.config(), fetcher=fetcher)
        token = paper.token()
        assert isinstance(await judged(asked, token), Principal)
        paper.documents["/certs"] = {"keys": [KEY.as_dict(private=False) | {"kid": "k"}]}
        (issuer,) = asked.issuers.values()
        assert await issuer.refresh()
        assert reason(await judged(asked, token)) is DenialReason.BAD_SIGNATURE


class Shared(InMemoryBackend):
    """A store as several workers have it, in one process."""

    distributed = True


class Away(Shared):
    """One that cannot be reached."""

    async def claim(self, key: str, ttl_s: float, token: str = "", owner: str = "") -> bool:
        raise StoreUnavailable("refused")


async def test_a_proof_is_good_once_for_all_who_share_a_store() -> None:
    paper, store = Paper(), Shared()
    async with paper.fetcher() as fetcher:
        one, other = (Authenticator(paper.config(), store, fetcher=fetcher) for _ in range(2))
        alone = Authenticator(paper.config(), fetcher=fetcher)
        token = paper.token(**BOUND)
        proof = proofs.made(token)
        assert isinstance(await judged(one, token, proof), Principal)
        assert reason(await judged(one, token, proof)) is DenialReason.BAD_PROOF
        assert reason(await judged(other, token, proof)) is DenialReason.BAD_PROOF
        assert isinstance(await judged(other, token, proofs.made(token)), Principal)
        assert isinstance(await judged(alone, token, proof), Principal)


async def test_without_the_store_a_bound_token_is_refused_and_others_are_served() -> None:
    paper = Paper()
    async with paper.fetcher() as fetcher:
        asked = Authenticator(paper.config(), Away(), fetcher=fetcher)
        token = paper.token(**BOUND)
        refused = await judged(asked, token, proofs.made(token))
        assert reason(refused) is DenialReason.PROOFS_AWAY
        assert isinstance(refused, AccessDenied)
        assert (refused.retry_after_s, refused.reason.status) == (5, 503)
        assert isinstance(await judged(asked, paper.token()), Principal)


async def test_in_memory_a_seen_token_and_a_new_proof_are_judged_without_a_pause() -> None:
    paper = Paper()
    async with paper.fetcher() as fetcher:
        asked = Authenticator(paper.config(), fetcher=fetcher)
        token = paper.token(**BOUND)
        assert isinstance(await judged(asked, token, proofs.made(token)), Principal)
        running = judged(asked, token, proofs.made(token))
        with pytest.raises(StopIteration) as over:  # a coroutine that never gives the loop its turn
            running.send(None)
        assert isinstance(over.value.value, Principal)


async def test_it_starts_again_with_connections_and_refreshing_of_its_own() -> None:
    """House fault 12: the client of the first start was closed for ever, and the refreshing died of it."""
    paper = Paper()
    asked = Authenticator(paper.config(opaque=True), fetcher=paper.fetcher())
    for number in range(2):
        await asked.start()
        await paper.asked_again(2)
        assert isinstance(await judged(asked, paper.token(jti=str(number))), Principal)
        assert isinstance(await judged(asked, "opaque"), AccessDenied)
        await asked.stop()
    (issuer,) = asked.issuers.values()
    assert issuer.state == "ok"


async def test_before_it_is_started_nobody_is_asked_and_nobody_let_in() -> None:
    paper = Paper()
    asked = Authenticator(paper.config(), fetcher=paper.fetcher())
    refused = await judged(asked, paper.token())
    assert reason(refused) is DenialReason.ISSUER_AWAY
    assert isinstance(refused, AccessDenied)
    assert "lifespan" in refused.detail
    assert paper.asked == []


def active(paper: Paper, **changed: Any) -> dict[str, Any]:
    return {**paper.claims(), "active": True, **changed}


async def test_one_opaque_token_is_one_question_however_many_bring_it() -> None:
    """House fault 5: of 60 calls with one right token 44 got 503."""
    paper = Paper()
    paper.documents[INTROSPECT] = active(paper)
    async with paper.fetcher() as fetcher:
        asked = Authenticator(paper.config(opaque=True), fetcher=fetcher)
        outcomes = await asyncio.gather(*(judged(asked, "one-and-the-same") for _ in range(60)))
        assert {type(one) for one in outcomes} == {Principal}
        assert paper.asked.count(INTROSPECT) == 1
        assert isinstance(asked.cached(b"Bearer one-and-the-same"), Principal)
        paper.documents[INTROSPECT] = {"active": False}
        assert {reason(await judged(asked, "unknown")) for _ in range(3)} == {DenialReason.INACTIVE}
        assert paper.asked.count(INTROSPECT) == 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"x", DenialReason.ISSUER_AWAY),
        (OSError("descriptor"), DenialReason.ISSUER_AWAY),
        (RuntimeError("of a library"), DenialReason.ISSUER_AWAY),
        ({"active": True}, DenialReason.WRONG_AUDIENCE),
        ({"active": True, "scope": "\ud800".encode("utf-8", "surrogatepass").hex()}, DenialReason.WRONG_AUDIENCE),
    ],
)
async def test_a_bad_answer_about_an_opaque_token_is_no_error_of_the_call(answer: Any, why: DenialReason) -> None:
    paper = Paper()
    paper.documents[INTROSPECT] = answer
    async with paper.fetcher() as fetcher:
        asked = Authenticator(paper.config(opaque=True), fetcher=fetcher)
        assert reason(await judged(asked, "opaque")) is why
        paper.documents[INTROSPECT] = active(paper)
        assert isinstance(await judged(asked, "another"), Principal)


@pytest.mark.parametrize("endpoint", ["https://[x", None])
async def test_where_nobody_can_be_asked_an_opaque_token_is_none(endpoint: Any) -> None:
    paper = Paper()
    document = paper.documents[METADATA]
    assert isinstance(document, dict)
    paper.documents[METADATA] = {**document, "introspection_endpoint": endpoint}
    async with paper.fetcher() as fetcher:
        assert reason(await judged(Authenticator(paper.config(opaque=True), fetcher=fetcher), "opaque")) is (
            DenialReason.NOT_A_TOKEN
        )
        assert (
            reason(await judged(Authenticator(paper.config(), fetcher=fetcher), "opaque")) is DenialReason.NOT_A_TOKEN
        )


async def test_a_question_ends_with_the_application_and_ends_no_caller() -> None:
    paper = Paper()
    asked = Authenticator(paper.config(opaque=True), fetcher=paper.fetcher())
    await asked.start()
    await paper.asked_again(2)
    paper.hold = asyncio.Event()
    callers = [asyncio.create_task(judged(asked, "opaque")) for _ in range(2)]
    async with asyncio.timeout(60):
        await paper.waiting.wait()
    callers[0].cancel()  # who hangs up ends nobody else's question
    await asyncio.wait(callers[:1])
    assert not callers[1].done()
    await asked.stop()
    assert reason(await callers[1]) is DenialReason.ISSUER_AWAY


async def test_a_refusal_that_is_remembered_ends_and_the_oldest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_server.auth.tokens.opaque.MAX_REFUSED", 2)
    paper, now = Paper(), [time.monotonic()]
    async with paper.fetcher() as fetcher:
        asked = Authenticator(paper.config(opaque=True), fetcher=fetcher, monotonic=lambda: now[0])
        for token in ("a", "b", "c", "c"):
            assert reason(await judged(asked, token)) is DenialReason.INACTIVE
        assert paper.asked.count(INTROSPECT) == 3
        assert reason(await judged(asked, "a")) is DenialReason.INACTIVE
        assert paper.asked.count(INTROSPECT) == 4
        now[0] += 31
        assert reason(await judged(asked, "a")) is DenialReason.INACTIVE
        assert paper.asked.count(INTROSPECT) == 5
