"""The audit's chain: whatever is changed, removed, added or moved is found, and what nobody can tell is said."""

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import assume, given
from hypothesis import strategies as st

from mcp_server.cli import main
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.observe.audit.chain import LOOK_S, MAX_NAMED, Chain, Head, Link, read
from mcp_server.observe.audit.heads import Heads, newest
from mcp_server.observe.audit.verify import MAX_TORN, UNCHAINED, BadLine, Place, Verified, verify

KEY = b"k" * 32
Lines = list[bytes]
CLOSED = b'{"time":2,"decision":"closed"}'


def chained(*sizes: int) -> Lines:
    """Chains of so many lines, the lines of all in turn, each chain with its last line; one begins after the other's."""
    made = Lines()
    chains = [Chain(KEY, lambda: newest(b"\n".join(made))) for _ in sizes]
    for number in range(max(sizes, default=0)):
        for one, size in zip(chains, sizes, strict=True):
            if number < size:
                made.append(sealed(one, b'{"time":1.5,"decision":"allow","tool":"\xc3\xa9%d"}' % number))
    for one in chains:
        made.append(sealed(one, CLOSED))
    return made


def sealed(by: Chain, line: bytes) -> bytes:
    return by_lines(by, line).rstrip(b"\n")


def by_lines(by: Chain, *lines: bytes) -> bytes:
    made = bytearray()
    by.seal([bytearray(b"\n".join(lines))], made)
    return bytes(made)


def found(*files: Lines, keys: tuple[bytes, ...] = (KEY,), partial: bool = False) -> Verified:
    return verify(files, keys, partial=partial)


WRITTEN = chained(5, 3)


def test_what_was_written_is_as_it_was_written() -> None:
    for verified in (found(WRITTEN), found(WRITTEN[:4], WRITTEN[4:], keys=(b"new" * 20, KEY))):
        assert (verified.lines, verified.bad, verified.open) == (10, None, [])


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
    assert "1 line of its chain is missing" in why(missing)
    assert "there twice" in why(found([*one[:2], one[1], *one[2:]]))
    assert "0 to 1 of its chain are missing" in why(found(one[2:]))
    other = chained(4)
    forged = Chain(KEY, lambda: ())
    forged._at = forged._at._replace(name=(read(one[0]) or _none()).chain, seq=2, prev="1" * 32)
    assert "another line" in why(found([*one[:2], sealed(forged, b'{"time":1}')]))
    assert found([*one, *other]).bad is None


def _none() -> Link:
    raise AssertionError


def why(verified: Verified) -> str:
    assert verified.bad is not None
    return verified.bad.why


def test_a_tail_that_was_cut_off_is_told_where_it_can_be() -> None:
    first = chained(4)
    second = Chain(KEY, lambda: newest(b"\n".join(first)))
    after = [sealed(second, b'{"time":3}'), sealed(second, CLOSED)]
    (left_open,) = found(first[:3]).open
    assert (left_open.link.seq, left_open.place) == (2, Place(0, 3))
    both = found([*first, *after])
    assert (both.bad, both.lines, both.open) == (None, 7, [])
    assert "2 lines of its chain are missing" in why(found([*first[:3], *after]))
    assert "is missing" in why(found(after))
    assert found(after, partial=True).bad is None
    assert "is missing" in why(found(first[:0], after, partial=True))
    other = Chain(KEY, lambda: [Link(chain=(read(first[0]) or _none()).chain, seq=4, prev="", mac="2" * 32)])
    assert "another line" in why(found([*first, sealed(other, b'{"time":3}')]))


def test_files_whose_elders_are_gone_are_taken_where_that_is_said() -> None:
    one = chained(4)
    assert why(found([b'{"time":0}', *one])).endswith("--partial takes such lines at the beginning")
    assert "--partial" not in why(found([*one, b'{"time":0}']))
    earlier = found([b'{"time":0}', *one], partial=True)
    assert (earlier.bad, earlier.lines, earlier.before) == (None, 5, 1)
    rotated = found(one[2:], partial=True)
    assert (rotated.bad, len(rotated.begun_before)) == (None, 1)
    assert "no line of a chain" in why(found([one[0], b'{"time":0}', *one[1:]], partial=True))


def test_half_a_line_before_the_whole_one_is_what_a_full_disk_leaves() -> None:
    one = chained(2)
    assert found([one[0], one[1][:20], *one[1:]]).lines == 3
    assert found([one[0], one[2][:40], *one[1:]]).bad is not None
    assert found([*one, one[1][:20]]).bad is not None


def test_lines_of_other_workers_and_empty_ones_may_stand_behind_half_a_line() -> None:
    """One worker ends the half that another left, and so does that one: with nothing between there is an empty line."""
    one, other = chained(2), chained(2)
    told = found([one[0], b"", one[1][:60], other[0], b"", one[1], *other[1:], one[2]])
    assert (told.bad, told.lines, told.before) == (None, 6, 0)
    assert found([b"", *one], partial=True).before == 0
    between = found([one[0], one[1][:60], other[0], other[1]])
    assert between.bad == BadLine(Place(0, 2), UNCHAINED)
    forged = found([one[0], one[1][:60], other[0], b"{}", *one[1:]])
    assert forged.bad == BadLine(Place(0, 2), UNCHAINED)


