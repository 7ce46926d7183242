import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from mcp_server.rest.document import read
from mcp_server.rest.importing.loader import Fetch, Loading, load
from mcp_server.rest.model import UnusableDocument, UpstreamFault

MAIN = b"openapi: 3.1.0\npaths: {/a: {get: {parameters: [{name: p, in: query, schema: {$ref: '%s'}}]}}}\n"


def fetching(bodies: Mapping[str, bytes], asked: list[str]) -> Fetch:
    async def fetch(url: str, most: int) -> bytes:
        asked.append(url)
        if url not in bodies:
            raise UpstreamFault("unreachable", "no connection", sent=False)
        return bodies[url][: most + 1]

    return fetch


nobody = fetching({}, [])


def referring(to: str) -> bytes:
    return MAIN % to.encode()


async def fault_of(folder: Path, ref: str, loading: Loading | None = None, fetch: Fetch = nobody) -> str:
    main = folder / "openapi.yaml"
    main.write_bytes(referring(ref))
    document = read(await load(str(main), fetch, loading))
    assert len(document.operations) == 1, "the rest is imported"
    return document.faults[0].text if document.faults else ""


async def test_files_below_the_documents_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a b.yaml").write_bytes(b"$ref: ../more.json")
    (tmp_path / "more.json").write_bytes(b'{"type": "integer"}')
    assert await fault_of(tmp_path, "parts/a%20b.yaml") == ""
    source = await load(str(tmp_path / "openapi.yaml"), nobody)
    assert set(read(source).definitions) == {"a_20b", "more"}
    assert len(source.digests) == 3


@pytest.mark.parametrize(
    "ref",
    [
        "../secret.yaml",
        "parts/../../secret.yaml",
        "%2e%2e/secret.yaml",
        "link.yaml",
        "linked/secret.yaml",
        "/etc/hostname",
        "file:///etc/hostname",
        "file://host/etc/hostname",
    ],
)
async def test_nothing_outside_of_the_folder_is_read_even_by_a_link(tmp_path: Path, ref: str) -> None:
    inside = tmp_path / "api"
    inside.mkdir()
    secret = tmp_path / "secret.yaml"
    secret.write_bytes(b"const: secret")
    (inside / "link.yaml").symlink_to(secret)
    (inside / "linked").symlink_to(tmp_path)
    told = await fault_of(inside, ref)
    assert "below the document's folder" in told or "beside the document" in told


async def test_links_within_the_folder_are_followed_as_mounted_volumes_have_them(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "openapi.yaml").write_bytes(referring("part.yaml"))
    (tmp_path / "..data" / "part.yaml").write_bytes(b"type: integer")
    for name in ("openapi.yaml", "part.yaml"):
        (tmp_path / name).symlink_to(tmp_path / "..data" / name)
    assert read(await load(str(tmp_path / "openapi.yaml"), nobody)).faults == ()


async def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "broken.yaml").write_bytes(b"a: [")
    for ref, said in (
        ("pipe", "no file"),
        ("circle", "no such file"),
        (".", "no file"),
        ("gone", "no such file"),
        ("a%00b", "no such file"),
        ("broken.yaml", "line 2"),
    ):
        assert said in await fault_of(tmp_path, ref)


@pytest.mark.parametrize(
    "ref",
    [
        "https://other.test/x.json",
        "http://named.test/x.json",
        "https://named.test@other.test/x",
        "http://127.0.0.1/x",
        "https://169.254.169.254/x",
        "//other.test/x",
        "ftp://named.test/x",
        "https://[",
        "data:,x",
    ],
)
async def test_no_address_is_asked_that_is_not_named(tmp_path: Path, ref: str) -> None:
    asked: list[str] = []
    assert await fault_of(tmp_path, ref, Loading(hosts=["named.test"]), fetching({}, asked))
    assert asked == []


async def test_a_named_host_is_asked(tmp_path: Path) -> None:
    asked: list[str] = []
    fetch = fetching({"https://named.test/x.json": b'{"type": "integer"}'}, asked)
    assert await fault_of(tmp_path, "https://named.test/x.json#/type", Loading(hosts=["named.test"]), fetch)
    assert asked == ["https://named.test/x.json"]
    told = await fault_of(tmp_path, "https://named.test/gone.json", Loading(hosts=["named.test"]), fetch)
    assert "could not be fetched: no connection" in told


async def test_a_document_at_an_address_may_refer_to_its_own_origin_and_to_no_file() -> None:
    bodies = {
        "https://api.test/v1/openapi.yaml": referring("parts/x.json"),
        "https://api.test/v1/parts/x.json": b'{"anyOf": [{"$ref": "/y.json"}, {"$ref": "file:///etc/hostname"}, {"$ref": "https://api.test:8443/z"}]}',
        "https://api.test/y.json": b'{"type": "integer"}',
    }
    asked: list[str] = []
    document = read(await load("https://api.test/v1/openapi.yaml", fetching(bodies, asked)))
    assert asked == list(bodies)
    assert len(document.faults) == 2
    assert document.definitions["y"] == {"type": "integer"}
    assert document.servers == ("https://api.test/",)


