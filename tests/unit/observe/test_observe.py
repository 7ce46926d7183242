"""The log redacts, the audit rotates, the trace is read."""

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import msgspec
import pytest

from mcp_server.observe import log, tracing
from mcp_server.observe.audit import MAX_GATHERED, AuditLog, Decision

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
def stream(log_file: TextIO) -> Iterator[io.StringIO]:
    out = io.StringIO()
    yield out
    log.set_up("json", stream=log_file)


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


def test_json_lines_hold_level_event_fields_and_the_request(stream: io.StringIO) -> None:
    log.set_up("json", stream=stream)
    token = log.request_id.set("r1")
    log.logger.warning("happened", number=5)
    log.request_id.reset(token)
    line = msgspec.json.decode(stream.getvalue())
    assert (line["level"], line["event"], line["number"], line["request_id"]) == ("warn", "happened", "5", "r1")
    assert "redacted" not in log.redact("the code is fine, token is a word")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "a" * 32),
        ("00-" + "0" * 32 + "-" + "b" * 16 + "-01", ""),
        ("garbage", ""),
        (None, ""),
        ("0" * 200, ""),
    ],
)
@pytest.mark.requirement("7.7")
def test_a_trace_id_is_read_or_left_out(text: str | None, found: str) -> None:
    assert tracing.trace_id(text) == found


def lines(path: Path) -> int:
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def test_the_audit_rotates_and_keeps_so_many(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "audit.jsonl"
    audit = AuditLog(str(path), max_bytes=200, keep=2)
    for number in range(40):
        audit.write(Decision(number, "allow", request_id="r" * 20))
    audit.close()
    files = sorted(one.name for one in path.parent.iterdir())
    assert files == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2", "audit.jsonl.lock"]
    for line in path.read_bytes().splitlines():
        assert msgspec.json.decode(line)["decision"] == "allow"


def test_a_worker_follows_when_another_has_rotated(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    one, other = (AuditLog(str(path), max_bytes=150, keep=3) for _ in range(2))
    for number in range(6):
        one.write(Decision(number, "allow"))
        other.write(Decision(number, "deny"))
    one._rotate(path, -1)  # somebody else was first: nothing to do
    path.unlink()
    other.write(Decision(9, "deny"))
    assert lines(path) == 1
    one.close()
    other.close()


async def test_lines_are_gathered_and_a_full_buffer_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(str(path))
    audit.write(Decision(1, "allow"))
    assert lines(path) == 0
    audit.write(Decision(2, "allow", request_id="x" * MAX_GATHERED))
    assert lines(path) == 2
    audit.flush()
    audit.close()


def test_the_audit_goes_to_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    sys.stdout.flush()
    audit = AuditLog("-")
    audit.write(Decision(1.0, "allow", needed=("a",)))
    audit.close()
    assert capfd.readouterr().out == '{"time":1.0,"decision":"allow","needed":["a"]}\n'
