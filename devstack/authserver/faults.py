"""Scripted misbehaviour, for tests of what a resource server does about it."""

from typing import Literal

import msgspec

Mode = Literal["none", "down", "slow", "error", "garbage", "wrong_issuer"]


class Faults(msgspec.Struct, forbid_unknown_fields=True):
    """How the published documents go wrong; `clock_ahead_s` shifts the times in new tokens."""

    mode: Mode = "none"
    slow_s: float = 30.0
    clock_ahead_s: float = 0.0
