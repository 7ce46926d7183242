"""What came of an answer without end, and what is nested deeply: read up to bounds, for the loop serves everybody."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from mcp_server import McpServer
from mcp_server.rest.model import WireAnswer
from mcp_server.rest.wire import answers, cuts, media
from tests.kit.contexts import context
from tests.kit.imports import document, get, imported
from tests.kit.upstreams import answers as answering
from tests.kit.upstreams import api
from tests.unit.rest.wire.test_answers import answer, both, read, text_of

MANY = media.MAX_STREAM
TINY = [
    ("application/x-ndjson", b"", b"1\n"),
    ("application/x-ndjson", b"", b"x\n"),
    ("text/event-stream", b"", b"data:1\n\n"),
    ("application/json", b"[", b"1,"),
    ("application/json", b"", b"{}"),
    ("application/json", b"[", b"[[]],"),
    ("", b"[", b'"a",'),
]


def partial(kind: str, head: bytes, piece: bytes, size: int = MANY) -> WireAnswer:
    body = head + piece * (size // len(piece))
    return WireAnswer(status=200, headers={"content-type": kind} if kind else {}, body=body, cut=True)


def counting(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[bytes]:
    """What a function is called with from now on."""
    seen: list[bytes] = []
    act: Callable[..., Any] = getattr(module, name)

    def counted(*given: Any) -> Any:
        seen.append(given[0])
        return act(*given)

    monkeypatch.setattr(module, name, counted)
    return seen


@pytest.mark.parametrize(("kind", "head", "piece"), TINY)
def test_the_first_item_tells_that_a_part_is_of_use(
    kind: str, head: bytes, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, values = counting(monkeypatch, media, "_item"), counting(monkeypatch, media, "_value")
    assert media.of_use(partial(kind, head, piece))
    assert (len(items), len(values) <= 1) == (0, True)


@pytest.mark.parametrize(("kind", "head", "piece"), TINY)
def test_tiny_items_are_read_up_to_a_number(
    kind: str, head: bytes, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, values = counting(monkeypatch, media, "_item"), counting(monkeypatch, media, "_value")
    found = both(read(partial(kind, head, piece)))
    assert len(items) == media.MAX_ITEMS
    assert len(values) <= media.MAX_ITEMS
    assert found["_cut"]["more"] == "the answer went on for longer than is read"


@pytest.mark.parametrize(("end", "more"), [("", False), ("\n", False), ("\n\n \n", False), ("\n1", True)])
def test_more_than_so_many_items_are_told_of_though_the_answer_is_whole(end: str, more: bool) -> None:
    body = "\n".join(["1"] * media.MAX_ITEMS) + end
    found, cut = media.items(answer(body.encode(), kind="application/x-ndjson"))
    assert (json.loads(found), cut) == ([1] * media.MAX_ITEMS, more)
    told = json.loads(text_of(read(answer(body.encode(), kind="application/x-ndjson"), max_bytes=10**6)))
    assert ("_cut" in told) is more


@pytest.mark.parametrize("blank", [b"\n", b"\x1e\n", b"\r\n"])
def test_blank_lines_are_no_items(blank: bytes) -> None:
    """Some APIs send them to keep a connection open."""
    body = b"1\n" + blank * (2 * media.MAX_ITEMS) + b"2\n"
    assert media.items(answer(body, kind="application/x-ndjson")) == (b"[1,2]", False)


@pytest.mark.parametrize(
    ("kind", "size", "cut", "there"),
    [
        ("application/json", 16 * 1024, True, True),
        ("application/json", 16 * 1024 + 2, True, False),
        ("application/x-ndjson", 16 * 1024 + 2, False, False),
        ("application/json", 16 * 1024 + 2, False, True),
        ("application/json", 256 * 1024, False, True),
        ("application/json", 256 * 1024 + 2, False, False),
    ],
)
def test_a_long_answer_is_read_in_a_thread_and_one_of_items_sooner(
    kind: str, size: int, cut: bool, there: bool
) -> None:
    given = WireAnswer(status=200, headers={"content-type": kind}, body=b"1\n" * (size // 2), cut=cut)
    assert answers.is_quick(given) is there


@pytest.mark.parametrize(("item", "there"), [(b"1", False), (b"[]", False), (b'{"id": 17, "name": "x"}', True)])
def test_one_of_very_many_parts_is_read_in_a_thread_though_it_is_short(item: bytes, there: bool) -> None:
    """A list of digits takes ten times as long to cut as one of objects of as many bytes."""
    body = b"[" + b",".join([item] * (200_000 // (len(item) + 1))) + b"]"
    given = WireAnswer(status=200, headers={"content-type": "application/json"}, body=body)
    assert answers.is_quick(given) is there


@pytest.mark.parametrize(("size", "here"), [(1_000, True), (20_000, False)])
async def test_the_loop_reads_no_long_answer_of_items(
    size: int, here: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "doc.json").write_bytes(document({"/orders": get("list_orders")}))
    threads: list[bool] = []
    result = answers.result

    def seen(*given: Any) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return result(*given)

    monkeypatch.setattr(answers, "result", seen)
    server = McpServer("s")
    async with api(answering(body=b"1\n" * (size // 2), content_type="application/x-ndjson")) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        async with imported(server, tmp_path / "doc.json", url, identity={"mode": "none"}):
            tool = server.tools["list_orders"]
            await tool.call(tool.decode(Raw(b"{}")), context)
    assert threads == [here]


# nested answers


def nested(depth: int, size: int, *, of_objects: bool) -> bytes:
    opened, closed = (b'{"a":', b"}") if of_objects else (b"[", b"]")
    return opened * depth + b'"' + b"x" * size + b'"' + closed * depth


def test_a_nested_answer_is_cut_by_a_bound_of_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each level reads all that is below it: 900 levels of 8 MB took seconds, and then said nothing."""
    members, items = counting(monkeypatch, cuts, "_members"), counting(monkeypatch, cuts, "_items")
    for of_objects in (False, True):
        for depth in (100, 900):
            body = nested(depth, 50_000, of_objects=of_objects)
            members.clear()
            items.clear()
            shown, lacks = cuts.cut(body, 10_000)
            assert sum(map(len, members + items)) <= (cuts.MAX_DEPTH + 1) * len(body)
            assert json.loads(shown)
            assert (lacks[0].shown, lacks[0].of) == (0, 1)


def test_a_nested_part_is_dropped_whole_and_the_others_are_told() -> None:
    deep = json.loads(nested(60, 50_000, of_objects=True))
    found = both(read(answer({"id": 7, "deep": deep, "name": "n"}), max_bytes=4_000))
    assert (found["id"], found["name"]) == (7, "n")
    assert (found["_cut"]["shown"], found["_cut"]["of"], found["_cut"]["unit"]) == (0, 1, "members")
    part, depth = found["deep"], 0
    while part:
        part, depth = part["a"], depth + 1
    assert depth == cuts.MAX_DEPTH - 1


@pytest.mark.parametrize("body", [b"1" * 30_000, b"[" + b"1" * 30_000 + b"]", b'{"n":' + b"-1." + b"1" * 30_000 + b"}"])
def test_a_number_that_is_too_long_is_cut_as_a_text(body: bytes) -> None:
    found = both(read(answer(body)))
    assert "111…" in json.dumps(found, ensure_ascii=False)
    assert found["_cut"]["unit"] == "characters"
