"""The log redacts, the trace is read."""

import io
import logging
import subprocess
import sys
import threading
from typing import Any

import msgspec
import pytest

from mcp_server.observe import log, tracing
from mcp_server.observe.tracing import RequestContext

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl"
SECRETS = {
    f"token {JWT} here": JWT,
    "Authorization: Bearer abcdefgh12345": "abcdefgh12345",
    "dpop abcdefgh12345": "abcdefgh12345",
    "Basic dXNlcjpwYXNz": "dXNlcjpwYXNz",
    "POST code=SplxlOBe&state=x": "SplxlOBe",
    "client_secret=hush&a=b": "hush",
    '{"refresh_token": "r3fr3sh", "x": 1}': "r3fr3sh",
    "{'password': 'pa55'}": "pa55",
    "access_token: abc.def": "abc.def",
}


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.mark.parametrize("text", SECRETS)
@pytest.mark.parametrize("kind", ["json", "pretty"])
@pytest.mark.requirement("25.19")
def test_a_secret_reaches_no_sink(stream: io.StringIO, kind: log.LogFormat, text: str) -> None:
    log.set_up(kind, stream=stream)
    log.logger.info(text.replace("{", "{{").replace("}", "}}"))
    log.logger.info("event", detail=text)
    logging.getLogger("foreign").warning("%s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.logger.exception("failed")
    assert SECRETS[text] not in stream.getvalue()
    assert stream.getvalue().count("[redacted]") >= 4


FORGED = "x\n12:00:00.000 INFO     all is well\r\x1b[2J\x1b]0;t\x07\x7f\x9b31m\u202egnp.exe\u2028\u200b\x00"


def test_what_a_stranger_wrote_is_shown_and_not_obeyed(stream: io.StringIO) -> None:
    """A terminal takes orders from what is printed to it, and a line that looks like an entry passes for one."""
    log.set_up("pretty", stream=stream)
    log.logger.info(FORGED)
    log.logger.warning("refused", detail=FORGED, **{FORGED: "é 日本 😀"})
    logging.getLogger("foreign").warning("%s", FORGED)
    try:
        raise ValueError(FORGED)
    except ValueError:
        log.logger.exception("failed")
    written = stream.getvalue()
    assert all(one == "\n" or one.isprintable() for one in written)
    entries = [line for line in written.split("\n") if line and not line.startswith("    ")]
    assert [line.split()[1] for line in entries if line[:1].isdigit()] == ["info", "warn", "warn", "error"]
    assert len(entries) == 5  # and the first line of the traceback
    assert r"\x1b[2J" in written
    assert "é 日本 😀" in written


WARNS = """
import warnings
from mcp_server.observe import log

async def forgotten(): ...

log.set_up("json")
forgotten()
warnings.warn("password=hunter2")
"""


def test_what_python_warns_of_is_a_line_like_others() -> None:
    done = subprocess.run([sys.executable, "-c", WARNS], capture_output=True, text=True, check=True)
    lines = [msgspec.json.decode(line) for line in done.stderr.splitlines()]
    assert [(line["level"], line["logger"]) for line in lines] == [("warn", "py.warnings")] * 2
    assert "coroutine 'forgotten' was never awaited" in lines[0]["event"]
    assert "UserWarning: password=[redacted]" in lines[1]["event"]
    assert "hunter2" not in done.stderr


BESIDE = """
import gc, logging, threading, warnings
from mcp_server.observe import log

async def forgotten(): ...

class Garbage:
    def __init__(self):
        self.me, self.left = self, forgotten()

class Collects:
    def __str__(self):
        gc.collect()
        logging.getLogger("foreign").warning("password=hunter2")
        log.logger.warning("own", password="hunter2")
        return "collected"

class Fails:
    def __str__(self):
        raise ValueError("password=hunter2")

    def __del__(self):
        raise ValueError("password=hunter2")

def ends():
    raise ValueError("password=hunter2")

log.set_up("json")
gc.disable(), Garbage()  # the collection is the one that is asked for
log.logger.info("first", thing=Collects())
log.logger.info("second", password="hunter2", thing=Fails())
logging.getLogger("foreign").warning("%d of %d", 1)
(thread := threading.Thread(target=ends, name="ends")).start()
thread.join()
"""


def test_nothing_comes_between_the_lines() -> None:
    """What is said while a line is written, by who cannot say it, of a thread, or by nobody who could be told."""
    done = subprocess.run([sys.executable, "-c", BESIDE], capture_output=True, text=True, check=True)
    lines = [msgspec.json.decode(line) for line in done.stderr.splitlines()]
    told = [(line.get("logger", ""), line["event"].splitlines()[0].partition(": <")[0]) for line in lines]
    assert sorted(told) == [
        ("", "first"),
        ("", "own"),
        ("", "second"),
        ("foreign", "a record has no text: TypeError, <string>:32"),
        ("foreign", "password=[redacted]"),
        ("py.warnings", "<string>:13: RuntimeWarning: coroutine 'forgotten' was never awaited"),
        ("sys", "Exception ignored in"),
        ("threading", "an exception has ended a thread: ends"),
    ]
    assert "hunter2" not in done.stderr


def test_a_warning_waits_for_no_line_that_is_written(stream: io.StringIO) -> None:
    """It may come from a finalizer in the writer's thread, which holds the lock that who writes a line waits for."""

    def both() -> None:
        logging.getLogger("foreign").warning("other")
        log.logger.warning("own")

    class Waits:
        def __str__(self) -> str:
            (other := threading.Thread(target=both)).start()
            other.join(10)
            return "held up" if other.is_alive() else "gone on"

    log.set_up("json", stream=stream)
    log.logger.info("line", thing=Waits())
    lines = [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line.get("thing")) for line in lines] == [
        ("other", None),
        ("own", None),
        ("line", "gone on"),
    ]


