"""`mcp-server serve`: granian, one or many workers, graceful stop."""

import contextlib
import errno
import gc
import hashlib
import math
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import rich_click as click
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
from granian.http import HTTP1Settings

from mcp_server import settings
from mcp_server.app import FastPathApp
from mcp_server.auth.binding.shared_replays import PLACES_A_WORKER, SharedReplayTable
from mcp_server.cli import findings, target
from mcp_server.cli.serving import files, graceful
from mcp_server.cli.serving.folder import METRICS_PREFIX, locked, name_server, private_folder, sweep
from mcp_server.cli.serving.handover import Handover, SettingsFollower, SettingsSnapshot
from mcp_server.cli.serving.heartbeat import Heartbeat
from mcp_server.cli.serving.renewal import Renewal
from mcp_server.cli.serving.workers import Workers, WorkerTimes
from mcp_server.observe import log
from mcp_server.observe.admin import exporter
from mcp_server.observe.metrics import METRICS_FOLDER
from mcp_server.registry.server import McpServer
from mcp_server.rest.importing.configs import PreloadedApis
from mcp_server.rest.offer import report
from mcp_server.settings import Found, Settings
from mcp_server.settings.groups import engine
from mcp_server.settings.report import logged

THROUGH_OURS: Final = {
    "formatters": {},
    "handlers": {},
    "loggers": {name: {"handlers": [], "level": "INFO", "propagate": True} for name in ("_granian", "granian.access")},
}
"""Granian's records go on to the root logger, which `observe/log.py` has taken over."""
OWN_FOLDER: Final = "_MCP_SERVER_METRICS"
WITHOUT_REDIS: Final = (
    "several workers that share nothing: no legacy sessions (so no questions to legacy clients and no replay of their "
    "streams), no notifications of changes, no tasks, and single-use states are single-use on each worker; "
    "set MCP_REDIS_URL to have them"
)
FEW_FILES: Final = "the limit of open files leaves a worker fewer connections than it may need; others wait"
BESIDE_TOKEN: Final = 32 * 1024
"""Bytes of a request's head beside the largest token: the other fields, parameters that repeat in headers among them.

A head that never ends costs its sender's connection this much and the token's bound until it is closed.
"""
AUDIT_FILES: Final = r"\.jsonl(\.\d+)?$"
"""What a server writes itself, often where it runs: with `--reload` each line would end the workers."""
SILENCE_MS: Final = 30_000
"""A connection that has sent no whole head by then, a new one or one kept alive, is closed."""
CLOSING_S: Final = 9
"""What a worker may take after the drain: for last words, for tasks whose record a store does not take, for its files.
Whoever is still there then is killed."""


@click.command()
@target.server_argument
@click.option("--reload", is_flag=True, help="Start anew when a source file changes; needs granian[reload].")
@target.directory
def serve(server: str, *, reload: bool) -> None:
    """Serve SERVER (module:server) over HTTP, as the settings say; without one, the API of MCP_OPENAPI."""
    # First without managers, which are then asked once, by the process that goes on.
    _share_metrics(settings.validate(settings.read(asks=False)).settings, server, reload=reload)
    stated = settings.read()
    found = settings.validate(stated)
    _share_metrics(found.settings, server, reload=reload)
    folder = os.environ.pop(OWN_FOLDER, None)  # for this process alone: a server that a handler starts would remove it
    try:
        if found.problems:
            raise click.ClickException(target.unusable(found.problems))
        with contextlib.nullcontext() if folder is None else locked(Path(folder)):
            _run(found.settings, stated, server, reload=reload)
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _run(found: Settings, stated: Found, server: str, *, reload: bool) -> None:
    """Until it is stopped; raises `ClickException` for what can be known before there are workers."""
    log.set_up(found.observe.log_format, found.observe.log_level, threaded=False)  # workers are forked from here
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # through the exits, which remove folders
    with contextlib.ExitStack() as opened:
        handed, shared = None, opened.enter_context(_shared_folder())
        name_server(shared, found.auth.resource)
        if swept := sweep(time.time()):
            log.logger.info("folders of servers that were killed are removed", folders=swept)
        if not reload:  # a worker is forked from here: what it shall read anew must not be known yet
            loaded = target.load(server)
            target.require_something(server, found)
            handed = _documents(loaded, found, shared)
            if problems := target.single_use_alone(loaded, found):
                raise click.ClickException("\n".join(problems))
            log.logger.info("server loaded", **target.origin(server))
        if not found.coordinated:
            log.logger.warning(WITHOUT_REDIS)
        for name, other in findings.unused(found):
            log.logger.warning("a setting is of no use without another one", setting=name, needs=other)
        opened.enter_context(_admin_port(found, shared))
        if not found.http.reuse_port:
            _require_free(found.http.host, found.http.port, "MCP_PORT")
        target.require_audit(found)
        gc.collect()
        gc.freeze()
        # By the loader, not by the environment: so it reaches a worker, forked or spawned, and no child of a handler's.
        key = engine.random_key()
        handover = Handover(shared, key, SettingsSnapshot(texts=stated.texts, read_at=time.time()))
        inherited = Inherited(
            server=server, state_key=key, parent=os.getpid(), shared=shared, handed=handed, handover=handover
        )
        renewal = Renewal(stated, presumed(inherited), handover)
        opened.callback(renewal.stop)
        workers = _granian(found, server, shared, renewal, reload=reload)
        workers.serve(target_loader=partial(application, inherited), wrap_loader=False)


