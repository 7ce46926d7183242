"""Child processes that end together: started, watched, stopped by their ids, leaving nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import httpx

STOP_S: Final = 10.0


class PortInUse(Exception):
    """Another program listens where one of ours should."""


class Stack:
    """The running children, by name."""

    def __init__(self, stop_s: float = STOP_S) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._stop_s = stop_s

    def start(self, name: str, module: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a Python module in a process group of its own, so that Ctrl-C reaches it through us alone."""
        self._children[name] = subprocess.Popen(  # nosec B603 # noqa: S603 - our own modules
            [sys.executable, *module], env={**os.environ, **environment}, start_new_session=True
        )

    def adopt(self, name: str, child: subprocess.Popen[bytes]) -> None:
        """Take in what was started elsewhere, in a process group of its own."""
        self._children[name] = child

    def ended(self) -> str | None:
        """The name of a child that has ended."""
        return next((name for name, child in self._children.items() if child.poll() is not None), None)

    def wait_ready(
        self, urls: Sequence[str], within_s: float, tick: Callable[[float], None] = lambda passed_s: None
    ) -> None:
        """Wait until every URL answers 200, telling `tick` the seconds that have passed.

        Raises `TimeoutError`, or `ChildProcessError` when a child ends first.
        """
        began = time.monotonic()
        waiting = list(urls)
        with httpx.Client(trust_env=False, timeout=2) as client:
            while waiting:
                if ended := self.ended():
                    raise ChildProcessError(f"{ended} ended before it was ready")
                passed_s = time.monotonic() - began
                tick(passed_s)
                if passed_s > within_s:
                    raise TimeoutError(f"not ready in {within_s:.0f} s: {waiting[0]}")
                waiting = [url for url in waiting if not _answers(client, url)]
                if waiting:
                    self.watch(0.05)

    def watch(self, for_s: float) -> None:
        """Let time pass, ending early when the first child does."""
        first = next(iter(self._children.values()), None)
        if first is None:
            threading.Event().wait(for_s)
            return
        try:
            first.wait(for_s)
        except subprocess.TimeoutExpired:
            return

    def stop(self) -> None:
        """Ask all to end, the last started first; after `stop_s` end what is left of their groups."""
        children = list(reversed(self._children.values()))
        for child in children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._stop_s
        for child in children:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        self._children.clear()


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def port_of(url: str) -> int:
    """The port that a URL names, or its scheme's."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def require_free(url: str, what: str) -> None:
    """Raise `PortInUse` when something listens at the URL's port."""
    port = port_of(url)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortInUse(
                f"port {port} is in use, and {what} needs it: stop what listens there (another devstack?)"
            ) from error
