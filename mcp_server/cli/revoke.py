"""`mcp-server revoke`: have tokens be over before their end, on all workers of a server that runs."""

import asyncio
import datetime as dt
import getpass
import os
import time
import uuid
from collections.abc import Sequence
from typing import Final

import rich_click as click

from mcp_server.cli import findings, target
from mcp_server.cli.serving.folder import folders_of
from mcp_server.engine import records
from mcp_server.observe import log
from mcp_server.settings import Settings
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.events import EventBus
from mcp_server.store.folder import FolderLedger
from mcp_server.store.revocations import EVER, Kind, Revocation, RevocationLedger, Revocations, StoreLedger
from mcp_server.unreachable import in_words

NOBODY: Final = (
    "no server of {resource} runs here under this user, and there is no MCP_REDIS_URL: say it where the server runs, "
    "as its user and with its settings and TMPDIR"
)
NOT_LOOKED_UP: Final = (
    'Nobody was asked whether there are such tokens. How many each worker knew is in its log: "tokens are revoked", '
    "`ended`."
)


@click.command()
@click.option(
    "--sub",
    help="A person, by the claim sub of their tokens: all tokens issued so far. In Keycloak that is the user's ID, not "
    "the username.",
)
@click.option("--sid", help="A login, by the claim sid.")
@click.option("--client", help="A client, by the claim azp: all its tokens issued so far, whoever they are of.")
@click.option("--jti", help="One token, by the claim jti.")
@click.option("--all", "everything", is_flag=True, help="All tokens issued so far, as after a key was lost.")
@click.option("--issuer", help="Whose tokens, of several issuers; else of each.")
@click.option("--why", required=True, help="For the log and the audit.")
def revoke(
    *,
    sub: str | None,
    sid: str | None,
    client: str | None,
    jti: str | None,
    everything: bool,
    issuer: str | None,
    why: str,
) -> None:
    """Revoke tokens on all workers of the server configured by the settings.

    Tokens are named by their claims. What is recorded is told, by issuer; whether such tokens exist nobody is asked,
    for no worker has a list of them. Whoever may still log in obtains new tokens: disable them at the authorization
    server first.
    """
    log.set_up_for_command()
    found = target.configured()
    given: dict[Kind, str | None] = {"sub": sub, "sid": sid, "client": client, "jti": jti}
    named: dict[Kind, str] = {kind: name for kind, name in given.items() if name is not None}
    if not named and not everything:
        raise click.UsageError("name what to revoke: --sub, --sid, --client, --jti or --all")
    for option, text in (*named.items(), ("why", why)):
        _require_text(option, text)
    issuers = [one.issuer for one in found.auth.issuer if issuer in (None, one.issuer)]
    if not issuers:
        raise click.UsageError(f"{issuer} is none of MCP_ISSUER")
    said = f"{_operator()}: {why}"
    wanted = [one for name in issuers for one in _entries(found, name, named, said, everything=everything)]
    try:
        asyncio.run(_revoke(found, wanted))
    except StoreUnavailable as error:
        said = in_words(error) or str(error)
        raise click.ClickException(f"not all workers could be told: the store (MCP_REDIS_URL): {said}") from None
    except OSError as error:
        raise click.ClickException(f"not all workers could be told: {_said(error)}") from None
    for one in wanted:
        click.echo(_told(one))
    click.echo(NOT_LOOKED_UP)
    try:
        if not _unreachable(found):
            _audit(found, wanted)
    except OSError as error:
        raise click.ClickException(f"it is not in the audit (MCP_AUDIT_FILE): {_said(error)}") from None
    keycloak = any(one.issuer in issuers and one.persons == "keycloak" for one in found.auth.issuer)
    if sub and keycloak and not _is_id(sub):
        findings.warn(f"{sub!r} is no ID of a Keycloak user: --sub takes the claim sub of a token, not a username")


def _require_text(option: str, given: str) -> None:
    """Refuse what a variable that is not set leaves: beside another name nobody would see that nothing was revoked."""
    if not given.strip():
        raise click.UsageError(f"--{option} is empty")
    if not given.isascii() and given.encode(errors="replace").decode() != given:
        raise click.UsageError(f"--{option} is not UTF-8")


def _operator() -> str:
    """Who says so: the name of the system's user, or the number of one that has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # until Python 3.13 and since
        return f"user {os.getuid()}"


def _is_id(sub: str) -> bool:
    """Whether it may be an ID of Keycloak's and no username: a UUID, or `f:PROVIDER:ID` of a user federation."""
    if sub.startswith("f:"):
        return True
    try:
        uuid.UUID(sub)
    except ValueError:
        return False
    return True


def _said(error: OSError) -> str:
    """Of a write that fails the system names no file."""
    return ": ".join(str(one) for one in (error.strerror or type(error).__name__, error.filename) if one)


def _told(one: Revocation) -> str:
    """What was recorded, for the terminal."""
    until = _time(one.until)
    if one.kind in ("sid", "jti"):
        return f"revoked at {one.issuer}: {one.kind} {log.printable(one.name)}; kept until {until}"
    what = "all tokens" if one.kind == "issuer" else f"tokens of {one.kind} {log.printable(one.name)}"
    return f"revoked at {one.issuer}: {what} issued up to {_time(one.before)}; kept until {until}"


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _entries(found: Settings, issuer: str, named: dict[Kind, str], why: str, *, everything: bool) -> list[Revocation]:
    """A login and a token do not begin anew: there the time counts for nothing."""
    now, until = time.time(), time.time() + found.auth.revocation_s + found.auth.leeway_s
    names: dict[Kind, str] = {**named, **({"issuer": issuer} if everything else {})}
    return [
        Revocation(
            issuer=issuer,
            kind=kind,
            name=name,
            before=EVER if kind in ("sid", "jti") else now,
            until=until,
            why=why,
            operator=True,
            unaudited=_unreachable(found),
        )
        for kind, name in names.items()
    ]


def _unreachable(found: Settings) -> bool:
    """Whether the audit is the servers' own standard output: one of their workers writes the line there."""
    return found.observe.audit_file == "-"


async def _revoke(found: Settings, wanted: Sequence[Revocation]) -> None:
    """Through the store, else through the folders of the servers that run here; raises `ClickException` for nobody."""
    backend = found.shared_store()
    if backend is None:
        folders = await asyncio.to_thread(folders_of, found.auth.resource)
        if not folders:
            raise click.ClickException(NOBODY.format(resource=found.auth.resource))
        kept = [_keep(FolderLedger(folder), wanted) for folder in folders]
        if failed := [one for one in await asyncio.gather(*kept, return_exceptions=True) if one is not None]:
            raise failed[0]  # the others have been told
        return
    try:
        made = Revocations(EventBus(backend), ledgers=[StoreLedger(backend)])
        for one in wanted:
            await made.revoke(one)
    finally:
        await backend.stop()


async def _keep(ledger: RevocationLedger, wanted: Sequence[Revocation]) -> None:
    for one in wanted:
        await ledger.keep(one)


def _audit(found: Settings, wanted: Sequence[Revocation]) -> None:
    """A line for each."""
    audit = found.observe.audit()
    audit.open()
    for one in wanted:
        audit.write(records.revoked(one))
    audit.close()