async def test_addresses_are_https_or_on_this_machine() -> None:
    asked: list[str] = []
    bodies = {"http://localhost:8100/openapi.yaml": referring("x.yaml"), "http://localhost:8100/x.yaml": b"{}"}
    fetch = fetching(bodies, asked)
    assert read(await load("http://localhost:8100/openapi.yaml", fetch)).faults == ()
    with pytest.raises(UnusableDocument, match="must be https"):
        await load("http://api.test/openapi.yaml", fetch)
    with pytest.raises(UnusableDocument, match="no connection"):
        await load("https://api.test/openapi.yaml", fetch)
    with pytest.raises(UnusableDocument, match="no address"):
        await load("https://[", fetch)


async def test_a_pinned_document_is_refused_when_it_is_another(tmp_path: Path) -> None:
    main = tmp_path / "openapi.yaml"
    main.write_bytes(referring("#/x"))
    digest = hashlib.sha256(main.read_bytes()).hexdigest()
    source = await load(str(main), nobody, Loading(sha256=digest.upper()))
    assert list(source.digests.values()) == [digest]
    with pytest.raises(UnusableDocument, match="is expected"):
        await load(str(main), nobody, Loading(sha256="0" * 64))


async def test_all_files_together_have_a_bound(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"type: integer" + b" " * 1000)
    assert "more than 1000 bytes" in await fault_of(tmp_path, "x.yaml", Loading(max_bytes=1000))
    with pytest.raises(UnusableDocument, match="more than 10 bytes"):
        await load(str(tmp_path / "openapi.yaml"), nobody, Loading(max_bytes=10))


async def test_a_document_has_so_many_files_and_no_more(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / f"{number}.yaml").write_bytes(f"$ref: {number + 1}.yaml".encode())
    assert "more than 500 files" in await fault_of(tmp_path, "0.yaml")


async def test_what_the_operator_names_is_there_or_nothing_is_imported(tmp_path: Path) -> None:
    main, over = tmp_path / "openapi.yaml", tmp_path / "overlay.yaml"
    with pytest.raises(UnusableDocument, match="no such file"):
        await load(str(main), nobody)
    main.write_bytes(referring("#/x"))
    with pytest.raises(UnusableDocument, match="no such file"):
        await load(str(main), nobody, Loading(overlays=[str(over)]))
    over.write_bytes(b"overlay: 1.0.0\nactions: [{target: $.paths, remove: true}]")
    with pytest.raises(UnusableDocument, match="more than 5"):
        await load(str(main), nobody, Loading(max_bytes=5))
    source = await load(str(main), nobody, Loading(overlays=[str(over)]))
    assert read(source).operations == ()
    assert len(source.digests) == 2


@pytest.mark.parametrize(
    ("second", "where", "told"), [(b"x: [", "overlay 2", "line 2, column 1"), (None, "overlay 2", "no such file")]
)
async def test_a_fault_of_an_overlay_is_told_as_its_own(
    tmp_path: Path, second: bytes | None, where: str, told: str
) -> None:
    (tmp_path / "openapi.yaml").write_bytes(referring("#/x"))
    (tmp_path / "first.yaml").write_bytes(b"overlay: 1.0.0\nactions: []")
    if second is not None:
        (tmp_path / "second.yaml").write_bytes(second)
    places = [str(tmp_path / name) for name in ("first.yaml", "second.yaml")]
    with pytest.raises(UnusableDocument) as refused:
        await load(str(tmp_path / "openapi.yaml"), nobody, Loading(overlays=places))
    fault = refused.value.fault
    assert (fault.pointer, told in fault.text, fault.text.count("second.yaml")) == (where, True, 1)


async def test_a_file_that_may_not_be_read_is_told_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = tmp_path / "openapi.yaml"
    main.write_bytes(referring("#/x"))

    def denied(*_: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)  # the tests run as root, whom no mode keeps out
    with pytest.raises(UnusableDocument, match="cannot be read: Permission denied"):
        await load(str(main), nobody)


@pytest.mark.parametrize("ref", ["https://files.test:99999/x.json", "https://files.test:abc/x.json"])
async def test_an_address_whose_port_is_none_costs_its_place_alone(tmp_path: Path, ref: str) -> None:
    async def asks(url: str, most: int) -> bytes:
        raise ValueError("a port of a URL")

    assert await fault_of(tmp_path, ref, Loading(hosts=frozenset({"files.test"})), asks)
