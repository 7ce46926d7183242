"""Ids of traces that begin here: whose they are, and which are recorded."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource

from mcp_server.observe.telemetry.environment import Sampling
from mcp_server.observe.telemetry.sdk import SdkSpans
from mcp_server.observe.trace_ids import AT_ONCE, decided, new_span_id
from mcp_server.observe.tracing import Traces


def drawing(bound: int = 1 << 64) -> Traces:
    made = Traces()
    made.open(SdkSpans(Resource({}), Sampling(bound)), None)
    return made


def test_a_forked_process_draws_ids_of_its_own() -> None:
    made = drawing()
    made.own()  # there are others now, drawn at once
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writes, f"{new_span_id()}{made.own().trace_id}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reads, 64).decode()
    os.close(reads)
    os.close(writes)
    assert len(theirs) == 16 + 32
    assert theirs[:16] != new_span_id()
    assert theirs[16:] != made.own().trace_id


@pytest.mark.parametrize("bound", [0, 1, 1 << 56, (1 << 56) + 1, (1 << 64) // 100, 1 << 63, (1 << 64) - 1, 1 << 64])
def test_what_is_recorded_is_what_the_id_says(bound: int) -> None:
    """Services after this one decide by the same 64 bits."""
    made = drawing(bound)
    found = [made.own() for _ in range(40 * AT_ONCE)]
    assert {len(one.trace_id) for one in found} == {32}
    assert [one.trace_id for one in found if one.sampled != (int(one.trace_id[16:], 16) < bound)] == []


@given(st.integers(0, 1 << 64), st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=5), st.integers(-1, 1))
def test_of_ids_at_the_bound_those_below_it_are_recorded(bound: int, begins: list[bytes], step: int) -> None:
    """Of those that are drawn at random none would ever be so near to it."""
    last = min(max(bound + step, 0), (1 << 64) - 1)
    ids = [one + (last if place % 2 else bound // 2).to_bytes(8, "big") for place, one in enumerate(begins, 1)]
    found = decided(b"".join(ids), bound)
    assert found == [(one.hex(),) if int.from_bytes(one[8:], "big") < bound else one.hex() for one in ids]


def test_threads_that_draw_at_once_decide_each_trace_by_its_own_id() -> None:
    made = drawing(1 << 63)

    def drawn(_: int) -> list[tuple[str, bool]]:
        return [(one.trace_id, one.sampled) for one in (made.own() for _ in range(40 * AT_ONCE))]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = [one for some in pool.map(drawn, range(4)) for one in some]
    finally:
        sys.setswitchinterval(before)
    assert len({trace_id for trace_id, _ in found}) == len(found)
    assert [one for one in found if one[1] != (int(one[0][16:], 16) < 1 << 63)] == []
