"""The capacity formula: how many workers and how much memory a load asks for, by constants that were measured."""

import math
from typing import Final

import msgspec

from mcp_server.auth.tokens.cache import MAX_ENTRIES

BUSY: Final = 0.6
"""The share of a worker's processor that is planned for: above it latencies grow faster than the rate."""


class Constants(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, for one worker."""

    call_us: float
    session_us: float
    new_token_us: float
    call_commands: float
    session_commands: float
    worker_mib: float
    stream_kib: float
    token_kib: float
    event_us: float


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be carried at the peak: rates are a second's; `handler_us` is the author's own code."""

    calls: float
    sessions: float = 0.0
    new_tokens: float = 0.0
    handler_us: float = 0.0
    streams: int = 0
    events: float = 0.0
    live_tokens: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes."""

    cores: float
    """Seconds of the processor a second."""
    workers: int
    mib: float
    """Of all workers together."""
    commands: float
    """To Redis, a second."""


def planned(wanted: Wanted, constants: Constants) -> Plan:
    """Calls of one kind, calls in sessions, and calls with new tokens are counted apart, and each at its price."""
    handled = wanted.calls + wanted.sessions + wanted.new_tokens
    price = wanted.calls * constants.call_us + wanted.sessions * constants.session_us
    price += wanted.new_tokens * constants.new_token_us + handled * wanted.handler_us
    price += wanted.events * wanted.streams * constants.event_us
    cores = price / 1e6
    workers = max(math.ceil(cores / BUSY), 1)
    kept = workers * (constants.worker_mib + min(wanted.live_tokens, MAX_ENTRIES) * constants.token_kib / 1024)
    return Plan(
        cores=cores,
        workers=workers,
        mib=kept + wanted.streams * constants.stream_kib / 1024,
        commands=(wanted.calls + wanted.new_tokens) * constants.call_commands
        + wanted.sessions * constants.session_commands
        + wanted.events * (1 + workers),
    )
