"""`mcp-server serve`: granian, one or many workers, graceful stop."""

import gc
import logging
import os
import tempfile
from pathlib import Path
from typing import Final

import rich_click as click
from granian.constants import Interfaces, Loops, RuntimeModes
from granian.server.mp import MPServer
from litestar import Litestar

from mcp_server import settings
from mcp_server.observe import log
from mcp_server.settings import Settings, SettingsError

RUNTIME_THREADS: Final = 4
"""Of granian, for each worker: a body is handed to Python by another thread, and with one they queue behind each other.

Measured with 32 connections on one core: 15,400 calls a second with one thread, 17,900 with two, 19,300 with four.
"""


@click.command()
@click.argument("server")
@click.option("--reload", is_flag=True, help="Start anew when a source file changes; needs granian[reload].")
def serve(server: str, *, reload: bool) -> None:
    """Serve SERVER (module:server) over HTTP, as the settings say."""
    try:
        found = settings.load()
    except SettingsError as error:
        raise click.ClickException("\n".join(["the settings cannot be used:", *error.problems])) from error
    os.environ["_MCP_SERVER_TARGET"] = server
    if found.workers > 1 or found.metrics_port is not None:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="mcp-metrics-"))
    from mcp_server.cli import target

    target.load(server)
    log.set_up(found.log_format, found.log_level)
    if found.workers > 1:
        log.logger.warning("several workers: legacy sessions are off, each request names its revision itself")
    if found.metrics_port is not None:
        _serve_metrics(found)
    _granian(found, reload=reload).serve()


def application() -> Litestar:
    """What each worker runs."""
    from mcp_server.app import create_app
    from mcp_server.cli import target

    found = settings.load()
    log.set_up(found.log_format, found.log_level)
    app = create_app(target.load(os.environ["_MCP_SERVER_TARGET"]), found)
    gc.collect()
    gc.freeze()  # what lives as long as the process is not looked at again: collections were 90 ms pauses
    gc.set_threshold(50_000, 20, 100)
    return app


def _granian(found: Settings, *, reload: bool) -> MPServer:
    logging.getLogger("_granian").setLevel(logging.INFO)
    return MPServer(
        "mcp_server.cli.serve:application",
        factory=True,
        address=found.host,
        port=found.port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        workers=found.workers,
        websockets=False,
        runtime_mode=RuntimeModes.mt,
        runtime_threads=RUNTIME_THREADS,
        respawn_failed_workers=True,
        workers_kill_timeout=10,
        log_dictconfig={"version": 1, "disable_existing_loggers": False},
        reload=reload,
        reload_paths=[Path.cwd()] if reload else None,
    )


def _serve_metrics(found: Settings) -> None:
    from prometheus_client import CollectorRegistry, multiprocess, start_http_server

    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    start_http_server(found.metrics_port or 0, found.host, registry)