def test_a_line_that_has_no_form_is_written_as_text(stream: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    """loguru printed the record as it was, with every secret of it."""
    log.set_up("json", stream=stream)
    endless: list[object] = []
    endless.append(endless)
    for odd in (["\ud800"], {"a": "\ud800"}, endless):
        log.logger.bind(password="hunter2").info("odd", thing=odd)
    log.logger.bind(**{"\ud800": 1}).info("odd", password="hunter2")
    lines = [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["password"]) for line in lines] == [("odd", "[redacted]")] * 4
    assert [line.get("thing") for line in lines] == ["['\\ud800']", "{'a': '\\ud800'}", "[[...]]", None]
    assert capfd.readouterr().err == ""


def test_an_exception_that_cannot_be_shown_loses_no_line(stream: io.StringIO) -> None:
    class Odd(Exception):
        @property
        def __notes__(self) -> list[str]:  # type: ignore[override]
            raise ValueError("password=hunter2")

    log.set_up("json", stream=stream)
    logging.getLogger("foreign").error("failed", exc_info=Odd())
    line = msgspec.json.decode(stream.getvalue())
    assert (line["event"], line["traceback"].split()[0]) == ("failed", "Odd")
    assert "hunter2" not in stream.getvalue()


LATE = """
import atexit, logging
atexit.register(lambda: logging.getLogger("foreign").error("password=hunter2"))
from mcp_server.observe import log
log.set_up("json")
log.logger.info("begun")
"""


def test_what_is_logged_after_the_end_is_a_line_like_others() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True)
    assert [msgspec.json.decode(one)["event"] for one in done.stderr.splitlines()] == ["begun", "password=[redacted]"]


def test_a_command_tells_what_python_warns_of_as_it_tells_others() -> None:
    warns = WARNS.replace('set_up("json")', "set_up_for_command()")
    done = subprocess.run([sys.executable, "-c", warns], capture_output=True, text=True, check=True)
    assert [line.split(": ")[0] for line in done.stderr.splitlines() if line[:1] != " "] == ["warning"] * 2
    assert "hunter2" not in done.stderr


def test_json_lines_hold_level_event_fields_and_the_request(stream: io.StringIO) -> None:
    log.set_up("json", stream=stream)
    token = tracing.here.set(RequestContext("r1"))
    log.logger.warning("happened", number=5)
    tracing.here.reset(token)
    line = msgspec.json.decode(stream.getvalue())
    assert (line["level"], line["event"], line["number"], line["request_id"]) == ("warn", "happened", 5, "r1")


