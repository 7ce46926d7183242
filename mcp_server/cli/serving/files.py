"""Open files of one worker: as many as its connections take, and no more connections than it has files for."""

import sys
from typing import Final

import msgspec

OTHER_FILES: Final = 256
"""The log, the store, the issuer, what a handler opens."""
SPARE_CONNECTIONS: Final = 4096
"""Of one worker, beside open streams: calls, and connections that say nothing yet, which cost 3 KiB each (measured)
until they are closed. Granian takes no more than both together, whosever they are."""
A_CALL: Final = 2
"""Files of a call: its own connection, and one to an API."""


class Files(msgspec.Struct, frozen=True):
    """How many connections a worker takes, and how many files it may open for them and for the rest."""

    connections: int
    wanted: int
    """Connections that it would take, had it the files."""
    limit: int
    """The soft limit to be set."""


def share(streams: int, hard: int | None) -> Files:
    """For so many streams under the system's hard limit, None where there is none.

    Whoever has no file left for a connection waits for one: granian tries again at once, 40,000 times a second, which
    takes a core and leaves the log, the store and the issuer without a file (EMFILE, accept(2)). It waits only at a
    number of its own, which is therefore below that.
    """
    wanted = streams + SPARE_CONNECTIONS
    files = streams + A_CALL * SPARE_CONNECTIONS + OTHER_FILES
    if hard is None or files <= hard:
        return Files(wanted, wanted, files)
    left = max(hard - OTHER_FILES, hard // 2)
    return Files(max(left // A_CALL, 1), wanted, hard)


def of_system(streams: int) -> Files:
    """The same under this process's hard limit."""
    if sys.platform == "win32":  # there is no such limit, and no such module
        return share(streams, None)
    import resource  # noqa: PLC0415 - see above

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return share(streams, None if hard == resource.RLIM_INFINITY else hard)


def open_enough(streams: int) -> None:
    """Raise the soft limit, often 1024, as far as connections need it and the hard one allows."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - see above

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = of_system(streams).limit
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
