"""`mcp-server stdio`: the server on stdin and stdout, for desktop clients."""

import asyncio
import contextlib
import faulthandler
import os
import signal
import sys
from io import FileIO
from typing import Final, NoReturn

import rich_click as click

from mcp_server import settings
from mcp_server.app import apis_behind
from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.binding.dpop import Proof
from mcp_server.auth.issuer.fetch import Fetcher
from mcp_server.auth.tokens.bearer import Credentials
from mcp_server.cli import target
from mcp_server.engine.pipeline import Pipeline
from mcp_server.engine.runtime import Runtime
from mcp_server.engine.supervisor import CallSupervisors
from mcp_server.forking import end_children_by_signals
from mcp_server.identity import Credential, Principal
from mcp_server.observe import log
from mcp_server.observe.recorder import CallRecorder
from mcp_server.observe.telemetry import environment
from mcp_server.observe.telemetry.environment import Asked
from mcp_server.registry.server import McpServer
from mcp_server.rest.importing.configs import DocumentInfo
from mcp_server.settings import Settings
from mcp_server.stdio import transport
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.revocations import Revocations

INTERRUPTED: Final = 128 + signal.SIGINT
"""The exit status that shells give to who was ended by Ctrl-C."""
TERMINATED: Final = 128 + signal.SIGTERM
"""And to who was ended by SIGTERM."""
LAST_S: Final = 10.0
"""From SIGTERM on; what is orderly takes eight, where a handler and a task do not end and a collector hangs."""


@click.command()
@target.server_argument
@target.directory
def stdio(server: str) -> None:
    """Serve SERVER (module:server) on stdin and stdout; with MCP_ACCESS_TOKEN its scopes are enforced."""
    protocol = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a handler prints must not meet the protocol
    found = target.configured({"MCP_ISSUER": target.NO_ISSUER})
    if found.auth.access_token is not None and found.auth.issuer[0].issuer == target.NO_ISSUER:
        raise click.ClickException("MCP_ACCESS_TOKEN needs MCP_ISSUER, whose keys it is judged by")
    log.set_up(found.observe.log_format, found.observe.log_level)
    loaded = target.load(server)
    target.require_something(server, found)
    asked = environment.read(os.environ)
    settings.withdraw_secrets(found.sources.secrets)
    log.logger.info("server loaded", **target.origin(server))
    with os.fdopen(protocol, "wb", buffering=0) as output:  # what lay in a buffer would wait for a reader at the end
        try:
            asyncio.run(_serve(loaded, found, output, asked, named=bool(server)))
        except KeyboardInterrupt:
            _leave(INTERRUPTED)


def _leave(status: int = 0) -> NoReturn:
    """End at once, for the client has (MCP stdio §Shutdown), or who sits at the terminal.

    Python would wait for threads, a handler's among them, and abort over the lock of stdin, which its reader holds.
    """
    log.flush()
    os._exit(status)


def _told_to_stop() -> asyncio.Event:
    """What SIGTERM sets, which clients send to who has not ended by itself, and some at once (MCP stdio §Shutdown).

    It ends what runs as the end of the input does: it is in the audit, and in what is counted. A second one ends the
    process where it stands, and so does `LAST_S`: a handler may hold the loop, which then hears of nothing.
    """
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    nowhere = os.open(os.devnull, os.O_WRONLY)

    def stop(*_: object) -> None:
        # The first process of a container is not ended by a signal that is left to the system.
        signal.signal(signal.SIGTERM, _ended if os.getpid() == 1 else signal.SIG_DFL)
        loop.call_soon_threadsafe(told.set)
        # Once armed it waits for no lock of Python's, which `re` and others hold as long as they work. It dumps to
        # nobody: standard error may have no reader.
        faulthandler.dump_traceback_later(LAST_S, exit=True, file=nowhere)

    signal.signal(signal.SIGTERM, stop)
    end_children_by_signals()
    return told


def _ended(*_: object) -> None:
    os._exit(TERMINATED)


async def _serve(server: McpServer, found: Settings, output: FileIO, asked: Asked, *, named: bool) -> None:
    target.require_audit(found)
    audit = found.observe.audit()
    limits = found.limits.pipeline(found.engine.call_timeout_s)
    async with contextlib.AsyncExitStack() as opened:
        opened.callback(audit.close)
        revocations = await followed_revocations(found, opened)
        traces = found.observe.traces()
        telemetry = found.telemetry(server.info.name, traces, asked)
        opened.push_async_callback(telemetry.stop)
        telemetry.start()
        authenticator = await _authenticator(server, found, revocations, opened)
        about = await _open_apis(server, found, authenticator, opened)
        if about is not None and not named:
            target.describe(server, about)
        credential = await _credential(found, authenticator)
        principal = transport.desktop_user(transport.desktop_scopes(server, found.scopes.default_scopes))
        runtime = Runtime(server, found.engine_config(), InMemoryBackend(), revocations=revocations)
        pipeline = Pipeline(runtime, limits, CallRecorder(audit, traces), CallSupervisors(), traces)
        who = principal if credential is None else credential.principal
        await transport.run(pipeline, who, output=output, credential=credential, stopped=_told_to_stop())
    _leave()


async def followed_revocations(found: Settings, opened: contextlib.AsyncExitStack) -> Revocations:
    """The revocation list, kept up to date by the workers that share the store where a token and a store are named.

    Nothing else of a client on a pipe is in that store.
    """
    shared = None if found.auth.access_token is None else found.shared_store()
    if shared is None:
        return found.auth.revocations(InMemoryBackend(), None)
    revocations = found.auth.revocations(shared, None)
    opened.push_async_callback(shared.stop)
    await shared.start(revocations.bus.receive)
    return revocations


async def _authenticator(
    server: McpServer, found: Settings, revocations: Revocations, opened: contextlib.AsyncExitStack
) -> Authenticator | None:
    """Who judges the token, where there is one."""
    if found.auth.access_token is None:
        return None
    trust = found.auth.config(found.scopes.rules(server.implied_scopes()))
    fetcher = Fetcher(route=found.network.route())
    authenticator = Authenticator(trust, InMemoryBackend(), fetcher=fetcher, revocations=revocations)
    opened.push_async_callback(authenticator.stop)
    await authenticator.start()
    return authenticator


async def _credential(found: Settings, authenticator: Authenticator | None) -> Credential | None:
    """Whose token it is, judged once, at start."""
    token = found.auth.access_token
    if token is None or authenticator is None:
        return None
    given = token.get_secret_value().encode()
    outcome = await authenticator.authenticate(Credentials(given), Proof(None, "POST", found.auth.resource))
    if not isinstance(outcome, Principal):
        raise click.ClickException("MCP_ACCESS_TOKEN is not accepted; mcp-server explain-token says why")
    return Credential(given, outcome)


async def _open_apis(
    server: McpServer, found: Settings, authenticator: Authenticator | None, opened: contextlib.AsyncExitStack
) -> DocumentInfo | None:
    """Read the APIs behind the server, for which the token may be traded; what the only one says of itself."""
    with target.explained():
        live = apis_behind(server, found, authenticator, sends=authenticator is not None)
        if live is None:
            return None
        opened.push_async_callback(live.stop)
        await live.start()
        return live.about
