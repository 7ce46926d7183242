"""The log: loguru set up once, the standard library's records in the same stream, secrets redacted before any sink."""

import logging
import math
import sys
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Literal, TextIO

import loguru
import msgspec
from loguru import logger

from mcp_server.observe.redaction import redact, redact_field

__all__ = ["LogFormat", "logger", "request_id", "set_up", "set_up_for_command"]

LogFormat = Literal["json", "pretty"]

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request being answered; empty outside one."""

_LEVELS: Final = {"WARNING": "WARN"}
_OWN: Final = frozenset({"time", "level", "event", "request_id", "traceback"})
"""Members of a line that no field may pass itself off as."""
_KNOWN: Final = tuple((name, logging.getLevelNamesMapping()[name]) for name in ("CRITICAL", "ERROR", "WARNING", "INFO"))


def set_up(log_format: LogFormat, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every log of the process to one stream (stderr by default): loguru's and the standard library's."""
    out = stream or sys.stderr
    logger.remove()
    write = _write_json if log_format == "json" else _write_pretty
    logger.add(lambda message: write(message.record, out), level=level, format="{message}", catch=True)
    logging.basicConfig(handlers=[_Forward()], level=logging.INFO, force=True)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def set_up_for_command() -> None:
    """Send what deserves a warning to stderr, in a line for a person, and nothing else: a command prints its report."""
    logger.remove()
    logger.add(lambda message: _write_warning(message.record), level="WARNING", format="{message}", catch=True)
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


class _Forward(logging.Handler):
    """Hands records of the standard library to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        bound = logger.bind(logger=record.name).opt(exception=record.exc_info)
        bound.log(_level(record), "{}", record.getMessage())


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
    if current := request_id.get():
        fields["request_id"] = current
    if (failure := record["exception"]) is not None and failure.type is not None:
        lines = traceback.format_exception(failure.type, failure.value, failure.traceback)
        fields["traceback"] = redact("".join(lines))
    return fields


def _typed(name: str, value: object) -> Any:
    """A field in the type that it has in JSON; as text where that is no plain value, or something of it is a secret.

    The whole of a list is looked at as text: in `["--password", "x"]` the second is a secret for what stands before it.
    """
    text = redact_field(name, value)
    return _plain(value) if text == str(value) and _is_plain(value) else text


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


def _write_json(record: "loguru.Record", out: TextIO) -> None:
    out.write(msgspec.json.encode(_fields(record, _typed)).decode() + "\n")
    out.flush()


def _write_warning(record: "loguru.Record") -> None:
    fields = _fields(record)
    hidden, level = ("time", "level", "event", "traceback"), record["level"].name.lower()
    rest = ", ".join(f"{key}: {value}" for key, value in fields.items() if key not in hidden)
    out = sys.stderr  # as it is now: tests put another one in its place
    out.write(f"{level}: {fields['event']}{f' ({rest})' if rest else ''}\n{fields.get('traceback', '')}")
    out.flush()


def _write_pretty(record: "loguru.Record", out: TextIO) -> None:
    fields = _fields(record)
    stamp, level, event = fields.pop("time")[11:23], fields.pop("level"), fields.pop("event")
    failure = fields.pop("traceback", "").rstrip("\n")
    rest = "".join(f"  {printable(key)}={printable(value)}" for key, value in fields.items())
    out.write(f"{stamp} {level:<8} {_indented(event)}{rest}\n")
    if failure:
        out.write(_indented(failure) + "\n")
    out.flush()


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
