"""The cache of verified tokens: bounded, and ending with the token, its key and its issuer's word."""

import random
from typing import Any

import msgspec

from mcp_server.auth.tokens.cache import SWEEP_S, TokenCache
from mcp_server.store.revocations import EVER, Revocation
from tests.kit.principals import verified


def test_the_cache_is_bounded_and_forgets_with_time_and_with_keys() -> None:
    cache = TokenCache(max_entries=2)
    for name in (b"a", b"b", b"c"):
        cache.put(name, verified(), 0, 0)
    assert len(cache) == 2
    assert cache.get(b"a", 0, 0) is None
    assert cache.get(b"b", 999, 0) is not None
    assert cache.get(b"b", 1000, 0) is None
    cache.put(b"d", verified(issuer="https://other"), 0, 0)
    cache.keep_only("https://issuer", frozenset({("k", "RS256", "print")}))
    assert cache.get(b"c", 0, 0) is not None
    cache.keep_only("https://issuer", frozenset({("k", "RS256", "another")}))
    assert cache.get(b"c", 0, 0) is None
    cache.put(b"c", verified(use=None), 0, 0)
    cache.keep_only("https://issuer", frozenset())
    assert cache.get(b"c", 0, 0) is not None
    assert cache.get(b"d", 0, 0) is not None


def test_what_vouches_for_a_token_ends_by_the_monotonic_clock_and_the_token_by_the_wall_clock() -> None:
    cache = TokenCache()
    cache.put(b"a", verified(until=1000, trusted_until=50), 0, 0)
    assert cache.get(b"a", 999, 49) is not None
    assert cache.get(b"a", 0, 50) is None
    assert len(cache) == 0


def test_the_cache_is_bounded_in_bytes_whichever_way_entries_go() -> None:
    cache = TokenCache(max_bytes=100)
    for name in (b"a", b"b", b"c", b"c"):
        cache.put(name, verified(document=b"x" * 40), 0, 0)
    assert [cache.get(name, 0, 0) is not None for name in (b"a", b"b", b"c")] == [False, True, True]
    cache.get(b"b", 1000, 0)
    cache.put(b"d", verified(document=b"x" * 60), 0, 0)
    assert len(cache) == 2
    cache.keep_only("https://issuer", frozenset())
    cache.put(b"e", verified(document=b"x" * 100), 0, 0)
    assert len(cache) == 1
    cache.put(b"f", verified(document=b"x" * 101), 0, 0)
    assert len(cache) == 0


def revoked(kind: Any, name: str, issuer: str = "https://issuer") -> Revocation:
    return Revocation(issuer=issuer, kind=kind, name=name, before=EVER, until=EVER)


def test_those_that_were_revoked_are_dropped() -> None:
    cache = TokenCache()
    cache.put(b"a", verified(), 0, 0)
    cache.put(b"b", verified("https://other"), 0, 0)
    assert cache.drop(revoked("issuer", "https://other", "https://other")) == 1
    assert (cache.get(b"a", 0, 0) is not None, cache.get(b"b", 0, 0)) == (True, None)
    assert cache.drop(revoked("sub", "user", "https://other")) == 0
    assert cache.drop(revoked("sub", "user")) == 1
    assert cache.get(b"a", 0, 0) is None


def test_a_person_is_found_whichever_way_their_tokens_came_and_went() -> None:
    """10 callers, 4 tokens each: replaced, pushed out, over, or of a key that is gone."""
    chance = random.Random(17)
    for _ in range(200):
        cache, kept = TokenCache(max_entries=8), dict[bytes, str]()
        for _ in range(40):
            who, name = chance.randrange(10), b"%d" % chance.randrange(40)
            match chance.randrange(8):
                case 0:
                    over = cache.drop(revoked("sub", f"user {who}"))
                    assert over == list(kept.values()).count(f"user {who}")
                    kept = {digest: subject for digest, subject in kept.items() if subject != f"user {who}"}
                case 1:
                    cache.keep_only("https://issuer", frozenset())
                    kept.clear()
                case 2:
                    cache.get(name, 1000, 0)
                    kept.pop(name, None)
                case _:
                    one = verified()
                    subject = msgspec.structs.replace(one.principal, subject=f"user {who}")
                    cache.put(name, msgspec.structs.replace(one, principal=subject), 0, 0)
                    kept.pop(name, None)
                    kept = dict([*kept.items(), (name, f"user {who}")][-8:])
            assert len(cache) == len(kept)
        cache.keep_only("https://issuer", frozenset())
        assert len(cache._by_marks) == 0


def test_tokens_that_are_over_take_no_memory_though_nobody_asks_for_them_again() -> None:
    """A caller comes back with a new token, never with the one that has ended."""
    cache = TokenCache()
    for name, one in (
        (b"ended", verified(until=30)),
        (b"without keys", verified(trusted_until=SWEEP_S)),
        (b"alive", verified()),
    ):
        cache.put(name, one, 0, 1)
    cache.put(b"new", verified(), 31, SWEEP_S - 1)
    assert len(cache) == 4  # not at each token: looking at thousands takes time
    cache.put(b"newer", verified(), 31, SWEEP_S)
    assert len(cache) == 3
    assert [cache.get(name, 31, SWEEP_S) is not None for name in (b"alive", b"new", b"newer")] == [True] * 3
    cache.put(b"last", verified(), 1000, SWEEP_S + 1)
    assert len(cache) == 4
