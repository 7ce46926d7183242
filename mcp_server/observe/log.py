"""The log: loguru set up once, the standard library's records in the same stream, secrets redacted before any sink."""

import logging
import sys
import traceback
from contextvars import ContextVar
from typing import Any, Final, Literal, TextIO

import loguru
import msgspec
from loguru import logger

from mcp_server.observe.redaction import redact, redact_field

__all__ = ["LogFormat", "logger", "request_id", "set_up"]

LogFormat = Literal["json", "pretty"]

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request being answered; empty outside one."""

_LEVELS: Final = {"WARNING": "WARN"}
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


class _Forward(logging.Handler):
    """Hands records of the standard library to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        bound = logger.bind(logger=record.name).opt(exception=record.exc_info)
        bound.log(_level(record), "{}", record.getMessage())


def _level(record: logging.LogRecord) -> str:
    """The level of a foreign record that loguru knows: a library may have added one of its own (`NOTICE`, 25)."""
    return next((name for name, number in _KNOWN if record.levelno >= number), "DEBUG")


def _fields(record: "loguru.Record") -> dict[str, Any]:
    fields: dict[str, Any] = {
        "time": record["time"].isoformat(timespec="milliseconds"),
        "level": _LEVELS.get(record["level"].name, record["level"].name).lower(),
        "event": redact(record["message"]),
        **{key: redact_field(key, value) for key, value in record["extra"].items()},
    }
    if current := request_id.get():
        fields["request_id"] = current
    if (failure := record["exception"]) is not None and failure.type is not None:
        lines = traceback.format_exception(failure.type, failure.value, failure.traceback)
        fields["traceback"] = redact("".join(lines))
    return fields


def _write_json(record: "loguru.Record", out: TextIO) -> None:
    out.write(msgspec.json.encode(_fields(record)).decode() + "\n")
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
