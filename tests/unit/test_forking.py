"""A forked child: all that it has of its own is renewed, and a signal to it is its alone."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from mcp_server.forking import renew_in_children
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.observe.audit.chain import read
from mcp_server.observe.audit.verify import verify

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a system that forks")


class Renewed:
    """Notes where it was renewed, and may fail at it."""

    def __init__(self, fails: bool) -> None:
        self.fails, self.by = fails, 0
        renew_in_children(self)

    def begin_anew(self) -> None:
        self.by = os.getpid()
        if self.fails:
            raise OSError(9, "somebody has closed its file")


def of_a_child(ask: Callable[[], str]) -> str:
    """What a forked child answers."""
    reads, writes = os.pipe()
    if (child := os.fork()) == 0:
        with ExitStack() as ends:
            ends.callback(os._exit, 0)
            os.write(writes, ask().encode())
    os.close(writes)
    with os.fdopen(reads, "rb") as answer:
        found = answer.read().decode()
    os.waitpid(child, 0)
    return found


def test_what_fails_to_begin_anew_leaves_no_other_as_it_was() -> None:
    """They are of no order: locks, connections and ids behind it were the parent's."""
    known = [Renewed(fails=number % 2 == 0) for number in range(8)]
    assert of_a_child(lambda: str([one.by == os.getpid() for one in known])) == str([True] * 8)
    assert [one.by for one in known] == [0] * 8


def test_a_forked_child_has_an_audit_chain_of_its_own(tmp_path: Path) -> None:
    """It went on with its parent's, as that did: two lines of one number, as if somebody had moved one."""
    path, key = tmp_path / "audit.jsonl", b"k" * 32
    log = AuditLog(str(path), keys=[key])
    for _ in range(3):
        log.write(Decision(1.0, "allow", issuer="i"))
        log.flush()
        assert of_a_child(lambda: str(log.write(Decision(2.0, "allow", issuer="i")))) == "True"
    log.close()
    lines = path.read_bytes().splitlines()
    links = [link for link in map(read, lines) if link]
    assert verify([lines], [key]).bad is None
    assert (len(links), len({link.chain for link in links})) == (7, 4)
    assert links[1].after == (links[0].head,)


ENDS = """
import asyncio, multiprocessing, os, signal, sys
from mcp_server.forking import end_children_by_signals

def theirs(begun):
    os.write(begun, b"1")
    signal.pause()

async def main(number):
    told, (begins, begun) = [], os.pipe()
    if len(sys.argv) > 2:
        signal.signal(number, signal.SIG_IGN)
    else:
        asyncio.get_running_loop().add_signal_handler(number, told.append, number)
    end_children_by_signals()

    def handler():
        child = multiprocessing.get_context("fork").Process(target=theirs, args=(begun,))
        child.start()
        os.read(begins, 1)
        os.kill(child.pid, number)
        child.join(0.5 if len(sys.argv) > 2 else 60)
        code = child.exitcode
        child.kill()
        return code

    code = await asyncio.to_thread(handler)
    os.kill(os.getpid(), number)  # its own is heard behind one of its child's
    while not told and len(sys.argv) == 2:
        await asyncio.sleep(0)
    print(code, told == [number])

asyncio.run(main(int(sys.argv[1])))
"""


@pytest.mark.parametrize(("number", "code"), [(15, "-15"), (2, "1")])
def test_a_signal_to_a_child_ends_it_and_is_not_heard_by_the_loop_of_its_parent(number: int, code: str) -> None:
    """A handler that ended a pool had its worker drain, and the child that it ended went on."""
    run = subprocess.run([sys.executable, "-c", ENDS, str(number)], capture_output=True, text=True, check=False)
    assert run.stdout.split() == [code, "True"], run.stderr


def test_a_signal_that_is_ignored_is_ignored_in_a_child() -> None:
    run = subprocess.run([sys.executable, "-c", ENDS, "2", "ignored"], capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["None", "False"], run.stderr