@contextlib.contextmanager
def _shared_folder() -> Iterator[Path]:
    """What is left for workers that begin later, and for who watches them."""
    with contextlib.ExitStack() as opened:
        try:
            shared = opened.enter_context(private_folder())
        except OSError as error:
            raise click.ClickException(f"no folder for temporary files, which TMPDIR names: {error.strerror}") from None
        yield shared


def _documents(server: McpServer, found: Settings, shared: Path) -> PreloadedApis | None:
    """The documents of all APIs, read once for all workers: one that begins later needs no document to be there."""
    if not (server.imports or found.rest.imports):
        return None
    (folder := shared / "documents").mkdir()
    reports, handed = target.handed_over(server, found, folder)
    for line in report.lines(reports):
        log.logger.debug(line)
    return handed


@contextlib.contextmanager
def _admin_port(found: Settings, shared: Path) -> Iterator[None]:
    """What answers for all workers, where there is a port for it."""
    host, port = found.observe.admin_host, found.observe.admin_port
    if port is None:
        yield
        return
    _require_free(host, port, "MCP_ADMIN_PORT")
    log.logger.info("metrics and probes are served without a token", host=host, port=port)
    with exporter.running(host, port, shared, found.observe.log_format):
        yield


def _share_metrics(found: Settings, server: str, *, reload: bool) -> None:
    """Counters of several processes meet in a folder, which their library looks for when it is imported: start over.

    In the directory that was asked for, which `-P` keeps from coming first among the places of modules.
    """
    if METRICS_FOLDER in os.environ or (found.http.workers == 1 and found.observe.admin_port is None):
        return
    folder = tempfile.mkdtemp(prefix=METRICS_PREFIX)
    os.environ[METRICS_FOLDER] = os.environ[OWN_FOLDER] = folder
    safe = [] if str(Path.cwd()) in sys.path else ["-P"]  # as it was: `python -m` has put it there
    arguments = [*safe, "-m", "mcp_server", "serve", *([server] if server else []), *(["--reload"] if reload else [])]
    os.execv(sys.executable, [sys.executable, *arguments])  # nosec B606 # noqa: S606 - ourselves


