"""`mcp-server audit verify`: whether the lines of audit files are those that were written."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import rich_click as click

from mcp_server import settings
from mcp_server.observe.audit.verify import Open, Verified, verify
from mcp_server.observe.log import printable
from mcp_server.settings import SettingsError

_ROTATED: Final = re.compile(r"(?P<base>.*)\.(?P<number>[0-9]{1,9})")
MAX_LINE: Final = 16 * 1024 * 1024
"""Bytes of a line that are read: whoever can write the file could else take all memory with one."""


@click.group()
def audit() -> None:
    """Look at audit files."""


@audit.command(name="verify")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key-file", type=click.File("rb"), help="Has the key, where MCP_AUDIT_CHAIN is not set here.")
@click.option(
    "--partial", is_flag=True, help="Older files were rotated away, or older lines are from before the chain."
)
@click.option("--closed", is_flag=True, help="Each chain must have its last line: no worker runs, and none was killed.")
def verify_files(files: tuple[Path, ...], *, key_file: BinaryIO | None, partial: bool, closed: bool) -> None:
    """Find the first line in FILES that was changed, removed, added or moved.

    Rotated files may be given in any order (`audit.jsonl*`). Exits with 0 where all is as it was written, with 1 where
    it is not, with 2 where that cannot be found out.
    """
    keys = _keys(key_file)
    ordered = sorted(files, key=_age)
    found = verify((_lines(one) for one in ordered), keys, partial=partial)
    if found.bad is not None:
        place = found.bad.place
        click.echo(f"{_shown(ordered[place.file])}:{place.line}: {found.bad.why}")
        raise SystemExit(1)
    _report(found, ordered)
    if closed and found.open:
        raise SystemExit(1)


def _keys(key_file: BinaryIO | None) -> tuple[bytes, ...]:
    if key_file is not None:
        given = key_file.read(1 << 16).split()
        if not given:
            raise click.UsageError("there is no key in the file of --key-file")
        return tuple(given)
    try:
        keys = settings.load(presumed={"MCP_ISSUER": "http://localhost"}).observe.chain_keys()
    except SettingsError as error:
        raise click.UsageError("\n".join(["the settings cannot be used:", *error.problems])) from None
    if not keys:
        raise click.UsageError("without a key nothing can be verified: set MCP_AUDIT_CHAIN, or name a --key-file")
    return keys


def _age(path: Path) -> tuple[str, int]:
    """The oldest of each first: the file with the highest number, and last the one without any."""
    found = _ROTATED.fullmatch(path.name)
    base, number = (path.name, 0) if found is None else (found["base"], int(found["number"]))
    return str(path.with_name(base)), -number


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE):
            yield line.rstrip(b"\n")


def _report(found: Verified, files: list[Path]) -> None:
    click.echo(f"{found.lines} lines are as they were written")
    if found.before:
        click.echo(f"{found.before} lines before them are in no chain")
    for name in found.begun_before:
        click.echo(f"chain {name} began in a file that is not here")
    for one in found.open:
        click.echo(_open(one, files))


def _open(one: Open, files: list[Path]) -> str:
    where = f"{_shown(files[one.place.file])}:{one.place.line}"
    return (
        f"{where}: chain {one.chain} is open after line {one.seq}: its worker runs, was killed, or lines were cut off"
    )


def _shown(path: Path) -> str:
    return printable(str(path))
