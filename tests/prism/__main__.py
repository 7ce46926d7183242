"""`make prism`: calls of a sample of the corpus, through our client and a socket, to Stoplight's mock of each document.

It is the second opinion beside `kit.wire_reader`: a reader of documents that we did not write. What it finds wrong is
printed, and counted by kind; ends with 1 where a request is wrong for a reason that `KNOWN` does not explain.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.client import Limits, UpstreamClient
from mcp_server.rest.document import read, source_of
from mcp_server.rest.model import UpstreamFault, WireAnswer
from mcp_server.rest.offer.offered import Offer, Offered
from mcp_server.rest.offer.plan import plan
from mcp_server.rest.wire.address import Base, base_of, request
from tests.corpus import cache
from tests.corpus.job import CONFIG
from tests.kit.stack import free_port, listens, until
from tests.kit.values import PLAIN, NoValue, Values

ROOT: Final = Path(__file__).parents[2]
PRISM: Final = Path(__file__).parent / "node_modules" / ".bin" / "prism"
LISTED: Final = (ROOT / "tests" / "corpus" / "three_hundred.txt").read_text().splitlines()
READY_S: Final = 120
OF_ANSWERS: Final = frozenset({"NO_COMPLEX_OBJECT_TEXT", "NO_RESPONSE_DEFINED", "NOT_ACCEPTABLE", "UNKNOWN"})
"""Problems that the mock has with making an answer: the request was taken."""
_PART_OF_JSON: Final = "a part of application/json (OAS 3.0.4 §4.7.15.1) is JSON; it reads each part as a text"
KNOWN: Final = {
    (
        "evemarketer.com.json",
        "typeid",
    ): "an array in multipart is a part for each item (OAS 3.0.4 §4.7.15); it sees the last",
    ("nrm.se/georg.json", "formData"): _PART_OF_JSON,
    ("nrm.se/georg.json", "parts"): _PART_OF_JSON,
    ("gov.bc.ca/jobposting.json", "jobTypes"): "an integer by its type, a list by its enum: the document's",
    ("urlbox.io.json", "oneOf"): "all properties at once are in two of the alternatives: our values'",
}
"""What it says against a request that is right, by document and a word of it; looked at by a person."""


class Found(msgspec.Struct):
    """What came of one document: calls that were made, and what the mock says against them."""

    name: str
    asked: int = 0
    no_value: int = 0
    wrong: list[str] = msgspec.field(default_factory=list)
    silent: str = ""
    """Why the mock did not start."""


@contextlib.asynccontextmanager
async def mocked(document: dict[str, Any], folder: Path) -> AsyncIterator[Base]:
    """The mock of a document; raises `TimeoutError` where it does not start."""
    port = free_port()
    file = folder / f"{port}.json"
    file.write_bytes(msgspec.json.encode(document))
    command = (str(PRISM), "mock", "--port", str(port), "--verboseLevel", "fatal", str(file))
    with (folder / f"{port}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, env=dict(os.environ))
    try:

        async def is_up() -> bool:
            if process.returncode is not None:
                raise TimeoutError((folder / f"{port}.log").read_text()[:300])
            return await listens(port)

        await until(is_up, READY_S)
        yield base_of(f"http://127.0.0.1:{port}", private=True)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def asked_of(name: str, folder: Path, most: int) -> Found:
    """Some calls of one document's tools."""
    found, data = Found(name), (cache.folder(cache.DIRECTORY) / "api" / name).read_bytes()
    offered = _offered(name)
    offers = offered.offers[:: max(1, len(offered.offers) // most)][:most]
    try:
        async with mocked(without_security(msgspec.json.decode(data)), folder) as base:
            async with UpstreamClient([base], Limits(attempts=1)) as client:
                for offer in offers:
                    await _ask(found, offer, client, base, offered.document.definitions)
    except TimeoutError as error:
        found.silent = str(error) or "not within the time"
    return found


def without_security(document: dict[str, Any]) -> dict[str, Any]:
    """Credentials are no arguments: what the document says of them is not asked about here."""
    document.pop("security", None)
    for item in (document.get("paths") or {}).values():
        for one in (item, *item.values()) if isinstance(item, dict) else ():
            if isinstance(one, dict):
                one.pop("security", None)
                one["parameters"] = [asked for asked in one.get("parameters") or () if not _is_credential(asked)]
    return document


def _is_credential(parameter: dict[str, Any]) -> bool:
    return parameter.get("in") == "header" and str(parameter.get("name")).lower() == "authorization"


async def _ask(found: Found, offer: Offer, client: UpstreamClient, base: Base, definitions: Any) -> None:
    try:
        arguments = Values(offer.arguments.schema_object(), PLAIN).value()
        sent = request(offer.operation, offer.arguments.values(arguments), base, definitions)
    except (NoValue, BadArguments):
        found.no_value += 1
        return
    found.asked += 1
    try:
        answer = await client.send(sent, deadline_s=30, max_bytes=10_000_000)
    except UpstreamFault as fault:
        found.wrong.append(f"{offer.name}: no answer: {fault}")
        return
    found.wrong += [f"{offer.name} ({sent.method} {sent.url}): {one}" for one in against(answer)]


def against(answer: WireAnswer) -> list[str]:
    """What the mock says is wrong with the request."""
    violations = json.loads(answer.headers.get("sl-violations", "[]"))
    of_request = [one for one in violations if one["location"][:1] == ["request"]]
    told = [f"{one['code']} at {'/'.join(map(str, one['location']))}: {one['message']}" for one in of_request]
    if "problem+json" in answer.headers.get("content-type", "") and b"stoplight.io/prism" in answer.body:
        problem = json.loads(answer.body)
        kind = problem["type"].rpartition("#")[2]
        if kind not in OF_ANSWERS:
            details = [
                f"{'/'.join(map(str, one['location']))}: {one['message']}" for one in problem.get("validation", ())
            ]
            told += [f"{kind}: {text}"[:300] for text in details or [problem["detail"]]]
    return told


def _is_known(name: str, text: str) -> bool:
    return any(name == document and word in text for document, word in KNOWN)


def _sample(documents: int, calls: int) -> list[str]:
    """Documents of the list, from all over it, each with half as many tools at least."""
    names = (name for start in range(10) for name in LISTED[start::10])
    return list(itertools.islice((name for name in names if len(_offered(name).offers) >= calls / 2), documents))


def _offered(name: str) -> Offered:
    data = (cache.folder(cache.DIRECTORY) / "api" / name).read_bytes()
    return plan(read(source_of(data, f"file:///corpus/{name}")), CONFIG)


async def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.prism", description=__doc__)
    asked.add_argument("--documents", type=int, default=30)
    asked.add_argument("--calls", type=int, default=10, help="of each document")
    asked.add_argument("--at-once", type=int, default=2)
    options = asked.parse_args()
    names = _sample(options.documents, options.calls)
    places = asyncio.Semaphore(options.at_once)
    with tempfile.TemporaryDirectory() as folder:

        async def one(name: str) -> Found:
            async with places:
                found = await asked_of(name, Path(folder), options.calls)
                print(f"{name}: {found.asked} asked, {len(found.wrong)} wrong {found.silent}", file=sys.stderr)
                return found

        results = await asyncio.gather(*map(one, names))
    total = sum(
        (Counter(asked=one.asked, no_value=one.no_value, silent=bool(one.silent)) for one in results), Counter()
    )
    wrong = [f"{one.name}: {text}" for one in results for text in one.wrong if not _is_known(one.name, text)]
    known = sum(len(one.wrong) for one in results) - len(wrong)
    print(f"documents {len(results)}, of which the mock did not take {total['silent']}")
    print(
        f"calls {total['asked']}, without a value for the schema {total['no_value']}; against them {len(wrong)}, and {known} known"
    )
    print("\n".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
