"""TLS settings of clients, shared by all that believe the same certificate authorities."""

import functools
import os
import ssl


def trusting(ca_file: str) -> ssl.SSLContext:
    """The settings that believe the system's authorities, and those of a file beside them.

    Each client would else hold the system's anew, half a megabyte. A file that has changed is read again: by the
    clients that are opened then.
    """
    system = ssl.get_default_verify_paths()
    return _context(ca_file, tuple(map(_changed, (ca_file, system.cafile or "", system.capath or ""))))


@functools.lru_cache(maxsize=8)
def _context(ca_file: str, _: tuple[int, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns if path else 0  # noqa: PTH116 - of three texts, at each opening
    except OSError:  # what it means is said where it is read
        return 0