def test_few_halves_of_lines_are_waited_for() -> None:
    one = chained(2)
    assert found([b"{%d" % number for number in range(MAX_TORN + 1)]).bad == BadLine(Place(0, 1), UNCHAINED)
    assert found([one[0], *(one[1][: 20 + number] for number in range(MAX_TORN)), *one[1:]]).bad is None
    assert found([one[0], *(one[1][: 20 + number] for number in range(MAX_TORN + 1)), *one[1:]]).bad is not None


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
    assert result.exit_code == 0, result.output
    assert result.output.startswith("84 lines are as they were written\n")
    oldest_first = sorted(map(Path, files), key=lambda one: -int(one.suffix[1:]) if one.suffix[1:].isdigit() else 0)
    lines = [line for one in oldest_first for line in one.read_bytes().splitlines()]
    assert len(set(map(of, lines))) == 4
    for chain in set(map(of, lines)):  # the last to close has been named when the other closed
        assert f"chain {chain} is missing" in why(found(without(chain, lines)))


def of(line: bytes) -> str:
    link = read(line)
    assert link is not None
    return link.chain


def without(chain: str, lines: Lines) -> Lines:
    return [line for line in lines if of(line) != chain]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.data())
def test_a_chain_that_is_removed_whole_is_found_where_a_later_line_names_it(
    sizes: list[int], data: st.DataObject
) -> None:
    lines = chained(*sizes)
    chain = data.draw(st.sampled_from([of(line) for line in lines]))
    left = found(without(chain, lines))
    named = any(head.chain == chain for line in lines if (link := read(line)) for head in link.after)
    assert named or chain == of(lines[-1])
    if named:
        assert f"chain {chain} is missing" in why(left)
    else:
        assert left.bad is None
    assert [end.link.chain for end in found(lines).ends] == [of(lines[-1])]
    assert [end.link.head for end in found(lines).ends] == [head_of_last(lines)]


def head_of_last(lines: Lines) -> Head:
    link = read(lines[-1])
    assert link is not None
    return link.head


def test_a_head_that_was_noted_must_be_there() -> None:
    older, newer = chained(2), chained(3)
    head = head_of_last(older)
    assert verify([[*older, *newer]], [KEY], heads=[head]).missing == ""
    assert "2 lines or more" not in verify([newer], [KEY], heads=[head]).missing
    assert f"chain {head.chain} is missing, with 3 lines or more" in verify([newer], [KEY], heads=[head]).missing
    assert "1 line of its chain is missing" in verify([older[:-1]], [KEY], heads=[head]).missing
    assert "another line" in verify([older], [KEY], heads=[Head(head.chain, head.seq, "0" * 16)]).missing


def test_what_a_chain_of_one_line_wrote_is_named_by_a_server_that_runs_on(tmp_path: Path) -> None:
    path, now = tmp_path / "audit.jsonl", [0.0]
    server = Chain(KEY, Heads(path), clock=lambda: now[0])

    def append(by: Chain, *lines: bytes) -> None:
        with path.open("ab") as file:
            file.write(by_lines(by, *lines))

    append(server, b'{"time":1}')
    revoke = Chain(KEY, Heads(path))
    append(revoke, b'{"time":1,"why":"lost"}', CLOSED)
    append(server, b'{"time":2}')
    lines = path.read_bytes().splitlines()
    assert found(without(of(lines[1]), lines)).bad is None  # nothing names it yet, and that is told:
    assert [end.place.line for end in found(lines).ends] == [3, 4]
    now[0] += LOOK_S
    append(server, b'{"time":3}', b'{"time":3}')
    lines = path.read_bytes().splitlines()
    assert f"chain {of(lines[1])} is missing, with 2 lines" in why(found(without(of(lines[1]), lines)))
    assert [bool(read(line).after) for line in lines] == [False, True, False, False, True, False]  # type: ignore[union-attr]


def test_heads_are_read_once_through_rotations_and_never_from_what_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    heads = Heads(path)
    assert heads() == []
    one, two, three = chained(1), chained(1), chained(1)
    whole = b"\n".join(one) + b"\n"
    path.write_bytes(whole + two[0][:40])
    assert [link.chain for link in heads()] == [of(one[0])]
    assert heads() == []
    path.write_bytes(whole + b"\n".join(two) + b"\n")
    path.rename(tmp_path / "audit.jsonl.1")
    path.write_bytes(b"\n".join(three) + b"\n")
    assert [link.chain for link in heads()] == [of(two[0]), of(three[0])]
    assert heads() == []
    path.unlink()
    os.mkfifo(path)
    assert [link.chain for link in Heads(path)()] == [of(one[0]), of(two[0])]


