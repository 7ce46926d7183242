"""The sections of `make operate`, in their order."""

from collections.abc import Sequence
from typing import Final

from tests.operate import faults, foreign, kept, pressure, strain
from tests.operate.section import Plan

NEEDS_STORE: Final = frozenset({"session"})
"""Kinds of calls that need what only the store has."""
PLANS: Final[Sequence[Plan]] = (
    Plan(
        name="haproxy",
        about="each process restarted by SIGTERM in turn, and one SIGHUP, behind haproxy without retries",
        faults=faults.restarts,
    ),
    Plan(
        name="one-port",
        about="the same with nothing in front: three processes at one port (SO_REUSEPORT)",
        faults=faults.restarts,
        one_port=True,
    ),
    Plan(
        name="issuer",
        about="keys rotated, the issuer hanging for four times what keys are renewed after; a process and workers that "
        "begin meanwhile",
        faults=faults.issuer,
    ),
    Plan(
        name="redis",
        about="Redis paused, restarted with its append-only file, failed over to its replica",
        faults=faults.store,
        may_wait=NEEDS_STORE,
    ),
    Plan(
        name="sinks",
        about="the disk under one audit full, the pipe that another writes its audit to not read",
        faults=faults.sinks,
    ),
    Plan(
        name="clocks",
        about="the clock of one process set forward and back by 20 s while it serves",
        faults=strain.clocks,
    ),
    Plan(
        name="clients",
        about="slow writers and readers straight at the servers beside the load, then all listeners cut at once",
        faults=strain.clients,
        settings=strain.SHORT,
        disturbs="streams",
    ),
    Plan(
        name="kept",
        about="clients that keep connections (httpx, undici) straight at three processes at one port, each restarted by "
        "SIGTERM in turn",
        faults=kept.clients,
        one_port=True,
    ),
    Plan(
        name="foreign",
        about="what is in Redis overwritten by others: pickles, huge values, other types, other JSON; and their messages",
        faults=foreign.spoil,
        disturbs="records",
    ),
    Plan(
        name="files",
        about="a server that may open few files, and strangers with more connections than that",
        faults=pressure.files,
    ),
)
KILLS: Final = Plan(
    name="sigkill",
    about="a worker of each process killed, then a process: apart, for what runs in a killed worker ends with it",
    faults=faults.kills,
    kills=4,
    share=0.4,
)
HANGS: Final = Plan(
    name="hung",
    about="a worker stopped, another blocked by a handler: apart, for what they had taken ends with them",
    faults=pressure.hung,
    settings={"MCP_WORKERS": "2", "MCP_TASK_LEASE_S": "5"},
    kills=2,
    share=0.4,
)
ALL: Final = (*PLANS, KILLS, HANGS)
