"""Each target on its corpus and on mutations of it; a finding of `make fuzz` becomes a file there, and stays mended."""

import contextlib
import random

import pytest

from mcp_server.auth.refusals import AccessDeniedError
from mcp_server.auth.tokens import profile
from tests.fuzz import credentials, mutations
from tests.fuzz.pieces import NOW, SEPARATOR
from tests.fuzz.targets import CORPUS, TARGETS

EXAMPLES = {"document": 60, "environment": 30, "line": 100}
"""Of the dear ones; 300 of the others."""
MAX_COMMITTED = 16 * 1024


def inputs(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    known = inputs(name)
    assert 2 <= len(known) <= 60
    for one in known:
        assert len(one) <= MAX_COMMITTED
        TARGETS[name](one)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_of_the_corpus(name: str) -> None:
    """The same ones in each run: what fails here fails again, and what is new is for `make fuzz` to find."""
    known, chance = inputs(name), random.Random(name)
    for number in range(EXAMPLES.get(name, 300)):
        one = mutated(known, chance)
        try:
            TARGETS[name](one)
        except Exception as error:
            raise AssertionError(f"{name}, mutation {number}: {one!r}") from error


def mutated(known: list[bytes], chance: random.Random) -> bytes:
    """One of the corpus, changed in its JSON where it has some, else in its bytes."""
    changed = mutations.of_json(chance.choice(known), chance) if chance.random() < 0.6 else None
    return mutations.of_bytes(known, chance) if changed is None else changed


def test_every_folder_has_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == TARGETS.keys()


@pytest.mark.parametrize(("name", "accepted"), [("good", True), ("rfc9068", True), ("bound", True), ("id", False)])
def test_the_corpus_gets_as_far_as_a_signature(name: str, accepted: bool) -> None:
    """A target whose seeds are refused at the door finds nothing behind it."""
    header, payload = (CORPUS / "claims" / name).read_bytes().split(SEPARATOR)
    whole = credentials.signed(header, payload, credentials.SIGNER)
    with contextlib.suppress(AccessDeniedError):
        profile.verify(profile.open_token(whole, credentials.POLICIES), credentials.SIGNER, now=NOW)
        assert accepted
        return
    assert not accepted
