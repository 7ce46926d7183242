"""Files that are replaced in one step, and are for their user alone: nobody reads half of one."""

import os
import secrets
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Write a file, or put it in the place of one; raises `OSError`, and nothing is changed then, nor left behind."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with open(beside, "xb", opener=_private) as file:
            file.write(data)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
