"""`mcp-server audit verify`: whether the lines of audit files are those that were written."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import rich_click as click

from mcp_server import settings
from mcp_server.cli import target
from mcp_server.observe.audit.chain import Head, head_of
from mcp_server.observe.audit.verify import End, Verified, verify
from mcp_server.observe.log import printable
from mcp_server.settings import SettingsError

_ROTATED: Final = re.compile(r"(?P<base>.*)\.(?P<number>[0-9]{1,9})")
MAX_LINE: Final = 16 * 1024 * 1024
"""Bytes of a line that are read: whoever can write the file could else take all memory with one."""
MAX_ENDS: Final = 8
"""Of the ends that nothing names so many are shown; the last first, for they are the ones to note."""


def _head(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[Head, ...]:
    try:
        return tuple(map(head_of, given))
    except ValueError:
        raise click.BadParameter("it is CHAIN/NUMBER/MAC, as verify shows it") from None


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
@click.option("--head", "heads", multiple=True, callback=_head, help="An end that was shown before: it must be there.")
def verify_files(
    files: tuple[Path, ...], *, key_file: BinaryIO | None, partial: bool, closed: bool, heads: tuple[Head, ...]
) -> None:
    """Find the first line in FILES that was changed, removed, added or moved.

    Rotated files may be given in any order (`audit.jsonl*`). Exits with 0 where all is as it was written, with 1 where
    it is not, with 2 where that cannot be found out, as where there is no line. What was cut off behind the last lines
    it cannot see: it shows them as heads, to be given as --head the next time.
    """
    keys = _keys(key_file)
    ordered = _in_order(files)
    found = verify((_lines(one) for one in ordered), keys, partial=partial, heads=heads)
    if found.bad is not None:
        place = found.bad.place
        click.echo(f"{_shown(ordered[place.file])}:{place.line}: {found.bad.why}")
        raise SystemExit(1)
    if found.missing:
        click.echo(f"--head: {found.missing}")
        raise SystemExit(1)
    if not found.lines:
        raise click.UsageError("nothing was verified: there is no line of a chain")
    _report(found, ordered)
    if closed and found.open:
        raise SystemExit(1)


def _keys(key_file: BinaryIO | None) -> tuple[bytes, ...]:
    if key_file is not None:
        return _keys_in(key_file.read())
    try:
        keys = settings.load(presumed={"MCP_ISSUER": target.NO_ISSUER}).observe.chain_keys()
    except SettingsError as error:
        raise click.UsageError(target.unusable(error.problems)) from None
    if not keys:
        raise click.UsageError("without a key nothing can be verified: set MCP_AUDIT_CHAIN, or name a --key-file")
    return keys


def _keys_in(content: bytes) -> tuple[bytes, ...]:
    """As the file that MCP_AUDIT_CHAIN_FILE names is read: another reading would tell good lines as changed."""
    try:
        text = content.decode("utf-8-sig").strip()
        found = settings.from_texts({"MCP_ISSUER": target.NO_ISSUER, "MCP_AUDIT_CHAIN": text})
    except UnicodeDecodeError:
        raise click.UsageError("the file of --key-file is not UTF-8") from None
    except SettingsError as error:
        raise click.UsageError("\n".join(["the file of --key-file cannot be used:", *error.problems])) from None
    return found.observe.chain_keys()


def _in_order(files: Sequence[Path]) -> list[Path]:
    """The oldest of each first: the file with the highest number, and last the one without any.

    What has a name of its own is a copy of the newest one, and stands behind those that were rotated.
    """
    rotated = {base for base, number in map(_age, files) if number}

    def place(path: Path) -> tuple[bool, str, int]:
        base, number = _age(path)
        return base not in rotated, base, number

    return sorted(files, key=place)


def _age(path: Path) -> tuple[str, int]:
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
    for path in files:
        if path.is_file() and not path.stat().st_size:  # of a pipe it says nothing
            click.echo(f"{_shown(path)} is empty")
    for one in found.open:
        click.echo(
            f"{_where(one, files)}: chain {one.link.chain} is open after line {one.link.seq}: its worker runs, was "
            "killed, or lines were cut off"
        )
    shown = found.ends[-MAX_ENDS:]
    for one in reversed(shown):
        at = datetime.fromtimestamp(one.time, UTC).isoformat(timespec="seconds")
        click.echo(f"{_where(one, files)}: no later line names this one, of {at}: --head {one.link.head}")
    if more := len(found.ends) - len(shown):
        click.echo(f"nor {more} more")
    click.echo("What was cut off behind these, or chains that no line names, would not be missed: compare a copy")


def _where(one: End, files: list[Path]) -> str:
    return f"{_shown(files[one.place.file])}:{one.place.line}"


def _shown(path: Path) -> str:
    return printable(str(path))
