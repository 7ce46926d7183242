"""Writes of jobs, for the suites of stores."""

from mcp_server.store.jobs.queue import VERSION, Move, Then


def move(
    version: str,
    replaces: str,
    then: Then,
    *,
    job_id: str = "t",
    job: bytes = b"",
    ttl_s: float | None = None,
    charge: int = 0,
) -> Move:
    """A write of a record whose version is a letter."""
    return Move(
        id=job_id,
        record=version.encode() * VERSION + b"{}",
        replaces=replaces * VERSION,
        then=then,
        owner="o",
        limit=10_000,
        charge=charge,
        ttl_s=ttl_s,
        job=job,
    )
