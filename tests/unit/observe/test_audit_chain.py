"""The audit's chain: whatever is changed, removed, added or moved is found, and what nobody can tell is said."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import assume, given
from hypothesis import strategies as st

from mcp_server.cli import main
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.observe.audit.chain import Chain, Link, read
from mcp_server.observe.audit.verify import Place, Verified, verify

KEY = b"k" * 32
Lines = list[bytes]


def chained(*sizes: int) -> Lines:
    """Chains of so many lines, the lines of all in turn, each chain with its last line; one begins after the other's."""
    made = Lines()
    chains = [Chain(KEY, lambda: read(made[-1]) if made else None) for _ in sizes]
    for number in range(max(sizes, default=0)):
        for one, size in zip(chains, sizes, strict=True):
            if number < size:
                made.append(one.seal(b'{"time":1.5,"decision":"allow","tool":"\xc3\xa9%d"}' % number))
    made += [one.seal(b'{"time":2,"decision":"closed"}') for one in chains]
    return made


def found(*files: Lines, keys: tuple[bytes, ...] = (KEY,), partial: bool = False) -> Verified:
    return verify(files, keys, partial=partial)


WRITTEN = chained(5, 3)


def test_what_was_written_is_as_it_was_written() -> None:
    assert found(WRITTEN) == Verified(lines=10)
    assert found(WRITTEN[:4], WRITTEN[4:], keys=(b"new" * 20, KEY)) == Verified(lines=10)


@given(place=st.integers(0, len(b"\n".join(WRITTEN)) - 1), other=st.integers(0, 255))
def test_any_byte_that_is_changed_is_found(place: int, other: int) -> None:
    data = bytearray(b"\n".join(WRITTEN))
    assume(data[place] != other)
    data[place] = other
    assert found(bytes(data).split(b"\n")).bad is not None


@given(st.data())
def test_any_line_that_is_removed_doubled_moved_or_added_is_found(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["removed", "doubled", "moved", "added"]))
    lines, place = list(WRITTEN), data.draw(st.integers(0, len(WRITTEN) - 1))
    one = lines[place]
    link = read(one)
    assert link is not None
    if kind == "removed":
        assume(not link.closes)  # the end of a chain is missed as one that is open, below
        del lines[place]
    elif kind == "doubled":
        lines.insert(data.draw(st.integers(place, len(lines))), one)
    elif kind == "added":
        lines.insert(data.draw(st.integers(0, len(lines))), b'{"time":1.5,"decision":"allow"}')
    else:
        del lines[place]
        lines.insert(data.draw(st.integers(0, len(lines))), one)
        of = [read(line) for line in lines]
        order = {
            name: [one.seq for one in of if one and one.chain == name] for name in {one.chain for one in of if one}
        }
        assume(any(numbers != sorted(numbers) for numbers in order.values()))  # of two chains lines come as they come
    assert found(lines).bad is not None


def test_the_first_bad_line_is_named_and_why() -> None:
    assert found(WRITTEN, keys=(b"x" * 32,)).bad is not None
    assert "changed" in why(found(WRITTEN, keys=(b"x" * 32,)))
    one = chained(4)
    missing = found([*one[:2], *one[3:]])
    assert missing.bad is not None
    assert missing.bad.place == Place(0, 3)
    assert "1 lines of its chain are missing" in why(missing)
    assert "there twice" in why(found([*one[:2], one[1], *one[2:]]))
    assert "0 to 1 of its chain are missing" in why(found(one[2:]))
    other = chained(4)
    forged = Chain(KEY, lambda: None)
    forged._name, forged._seq, forged._prev = (read(one[0]) or _none()).chain, 2, "1" * 32
    assert "another line" in why(found([*one[:2], forged.seal(b'{"time":1}')]))
    assert found([*one, *other]).bad is None


def _none() -> Link:
    raise AssertionError


def why(verified: Verified) -> str:
    assert verified.bad is not None
    return verified.bad.why