class Hidden(str):
    """A text whose `repr` does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (5, 5),
        (True, True),
        (None, None),
        (0.5, 0.5),
        (float("nan"), "nan"),
        (2**70, str(2**70)),
        ("5", "5"),
        (["b", "a"], ["b", "a"]),
        (("a", 1), ["a", 1]),
        ({"b", "a"}, ["a", "b"]),
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ({1: 2}, "{1: 2}"),
        (b"x", "b'x'"),
        (["--password", "hunter2"], "['--password', [redacted]]"),
        ([Hidden("hunter2")], "['***']"),
        (["a", float("inf")], "['a', inf]"),
    ],
)
def test_a_field_has_its_type_in_json(stream: io.StringIO, value: object, written: object) -> None:
    log.set_up("json", stream=stream)
    log.logger.info("told", found=value)
    assert msgspec.json.decode(stream.getvalue())["found"] == written


def test_a_field_does_not_pass_itself_off_as_the_line(stream: io.StringIO) -> None:
    log.set_up("json", stream=stream)
    log.logger.bind(event="forged", level="error", time="never").info("told")
    line = msgspec.json.decode(stream.getvalue())
    assert (line["event"], line["level"], line["event_"], line["level_"]) == ("told", "info", "forged", "error")


@pytest.mark.usefixtures("stream")
def test_a_command_prints_warnings_alone_and_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up_for_command()
    log.logger.info("imported", tools=3)
    log.logger.warning("covered", template="a://{x}", password="hunter2")
    logging.getLogger("foreign").warning("odd")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "warning: covered (template: a://{x}, password: [redacted])\nwarning: odd (logger: foreign)\n"


@pytest.mark.parametrize("library", [False, True], ids=["ours", "the standard library's"])
@pytest.mark.parametrize("command", [False, True], ids=["a server", "a command"])
def test_a_traceback_costs_no_look_at_what_variables_hold(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str], command: bool, library: bool
) -> None:
    """loguru's default writes out the values on each line of a traceback: megabytes of a caller's, for nobody."""
    looked = []

    class Held:
        def __repr__(self) -> str:
            looked.append(1)
            return "x" * 4_000_000

    held = Held()
    if command:
        log.set_up_for_command()
    else:
        log.set_up("json", stream=stream)
    try:
        held.missing  # type: ignore[attr-defined]  # noqa: B018
    except AttributeError:
        (logging.getLogger("x").exception if library else log.logger.exception)("failed")
    assert "failed" in stream.getvalue() + capsys.readouterr().err
    assert looked == []


def test_a_secret_by_the_name_of_its_field_reaches_no_sink(stream: io.StringIO) -> None:
    """House fault 13: `logger.info("login", password=...)` printed it."""
    log.set_up("json", stream=stream)
    nested = {"a": [{"apiKey": "hunter2"}], "cookie": "S=hunter2; b=hunter2"}
    log.logger.info("login", password="hunter2", X_API_KEY=b"hunter2", mcp_session_id="hunter2", seen=nested)
    log.logger.info("login", code=200, token_digest="0123", name="bob")
    assert "hunter2" not in stream.getvalue()
    assert '"code":200' in stream.getvalue()
    assert '"token_digest":"0123"' in stream.getvalue()


def test_half_a_surrogate_is_logged_in_a_form_that_can_be_written(stream: io.StringIO) -> None:
    log.set_up("json", stream=stream)
    log.logger.info("said {}", "\ud800", detail="\udfff", password="\ud800")
    line = msgspec.json.decode(stream.getvalue())
    assert (line["event"], line["detail"]) == ("said \\ud800", "\\udfff")


@pytest.mark.parametrize("log_format", ["json", "pretty"])
@pytest.mark.parametrize("part", ["time", "message", "name", "extra"])
def test_a_record_that_cannot_be_rendered_is_told_and_not_printed(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str], log_format: log.LogFormat, part: str
) -> None:
    """An author's patcher may put anything there; loguru printed the record as it is, with every secret of it."""
    log.set_up(log_format, stream=stream)
    what: Any = {5: "five"} if part == "extra" else 5

    def spoil(record: Any) -> None:
        record[part] = what | record["extra"] if part == "extra" else what

    log.logger.patch(spoil).warning("hello", password="hunter2")
    assert "a record has no text: " in stream.getvalue()
    assert "hunter2" not in stream.getvalue() + "".join(capsys.readouterr())


@pytest.mark.parametrize(("number", "level"), [(5, None), (25, "info"), (35, "warn"), (45, "error"), (99, "critical")])
def test_a_level_that_a_library_adds_is_taken_for_the_one_below(
    stream: io.StringIO, number: int, level: str | None
) -> None:
    """House fault 14: `logging.addLevelName(25, "NOTICE")` made the library's own call raise."""
    log.set_up("json", stream=stream)
    logging.addLevelName(number, f"LEVEL{number}")
    foreign = logging.getLogger("foreign")
    foreign.setLevel(1)
    foreign.log(number, "hello")
    found = [msgspec.json.decode(line)["level"] for line in stream.getvalue().splitlines()]
    assert found == ([] if level is None else [level])