def test_heads_keep_no_descriptor_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl.1").mkdir()
    assert Heads(tmp_path / "audit.jsonl")() == []
    assert not [one for one in Path("/proc/self/fd").iterdir() if one.resolve().is_relative_to(tmp_path)]


def test_the_chains_that_a_line_names_are_bounded() -> None:
    many = [Link(chain=f"{number:016x}", seq=0, prev="", mac="0" * 32) for number in range(MAX_NAMED + 9)]
    link = read(sealed(Chain(KEY, lambda: many), b'{"time":1}'))
    assert link is not None
    assert [head.chain for head in link.after] == [one.chain for one in many[-MAX_NAMED:]]


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
        (lambda data: data, ["--head", f"{'0' * 16}/1/{'0' * 16}"], 1, "--head: chain 0000000000000000 is missing"),
        (lambda data: data, ["--head", "one"], 2, "CHAIN/NUMBER/MAC"),
        (lambda data: data, [], 0, "audit.jsonl:4: no later line names this one, of 20"),
        (lambda _: b"", [], 2, "nothing was verified"),
        (lambda _: b"", ["--closed"], 2, "nothing was verified"),
        (lambda _: b'{"time":0}\n', ["--partial"], 2, "nothing was verified"),
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
    contents = {"audit.jsonl": b"", "key": b"\n", "none": b"[]", "short": b"short", "odd": b"\xff" * 40}
    for name, content in contents.items():
        Path(name).write_bytes(content)
    for environment, options, said in (
        ({}, [], "without a key"),
        ({"MCP_AUDIT_CHAIN": "short"}, [], "at least 32 characters"),
        ({}, ["--key-file", "key"], "must name one at least"),
        ({}, ["--key-file", "none"], "must name one at least"),
        ({}, ["--key-file", "short"], "at least 32 characters"),
        ({}, ["--key-file", "odd"], "is not UTF-8"),
    ):
        result = CliRunner(env=environment).invoke(main, ["audit", "verify", "audit.jsonl", *options])
        assert (result.exit_code, said in result.output) == (2, True), result.output


@pytest.mark.parametrize(
    "form", ["{0}", "{1} {0}\n", "{1},{0}", '["{1}", "{0}"]', "\ufeff{0}", "{1},\n" * 2000 + "{0}"]
)
def test_a_file_of_keys_is_read_as_the_setting_is(form: str, tmp_path: Path) -> None:
    """A server that has the file by MCP_AUDIT_CHAIN_FILE would else be told that its lines were changed."""
    (key := tmp_path / "key").write_text(form.format(KEY.decode(), "j" * 40), "utf-8")
    (file := tmp_path / "audit.jsonl").write_bytes(b"".join(one + b"\n" for one in chained(2)))
    by_file = CliRunner().invoke(main, ["audit", "verify", str(file), "--key-file", str(key)])
    by_setting = CliRunner(env={"MCP_AUDIT_CHAIN_FILE": str(key)}).invoke(main, ["audit", "verify", str(file)])
    assert (by_file.exit_code, by_file.output) == (0, by_setting.output)


@pytest.mark.parametrize("copy", ["aaa.jsonl", "copy.jsonl"])
def test_a_copy_of_the_newest_file_stands_behind_the_rotated_ones(copy: str, tmp_path: Path) -> None:
    (key := tmp_path / "key").write_bytes(KEY)
    lines = list(chained(6))
    for name, some in {"audit.jsonl.2": lines[:2], "audit.jsonl.1": lines[2:4], copy: lines[4:]}.items():
        (tmp_path / name).write_bytes(b"".join(one + b"\n" for one in some))
    files = [str(tmp_path / name) for name in ("audit.jsonl.1", copy, "audit.jsonl.2")]
    found = CliRunner().invoke(main, ["audit", "verify", *files, "--key-file", str(key)])
    assert (found.exit_code, found.output.splitlines()[0]) == (0, f"{len(lines)} lines are as they were written")


def test_an_empty_file_among_others_and_many_ends_are_told(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(KEY)
    (tmp_path / "audit.jsonl.1").write_bytes(b"".join(one + b"\n" for _ in range(10) for one in chained(1)))
    (tmp_path / "audit.jsonl").touch()
    files = [str(tmp_path / name) for name in ("audit.jsonl", "audit.jsonl.1")]
    result = CliRunner().invoke(main, ["audit", "verify", *files, "--key-file", str(key)])
    assert result.exit_code == 0
    assert "audit.jsonl is empty" in result.output
    assert result.output.count("no later line names") == 8
    assert "nor 2 more" in result.output
    noted = result.output.partition("--head ")[2].split()[0]
    again = CliRunner().invoke(main, ["audit", "verify", *files, "--key-file", str(key), "--head", noted])
    assert again.exit_code == 0, again.output
