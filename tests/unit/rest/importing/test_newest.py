"""Whether there is another document: told by digests, and only when nobody is writing it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from mcp_server.rest.document.files import reading
from mcp_server.rest.importing import loader, snapshot
from mcp_server.rest.importing.loader import Loading
from mcp_server.rest.importing.newest import MOST_UNSETTLED, NewestDocument, Unsettled
from mcp_server.rest.model import UnusableDocument, UpstreamFault
from tests.kit.imports import document, get

PLACE = "https://api.test/openapi.json"
OLD, NEW = document({"/a": get("a")}), document({"/a": get("a"), "/b": get("b")})
REFERRING = b"openapi: 3.1.0\npaths: {/a: {get: {parameters: [{name: p, in: query, schema: {$ref: %b}}]}}}\n"


class Telling:
    """Answers with one text after another, the last one for ever; None is nobody there."""

    def __init__(self, *texts: bytes | None) -> None:
        self.texts: Sequence[bytes | None] = texts
        self.asked = 0

    async def fetch(self, url: str, most: int) -> bytes:
        assert url == PLACE
        text, self.texts = self.texts[0], self.texts[1:] or self.texts
        self.asked += 1
        if text is None:
            raise UpstreamFault("unreachable", "no connection", sent=False)
        return text


def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is decoded from now on."""
    found: list[bytes] = []

    def decode(data: bytes) -> reading.Parsed:
        found.append(data)
        return reading.decode(data)

    monkeypatch.setattr(loader, "decode", decode)
    return found


async def serving(address: Telling) -> NewestDocument:
    found = NewestDocument(PLACE, address.fetch, Loading(), 0)
    found.serve(await loader.load(PLACE, address.fetch))
    return found


async def test_what_has_not_changed_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = await serving(Telling(OLD))
    decoded = counted(monkeypatch)
    for _ in range(3):
        assert await newest.other() is None
    assert decoded == []


async def test_what_is_being_written_is_not_taken_though_it_could_be() -> None:
    newest = await serving(Telling(OLD, OLD[:40], OLD[:60], OLD, NEW, NEW, NEW))
    with pytest.raises(Unsettled):
        await newest.other()
    assert await newest.other() is None
    found = await newest.other()
    assert found is not None
    assert found.raw == {PLACE: NEW}
    newest.take()
    assert await newest.other() is None


async def test_what_is_another_one_each_time_is_told() -> None:
    newest = await serving(Telling(OLD, *(OLD + b" " * n for n in range(1, 40))))
    for _ in range(MOST_UNSETTLED - 1):
        with pytest.raises(Unsettled):
            await newest.other()
    with pytest.raises(UnusableDocument, match="another one each time"):
        await newest.other()


async def test_a_broken_one_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    address = Telling(OLD, b"{")
    newest = await serving(address)
    with pytest.raises(UnusableDocument) as first:
        await newest.other()
    decoded = counted(monkeypatch)
    with pytest.raises(UnusableDocument) as second:
        await newest.other()
    assert str(second.value) == str(first.value)
    assert decoded == []
    address.texts = [OLD]
    assert await newest.other() is None
    address.texts = [b"{"]
    with pytest.raises(UnusableDocument):
        await newest.other()


async def test_one_that_is_away_is_a_fault_until_it_is_back() -> None:
    address = Telling(OLD, None)
    newest = await serving(address)
    told = []
    for _ in range(3):
        with pytest.raises(UnusableDocument, match="could not be fetched: no connection") as caught:
            await newest.other()
        told.append(caught.value)
    assert len(set(map(id, told))) == 3  # the traceback of one that is raised each time grows as long as it is away
    address.texts = [OLD]
    assert await newest.other() is None


async def nobody(url: str, most: int) -> bytes:
    raise AssertionError(url)


async def test_a_part_that_is_away_takes_nothing_with_it(tmp_path: Path) -> None:
    main, part = tmp_path / "api.yaml", tmp_path / "part.yaml"
    main.write_bytes(REFERRING % b"part.yaml")
    part.write_text("type: integer")
    newest = NewestDocument(str(main), nobody, Loading(), 0)
    newest.serve(await loader.load(str(main), nobody))
    for text in (None, "{"):
        part.unlink() if text is None else part.write_text(text)
        with pytest.raises(UnusableDocument, match=r"part\.yaml"):
            await newest.other()
    part.write_text("type: string")
    assert await newest.other() is not None
    newest.take()
    assert await newest.other() is None


async def test_a_part_that_was_never_there_comes(tmp_path: Path) -> None:
    main, part = tmp_path / "api.yaml", tmp_path / "part.yaml"
    main.write_bytes(REFERRING % b"part.yaml")
    newest = NewestDocument(str(main), nobody, Loading(), 0)
    newest.serve(await loader.load(str(main), nobody))
    assert await newest.other() is None
    part.write_text("type: integer")
    found = await newest.other()
    assert found is not None
    assert not found.refused
    newest.take()
    main.write_bytes(REFERRING % b"more.yaml")  # refers to a file that it did not
    (tmp_path / "more.yaml").write_text("type: integer")
    assert await newest.other() is not None


async def test_of_more_files_than_are_read_nothing_changes_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "MAX_FILES", most := 3)
    for n in range(most + 2):
        (tmp_path / f"{n}.yaml").write_text("type: integer")
    refs = ", ".join(f"{{$ref: {n}.yaml}}" for n in range(most + 2))
    main = tmp_path / "api.yaml"
    main.write_bytes(REFERRING.replace(b"{$ref: %b}", b"{allOf: [%b]}") % refs.encode())
    newest = NewestDocument(str(main), nobody, Loading(), 0)
    source = await loader.load(str(main), nobody)
    assert source.refused
    newest.serve(source)
    assert await newest.other() is None


async def test_a_snapshot_is_the_same_document(tmp_path: Path) -> None:
    main, part = tmp_path / "api.yaml", tmp_path / "part.yaml"
    main.write_bytes(REFERRING % b"part.yaml")
    part.write_text("{")
    source = await loader.load(str(main), nobody)
    kept = snapshot.unpacked(snapshot.packed(snapshot.of(source)))
    part.unlink()
    main.unlink()
    again = await loader.replay(kept)
    assert (again.location, again.digests, again.refused) == (source.location, source.digests, source.refused)


@pytest.mark.parametrize("cut", [lambda data: data[:-9], lambda data: b"x" + data, lambda data: b""])
def test_what_is_no_snapshot_is_refused(cut: object) -> None:
    assert callable(cut)
    data = snapshot.packed(snapshot.DocumentFiles(location="a", files={"a": b"1"}))
    with pytest.raises(ValueError, match="it is"):
        snapshot.unpacked(cut(data))
