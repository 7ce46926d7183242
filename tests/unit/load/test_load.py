"""What `make load` judges and plans by: due times, classes of errors, the formula, the page."""

import asyncio
import base64
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tests.load import hits, report
from tests.load.capacity import BUSY, Constants, Wanted, planned
from tests.load.hits import Hit, Round
from tests.load.kinds import CALL, METADATA, OTHERS, Kind, forged, targets
from tests.load.measuring import Measured, Row
from tests.load.report import Findings
from tests.load.server import watch
from tests.load.weight import Weight
from tests.operate.figures import Histogram

BEGAN = datetime(2026, 11, 27, tzinfo=UTC)
RIGHT = b'{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"total":3}}}'
KINDS = {kind.name: kind for kind in (CALL, *OTHERS)}


def hit(seq: int, at_ms: float, took_ms: float, *, code: int = 200, body: bytes = RIGHT, error: str = "") -> Hit:
    at = BEGAN + timedelta(milliseconds=at_ms)
    encoded = base64.b64encode(body).decode()
    return Hit(seq=seq, code=code, timestamp=at, latency=int(took_ms * 1e6), body=encoded, error=error)


def test_a_call_that_the_load_began_late_has_waited() -> None:
    """Ten calls a second; the server stands still from 100 ms on, and so does a load that waits for it: until 900 ms."""
    late = [hit(0, 3, 5), *(hit(seq, 903 + seq, 5) for seq in range(1, 9)), hit(9, 903, 5)]
    found = hits.judged(late, 10, CALL.check)
    assert found.latencies.longest == pytest.approx(0.806, abs=0.001)  # the second, due at 100 ms, done at 909
    assert found.latencies.percentile(0.5) == pytest.approx(0.311, rel=0.03)
    assert max(one.latency for one in late) == 5e6  # what a model that waits would have told


def test_the_beginning_is_not_that_of_a_first_call_that_was_late() -> None:
    """Its second call was on time, so the first, 30 ms before it, was begun 70 ms late."""
    found = hits.judged([hit(0, 70, 1), hit(1, 100, 1), hit(2, 200, 1)], 10, CALL.check)
    assert found.latencies.longest == pytest.approx(0.071, abs=0.001)
    assert found.achieved == pytest.approx(2 / 0.13)


def test_errors_are_told_by_class_and_have_no_latency() -> None:
    refused = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"x"}}'
    failed = b'{"jsonrpc":"2.0","id":1,"result":{"isError":true,"structuredContent":{"total":3}}}'
    other = b'{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"total":4}}}'
    seen = [
        hit(0, 0, 1),
        hit(1, 1, 1, body=refused),
        hit(2, 2, 1, body=failed),
        hit(3, 3, 1, body=other),
        hit(4, 4, 1, code=503, body=b""),
        hit(5, 5, 1, code=0, body=b"", error='Post "http://localhost:1/mcp": dial tcp 127.0.0.1:1: connection refused'),
    ]
    found = hits.judged(seen, 1000, CALL.check)
    wrong = {"200 with -32603": 1, "200 with another result": 2, "503": 1, "no answer: connection refused": 1}
    assert (found.errors, found.latencies.count, found.count) == (Counter(wrong), 1, 6)


def test_a_line_of_vegeta_is_read() -> None:
    line = (
        b'{"attack":"","seq":7,"code":200,"timestamp":"2026-11-27T08:00:00.123456789Z","latency":1500000,"bytes_out":9,'
        b'"bytes_in":2,"error":"","body":"e30=","method":"POST","url":"http://localhost:1/mcp","headers":{"A":["b"]}}\n'
    )
    (one,) = hits.decoded(line + b"\n")
    assert (one.seq, one.code, one.latency, one.content) == (7, 200, 1_500_000, b"{}")
    assert one.timestamp.timestamp() == pytest.approx(1795766400.123457)


