"""The log: loguru set up once, the standard library's records in the same stream, secrets redacted before any sink.

Standard error is written by a thread: who reads it may be behind, or gone.
"""

import atexit
import contextlib
import logging
import math
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Final, Literal, TextIO, cast

import loguru
import msgspec
from loguru import logger

from mcp_server.observe import tracing
from mcp_server.observe.redaction import redact, redact_field
from mcp_server.observe.sampling import Sampler
from mcp_server.observe.writing.outlets import Stream, has_descriptor
from mcp_server.observe.writing.writer import LineWriter, Watcher

__all__ = ["LogFormat", "failing", "flush", "logger", "set_up", "set_up_for_command"]

LogFormat = Literal["json", "pretty"]

_LEVELS: Final = {"WARNING": "WARN"}
_OWN: Final = frozenset({
    "time", "level", "event", "request_id", "trace_id", "span_id", "trace_flags", "traceback",
})  # fmt: skip
"""Members of a line that no field may pass itself off as."""
_SAMPLED_BY: Final = ("reason", "name", "tool", "api")
"""Fields of our own lines by which they are told apart where many come."""
FLUSH_S: Final = 1.0
"""How long the end waits for who reads the log."""
_SINK: Final[dict[str, Any]] = {"format": "{message}", "catch": True, "backtrace": False, "diagnose": False}
"""loguru renders each traceback beside what we make of it, by default with the values of all variables on its lines:
the loop stood still for seconds over what a caller had sent, and nobody saw the text."""
_KNOWN: Final = tuple((name, logging.getLevelNamesMapping()[name]) for name in ("CRITICAL", "ERROR", "WARNING", "INFO"))


def set_up(log_format: LogFormat, level: str = "INFO", stream: TextIO | None = None, *, threaded: bool = True) -> None:
    """Send every log of the process to one stream (stderr by default): loguru's and the standard library's.

    A process that forks has no thread write its standard error (`threaded`); it does not wait for who reads it either.
    """
    logger.remove()
    render = _json if log_format == "json" else _pretty
    write = _writing(stream, threaded=threaded)

    def written(record: "loguru.Record") -> None:
        write(render(record))

    _kept.sampled = sampled = Sampled(written)
    _listen(sampled.take, level)
    _take_over(written, level, logging.INFO)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def _listen(take: "Callable[[loguru.Record], None]", level: str) -> None:
    """Have `take` get each record as a filter does: before loguru's lock, which lets nobody in again.

    A finalizer that logs, or a field's own text, while its thread writes a line was printed as loguru has its errors:
    the record as it is, with every secret. In the writer's lock it waited for who waited for that one in loguru's.
    """

    def taken(record: "loguru.Record") -> bool:
        try:
            take(record)
        except Exception as error:  # noqa: BLE001 - of a patcher's record, or a field's text: loguru would print it all
            with contextlib.suppress(Exception):  # a stream that a program holds and cannot be written to
                take(_told_of(record, error))
        return False

    logger.add(lambda _: None, filter=taken, level=level, **_SINK)


def flush() -> None:
    """Wait, `FLUSH_S` at most, until what was said is written: before the process ends."""
    if _kept.sampled is not None:
        _kept.sampled.end()
    if _kept.writer is not None:
        _kept.writer.flush(FLUSH_S)


def _end() -> None:
    """Write what was said; what comes after it, of a finalizer or an `atexit` of others, is written as it comes."""
    if _kept.sampled is not None:
        _kept.sampled.end()
    if _kept.writer is not None:
        _kept.writer.end(FLUSH_S)
    logging.captureWarnings(False)
    if sys.unraisablehook is _ignored:
        sys.unraisablehook = sys.__unraisablehook__


atexit.register(_end)


def failing() -> bool:
    """Whether lines wait that nobody reads, or some were lost."""
    return _kept.writer is not None and _kept.writer.failing


class _Kept:
    """What is waited for at the end: the sampler, and the writer of standard error where there is one."""

    sampled: "Sampled | None" = None
    writer: LineWriter | None = None


_kept = _Kept()


def _writing(stream: TextIO | None, *, threaded: bool) -> Callable[[str], None]:
    """What writes an entry: at once to a stream that a program holds, else by the writer."""
    if _kept.writer is not None:
        _kept.writer.close(FLUSH_S)
        _kept.writer = None
    if stream is None and has_descriptor("stderr"):
        _kept.writer = writer = LineWriter(Stream(None, "stderr"), _LogWatcher(), threaded=threaded)

        def put(entry: str) -> None:
            writer.put(entry.encode("utf-8", "backslashreplace"))

        return put
    out = sys.stderr if stream is None else stream
    return lambda entry: _print(entry, out)


def _print(entry: str, out: TextIO) -> None:
    if out.closed:  # by the program that holds it; what was sampled is summed up at the end of the process
        return
    out.write(entry + "\n")
    out.flush()