def test_a_tail_that_was_cut_off_is_told_where_it_can_be() -> None:
    first = chained(4)
    second = Chain(KEY, lambda: read(first[-1]))
    after = [second.seal(b'{"time":3}'), second.seal(b'{"time":4,"decision":"closed"}')]
    (left_open,) = found(first[:3]).open
    assert (left_open.seq, left_open.place) == (2, Place(0, 3))
    assert found([*first, *after]) == Verified(lines=7)
    assert "2 lines are missing" in why(found([*first[:3], *after]))
    assert "is missing" in why(found(after))
    assert found(after, partial=True).bad is None
    assert "is missing" in why(found(first[:0], after, partial=True))
    other = Chain(KEY, lambda: Link(chain=(read(first[0]) or _none()).chain, seq=4, prev="", mac="2" * 32))
    assert "another line" in why(found([*first, other.seal(b'{"time":3}')]))


def test_files_whose_elders_are_gone_are_taken_where_that_is_said() -> None:
    one = chained(4)
    assert found([b'{"time":0}', *one], partial=True) == Verified(lines=5, before=1)
    rotated = found(one[2:], partial=True)
    assert (rotated.bad, len(rotated.begun_before)) == (None, 1)
    assert "no line of a chain" in why(found([one[0], b'{"time":0}', *one[1:]], partial=True))


def test_half_a_line_before_the_whole_one_is_what_a_full_disk_leaves() -> None:
    one = chained(2)
    assert found([one[0], one[1][:20], *one[1:]]) == Verified(lines=3)
    assert found([one[0], one[2][:40], *one[1:]]).bad is not None
    assert found([*one, one[1][:20]]).bad is not None


def test_workers_restarts_and_rotations_make_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for _ in range(2):
        both = [AuditLog(str(path), max_bytes=2000, keep=99, keys=(KEY,)) for _ in range(2)]
        for number in range(20):
            for audit in both:
                audit.write(Decision(number, "allow", issuer="i"))
                audit.flush()
        for audit in both:
            audit.close()
            audit.close()
    key = tmp_path / "key"
    key.write_bytes(KEY + b"\n")
    files = [str(one) for one in tmp_path.glob("audit.jsonl*")]
    assert len(files) > 5
    result = CliRunner().invoke(main, ["audit", "verify", *files, "--key-file", str(key), "--closed"])
    assert (result.output, result.exit_code) == ("84 lines are as they were written\n", 0)


@pytest.mark.parametrize(
    ("change", "options", "code", "said"),
    [
        (lambda data: data.replace(b'"time":2,', b'"time":9,'), [], 1, "audit.jsonl:2: it was changed"),
        (lambda data: b"".join(data.splitlines(True)[:2]), [], 0, "is open after line 1"),
        (lambda data: b"".join(data.splitlines(True)[:2]), ["--closed"], 1, "is open after line 1"),
        (
            lambda data: b"".join(data.splitlines(True)[2:]),
            [],
            1,
            "audit.jsonl:1: lines 0 to 1 of its chain are missing",
        ),
        (lambda data: b"".join(data.splitlines(True)[2:]), ["--partial"], 0, "began in a file that is not here"),
        (lambda data: b'{"time":0}\n' + data, ["--partial"], 0, "1 lines before them are in no chain"),
    ],
)
def test_the_command_says_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, options: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    audit = AuditLog("audit.jsonl", keys=(KEY,))
    for number in range(1, 4):
        audit.write(Decision(number, "allow", issuer="i"))
    audit.close()
    path = Path("audit.jsonl")
    path.write_bytes(change(path.read_bytes()))
    arguments = ["audit", "verify", "audit.jsonl", *options]
    result = CliRunner(env={"MCP_AUDIT_CHAIN": KEY.decode()}).invoke(main, arguments)
    assert result.exit_code == code, result.output
    assert said in result.output


def test_without_a_key_nothing_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("audit.jsonl", "key"):
        Path(name).write_text("")
    for environment, options, said in (
        ({}, [], "without a key"),
        ({"MCP_AUDIT_CHAIN": "short"}, [], "at least 32 characters"),
        ({}, ["--key-file", "key"], "no key in the file"),
    ):
        result = CliRunner(env=environment).invoke(main, ["audit", "verify", "audit.jsonl", *options])
        assert (result.exit_code, said in result.output) == (2, True), result.output