def test_an_answer_in_a_stream_is_read_too() -> None:
    assert CALL.check(200, b"event: message\ndata: " + RIGHT + b"\n\n") == ""
    assert CALL.check(200, b": nothing\n\n") == "200 with another result"
    assert KINDS["list, modern"].check(200, b'{"result":{"tools":[]}}') == "200 with another result"
    assert KINDS["refused: forged"].check(200, RIGHT) == "200"


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_targets_are_what_vegeta_takes(kind: Kind) -> None:
    lines = list(targets(kind, "http://localhost:1", ["a.b.Cc", "d.e.Af"], [("s1", "a.b.Cc")]))
    found = [msgspec.json.decode(line) for line in lines]
    if kind.message is None:
        assert found == [{"method": "GET", "url": f"http://localhost:1{kind.path}"}]
        return
    tokens = [one["header"]["authorization"][0].removeprefix("Bearer ") for one in found]
    expected = ["a.b.Cc"] if kind.callers == "in sessions" else ["a.b.Cc", "d.e.Af"]
    assert tokens == ([forged(one) for one in expected] if kind.callers == "forged" else expected)
    assert [one["header"].get("mcp-session-id") for one in found] == (
        [["s1"]] if kind.callers == "in sessions" else [None, None]
    )
    assert msgspec.json.decode(base64.b64decode(found[0]["body"])) == kind.message
    assert forged("a.b.Cc") == "a.b.Ac"
    assert forged("a.b.Ac") == "a.b.Bc"


def constants(**more: float) -> Constants:
    given = dict.fromkeys(Constants.__struct_fields__, 0.0) | more
    return Constants(**given)


def test_the_formula_counts_each_at_its_price() -> None:
    of = constants(call_us=100, session_us=200, new_token_us=300, event_us=50, call_commands=2, session_commands=3)
    plan = planned(Wanted(calls=1000, sessions=1000, new_tokens=1000, handler_us=1000, streams=100, events=10), of)
    assert plan.cores == pytest.approx(0.1 + 0.2 + 0.3 + 3 + 0.05)
    assert plan.workers == 7  # 3.65 / 0.6 is 6.08
    assert plan.commands == 1000 * 2 + 1000 * 3 + 1000 * 2 + 10 * 8
    assert planned(Wanted(calls=0), of).workers == 1
    assert planned(Wanted(calls=BUSY * 10_000), of).workers == 1


def test_memory_is_by_workers_streams_and_what_a_worker_remembers() -> None:
    of = constants(call_us=600, worker_mib=80, token_kib=1, stream_kib=32)
    wanted = Wanted(calls=2000, streams=1024, live_tokens=1_000_000)
    assert planned(wanted, of).mib == pytest.approx(2 * (80 + 4096 / 1024) + 32)


def measured(cpu_us: float, *milliseconds: float) -> Measured:
    latencies = Histogram()
    for one in milliseconds:
        latencies.add(one / 1e3)
    found = Round(asked=100, achieved=99, latencies=latencies, errors=Counter({"503": 1}), count=len(milliseconds))
    return Measured(
        round=found, cpu_us=cpu_us, commands=1, kib=1024, files=9, lag_p99_ms=1, lag_max_ms=2, collecting_ms=0
    )


def test_the_page_has_the_middle_of_the_rounds_and_their_spread() -> None:
    rounds = [measured(30, 1, 2), measured(10, 3), measured(20, 50)]
    kinds = [Row(name=name, rounds=rounds) for name in KINDS]
    weight = Weight(
        worker_mib=80,
        tokens=10,
        token_kib=2,
        streams=10,
        stream_kib=20,
        stream_files=1,
        idle_us=1,
        event_us=2,
        heard_ms=3,
    )
    found = Findings(base=200, ladder=[Row(name="50%", rounds=rounds)], kinds=kinds, workers=[kinds[0]], weight=weight)
    text = report.page(found, 3, "made beside others")
    assert "**made beside others**" in text
    assert "| 50% | 100 | 99 | 3 | 20 (10 to 30) | 0% | 3.0 | 3.0 | 3.0 (2.0 to 50.0) |" in text
    assert report.constants(found).call_us == 20
    assert "calls * 20 + session calls * 20" in text
    assert METADATA not in text


def test_the_loop_is_watched() -> None:
    found = asyncio.run(watch(0.03))
    assert found.ticks >= 1
    assert 0 <= found.p50_ms <= found.p99_ms <= found.max_ms