class _LogWatcher(Watcher):
    """What is told of the log itself: in counters, for it cannot say it."""

    def dropped(self, lines: int, reason: str = "") -> None:
        """Count them."""
        from mcp_server.observe import metrics  # noqa: PLC0415 - which logs

        metrics.log_dropped(lines)

    def more(self, lines: int) -> bytes | None:
        """How many are missing, where they would stand."""
        stamp = datetime.now().astimezone().isoformat(timespec="milliseconds")
        return msgspec.json.encode(
            {"time": stamp, "level": "warn", "event": "lines of the log were lost", "lines": lines}
        )


class Sampled:
    """Samples our own statements, each by itself: a stranger can have one of them said for every request.

    An author's lines, and libraries', are all written.
    """

    def __init__(self, write: Callable[["loguru.Record"], None]) -> None:
        self._write = write
        self._sampler: Sampler[_Statement] = Sampler(self._summed_up, _OTHERS)

    def take(self, record: "loguru.Record") -> None:
        """Write it, or count it."""
        extra, place = record["extra"], record.get("name") or ""
        if not place.startswith(_OURS) or "logger" in extra:
            self._write(record)
            return
        told = tuple((name, str(extra[name])[:_MAX_TOLD]) for name in _SAMPLED_BY if name in extra)
        if self._sampler.takes((place, record["line"], record["level"].name, record["message"][:_MAX_TOLD], told)):
            self._write(record)

    def end(self) -> None:
        """Sum up what was left out so far."""
        self._sampler.end()

    def _summed_up(self, kind: "_Statement", more: int, since: float, until: float) -> None:
        """A line like those that it stands for, and of no request."""
        _, _, level, event, told = kind
        first, last = (datetime.fromtimestamp(one).astimezone() for one in (since, until))
        extra = {**dict(told), "more": more, "until": last.isoformat(timespec="milliseconds")}
        mark = tracing.here.set(tracing.NOTHING)
        try:
            self._write(_made(first, level, event, extra))
        finally:
            tracing.here.reset(mark)


_Statement = tuple[str, int, str, str, tuple[tuple[str, str], ...]]
"""Where it stands, its level and text, and what it tells."""
_OURS: Final = "mcp_server."
_OTHERS: Final[_Statement] = ("", 0, "WARNING", "other lines of this server", ())
_MAX_TOLD: Final = 100


def set_up_for_command() -> None:
    """Send what deserves a warning to stderr, in a line for a person, and nothing else: a command prints its report."""
    logger.remove()
    _listen(_write_warning, "WARNING")
    _take_over(_write_warning, "WARNING", logging.WARNING)
    logging.getLogger("stamina").setLevel(logging.ERROR)  # that a document is asked for once more is no warning


def _take_over(write: "Callable[[loguru.Record], None]", level: str, least: int) -> None:
    """Have `write` get what else this process would print on standard error as it comes, between lines and unredacted.

    That is the standard library's records, what Python warns of, such as what an author forgot to await, and exceptions
    that nobody can catch: of a thread, or in a finalizer. Who has put a hook there is left alone.
    """
    logging.basicConfig(handlers=[_Foreign(write, logger.level(level).no)], level=least, force=True)
    logging.captureWarnings(True)
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _thread_ended
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _ignored


_ENDED: Final = logging.getLogger("threading")
_IGNORED: Final = logging.getLogger("sys")
"""Made here, for to ask for one takes a lock, which another thread may hold that waits for the writer's."""


def _thread_ended(what: threading.ExceptHookArgs) -> None:
    if what.exc_type is not SystemExit:
        name = "?" if what.thread is None else what.thread.name  # Python tells it, and a traceback does not
        _ENDED.error("an exception has ended a thread: %s", name, exc_info=_exc_info(what))


def _ignored(what: "sys.UnraisableHookArgs") -> None:
    told = what.err_msg or "Exception ignored in"
    _IGNORED.error("%s: %r", told, what.object, exc_info=_exc_info(what))


def _exc_info(what: "threading.ExceptHookArgs | sys.UnraisableHookArgs") -> Any:
    return what.exc_type, what.exc_value, what.exc_traceback


class _Foreign(logging.Handler):
    """Writes what the standard library says, with no lock but what `write` locks.

    A finalizer may warn wherever memory is allocated: while its thread writes a line, or where it holds the writer's
    lock, for which another thread may wait.
    """

    def __init__(self, write: "Callable[[loguru.Record], None]", level: int) -> None:
        super().__init__(level)
        self._write = write

    def createLock(self) -> None:  # noqa: N802 - the library's name
        """There is none: it would be one more to meet another thread in."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Write it, as the library does with a lock."""
        taken = self.filter(record)
        if taken:
            self.emit(taken if isinstance(taken, logging.LogRecord) else record)  # of a filter's, since Python 3.12
        return bool(taken)

    def emit(self, record: logging.LogRecord) -> None:
        """Write it; one that cannot be written is told, for the statement that it is of has gone well."""
        try:
            event = record.getMessage().rstrip("\n")
        except Exception as error:  # noqa: BLE001 - what an argument's own method raises, and a wrong number of them
            event = f"a record has no text: {type(error).__name__}, {record.pathname}:{record.lineno}"
        with contextlib.suppress(Exception):  # a stream that a program holds and cannot be written to
            kind, value, trace = record.exc_info or (None, None, None)
            failure = SimpleNamespace(type=kind, value=value, traceback=trace)
            time = datetime.fromtimestamp(record.created).astimezone()
            self._write(_made(time, _level(record), event, {"logger": record.name}, failure))