def _require_free(host: str, port: int, setting: str) -> None:
    """Refuse a port that somebody listens on; raises `ClickException`.

    Granian sets SO_REUSEPORT, with which the kernel gives two servers every other connection of one port, and neither
    says anything. SO_REUSEADDR alone fails beside a listener, but not on what a stopped server left in TIME_WAIT. It is
    asked once, before the parent listens for all its workers.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise click.ClickException(f"port {port} is in use: {setting} names another") from error
        named = f"{setting.removesuffix('PORT')}HOST, {setting}"
        raise click.ClickException(f"cannot listen on {host}, port {port} ({named}): {error.strerror}") from error


class Inherited(NamedTuple):
    """What a worker has from its parent: forked, spawned or begun anew, it is the same.

    `state_key` is what all seal with unless the settings name keys. In the folder `shared` each worker beats, and finds
    an issuer's keys that another has fetched. `handed` are the documents of APIs, `handover` has the settings.
    """

    server: str
    state_key: str
    parent: int
    shared: Path
    handed: PreloadedApis | None
    handover: Handover


def presumed(inherited: Inherited) -> dict[str, str]:
    """What stands where an operator says nothing, the same for all workers."""
    return {"MCP_STATE_KEYS": inherited.state_key, "MCP_JWKS_FOLDER": str(inherited.shared / "keys")}


def application(inherited: Inherited) -> FastPathApp:
    """What each worker runs; what keeps it from beginning is a line of the log, and no bare traceback."""
    try:
        return _application(inherited)
    except Exception as error:  # noqa: BLE001 - it ends with it
        log.logger.opt(exception=error).error("a worker cannot begin", problems=logged(str(error).splitlines()))
        log.flush()
        raise SystemExit(1) from None


def _application(inherited: Inherited) -> FastPathApp:
    """Everything that a worker holds, made of what its parent read."""
    server, parent, shared, handed = inherited.server, inherited.parent, inherited.shared, inherited.handed
    graceful.end_at_once()
    graceful.end_with_parent(parent)
    _take_whole_turns()
    found = settings.from_texts(inherited.handover.current.texts, presumed(inherited))
    files.open_enough(found.limits.max_streams)
    log.set_up(found.observe.log_format, found.observe.log_level)
    loaded = target.load(server, None if handed is None else handed.about)
    app = FastPathApp(loaded, found, handed, shared, _replays(found, inherited))
    settings.withdraw_secrets(found.sources.secrets)
    if sys.platform != "win32":  # loops have no signal handlers there
        app.plugin.on_begin.append(graceful.end_while_starting)
        times, port = found.http.drain_times(), found.http.port
        app.plugin.on_start.append(partial(graceful.drain_on_signal, app.plugin, times, port, parent))
    app.plugin.on_start.append(SettingsFollower(inherited.handover, app.plugin.live, presumed(inherited)).start)
    app.plugin.on_start.append(Heartbeat(shared, state=lambda: str(app.plugin.readiness()["status"])).start)
    gc.collect()
    gc.freeze()  # what lives as long as the process is not looked at again: collections were 90 ms pauses
    gc.set_threshold(50_000, 20, 100)
    return app


def _replays(found: Settings, inherited: Inherited) -> SharedReplayTable | None:
    """Where workers that share no store take proofs of possession: each is good once on all of them.

    By a key of this start, whatever the settings name: it is derived, for one that seals is used for nothing else.
    """
    if found.coordinated:
        return None
    key = hashlib.sha256(b"replays\n" + inherited.state_key.encode()).digest()
    return SharedReplayTable(inherited.shared / "proofs", found.http.workers * PLACES_A_WORKER, key)


def _take_whole_turns() -> None:
    """Have the kernel not stop one of this worker's threads when it wakes another (sched(7), SCHED_BATCH).

    A request passes between granian's threads and Python's five times, and each hand-over would cost two switches of
    context. It needs no privilege, and threads inherit it, so it comes before granian starts its own. On one core with
    32 connections: 28,000 calls a second against 20,700; with 8, 22,700 against 12,600 and half the latency; beside a
    neighbour that keeps the core busy, the same.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):  # a sandbox may forbid it, and musl has neither call
        if os.sched_getscheduler(0) == os.SCHED_OTHER:  # any other is an operator's choice
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _connections(found: Settings) -> int:
    """How many of them granian gives a worker."""
    share = files.of_system(found.limits.max_streams)
    if share.connections < share.wanted:
        log.logger.warning(FEW_FILES, limit=share.limit, connections=share.connections, wanted=share.wanted)
    return share.connections


def _times(found: Settings) -> WorkerTimes:
    http = found.http
    return WorkerTimes(kill_s=math.ceil(http.drain_s + http.stop_s + CLOSING_S), hung_s=http.hung_worker_s)


def _granian(found: Settings, server: str, shared: Path, renewal: Renewal, *, reload: bool) -> Workers:
    def renew(now: float, asked: bool) -> WorkerTimes | None:
        read = renewal.look(now, asked=asked)
        return _times(read.settings) if read is not None and read.replaces else None

    return Workers(
        server,
        address=found.http.host,
        port=found.http.port,
        interface=Interfaces.ASGI,
        loop=Loops.auto if sys.platform == "win32" else Loops.uvloop,
        workers=found.http.workers,
        websockets=False,
        # HTTP/1 only: over HTTP/2 700 KB of compressed heads became 590 MB here before anybody was asked for a token,
        # and a connection that said nothing after its preface was never closed. A proxy speaks HTTP/2 to its clients.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=SILENCE_MS, max_buffer_size=found.auth.max_token_bytes + BESIDE_TOKEN
        ),
        backpressure=_connections(found),
        runtime_mode=RuntimeModes.mt,
        respawn_failed_workers=True,
        log_dictconfig=THROUGH_OURS,
        beats=shared,
        times=_times(found),
        renew=renew,
        reload=reload,
        reload_paths=[Path.cwd()] if reload else None,
        reload_ignore_patterns=[AUDIT_FILES],
    )