def _made(time: datetime, level: str, event: str, extra: dict[str, Any], failure: object = None) -> "loguru.Record":
    """What is rendered of a line that loguru has not made."""
    made = {"time": time, "level": SimpleNamespace(name=level), "message": event, "extra": extra, "exception": failure}
    return cast("loguru.Record", made)


def _told_of(record: "loguru.Record", error: Exception) -> "loguru.Record":
    """A line in the place of one that cannot be rendered."""
    event = f"a record has no text: {type(error).__name__}, {record['file'].path}:{record['line']}"
    return _made(datetime.now().astimezone(), record["level"].name, event, {})


def _level(record: logging.LogRecord) -> str:
    """The level of a foreign record that loguru knows: a library may have added one of its own (`NOTICE`, 25)."""
    return next((name for name, number in _KNOWN if record.levelno >= number), "DEBUG")


def _fields(record: "loguru.Record", shown: Callable[[str, object], Any] = redact_field) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "time": record["time"].isoformat(timespec="milliseconds"),
        "level": _LEVELS.get(record["level"].name, record["level"].name).lower(),
        "event": redact(record["message"]),
        **{f"{key}_" if key in _OWN else key: shown(key, value) for key, value in record["extra"].items()},
    }
    here = tracing.here.get()
    if here.request_id:
        fields["request_id"] = here.request_id
    if here.trace is not None and (named := tracing.materialized(here.trace, here.request_id).innermost()).trace_id:
        fields["trace_id"] = named.trace_id
        if named.span_id:
            fields |= {"span_id": named.span_id, "trace_flags": tracing.FLAGS[named.flags]}
    if (failure := record["exception"]) is not None and failure.type is not None:
        fields["traceback"] = redact(_traceback(failure))
    return fields


def _traceback(failure: "loguru.RecordException") -> str:
    try:
        return "".join(traceback.format_exception(failure.type, failure.value, failure.traceback))
    except Exception as error:  # noqa: BLE001 - what members of an author's exception raise: the line is not lost for it
        kind = "exception" if failure.type is None else failure.type.__name__
        return f"{kind} (without its traceback: {type(error).__name__} as it was told)"


def _typed(name: str, value: object) -> Any:
    """A field in the type that it has in JSON; as text where that is no plain value, or something of it is a secret.

    The whole of a list is looked at as text: in `["--password", "x"]` the second is a secret for what stands before it.
    """
    text = redact_field(name, value)
    return _plain(value) if _is_plain(value) and text == str(value) else text


def _is_plain(value: object) -> bool:
    """Whether JSON has this type; subclasses are none, for they may hide what they hold (`Hidden`)."""
    kind = type(value)
    if kind in (list, tuple, set, frozenset):
        return all(map(_is_plain, value))  # type: ignore[call-overload]
    if isinstance(value, dict):
        return kind is dict and all(type(key) is str and _is_plain(one) for key, one in value.items())
    if isinstance(value, float):
        return kind is float and math.isfinite(value)
    if isinstance(value, int):
        return kind is bool or (kind is int and -(2**63) <= value < 2**63)
    return value is None or kind is str


def _plain(value: Any) -> Any:
    """Sets in an order, so that two lines of the same are alike."""
    return sorted(value, key=str) if isinstance(value, set | frozenset) else value


def _json(record: "loguru.Record") -> str:
    try:
        return msgspec.json.encode(_fields(record, _typed)).decode()
    except (UnicodeEncodeError, RecursionError):
        # Half a surrogate in a list, a list in itself: loguru would print the record as it is, with every secret of it.
        shown = {redact(name): value for name, value in _fields(record).items()}
        return msgspec.json.encode(shown).decode()


def _write_warning(record: "loguru.Record") -> None:
    fields = _fields(record)
    hidden, level = ("time", "level", "event", "traceback"), record["level"].name.lower()
    rest = ", ".join(f"{key}: {value}" for key, value in fields.items() if key not in hidden)
    out = sys.stderr  # as it is now: tests put another one in its place
    out.write(f"{level}: {fields['event']}{f' ({rest})' if rest else ''}\n{fields.get('traceback', '')}")
    out.flush()


def _pretty(record: "loguru.Record") -> str:
    fields = _fields(record)
    stamp, level, event = fields.pop("time")[11:23], fields.pop("level"), fields.pop("event")
    failure = fields.pop("traceback", "").rstrip("\n")
    rest = "".join(f"  {printable(key)}={printable(value)}" for key, value in fields.items())
    entry = f"{stamp} {level:<8} {_indented(event)}{rest}"
    return f"{entry}\n{_indented(failure)}" if failure else entry


def printable(text: str) -> str:
    """A text for a terminal: control characters escaped, for a stranger's bytes may clear it, or turn what it shows.

    Directions of writing (U+202E) and line separators are among them.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _indented(text: str) -> str:
    """Lines of one entry: no later one begins where an entry would, whoever wrote it."""
    return "\n    ".join(map(printable, text.split("\n")))
