"""Three hundred documents that people wrote: each becomes tools that break no rule, and calls that arrive as meant."""

from pathlib import Path

import pytest

from tests.corpus import cache
from tests.corpus.job import Calls, imported

LISTED = Path(__file__).with_name("three_hundred.txt").read_text().splitlines()
BATCHES = 10


@pytest.mark.parametrize("batch", range(BATCHES))
def test_documents_of_the_directory_become_tools_that_can_be_called(batch: int) -> None:
    folder = cache.folder(cache.DIRECTORY) / "api"
    found, calls, tools = list[str](), Calls(), 0
    for name in LISTED[batch::BATCHES]:
        result = imported(name, (folder / name).read_bytes())
        calls.checked, tools = calls.checked + result.calls.checked, tools + result.counted.tools
        problems = [*result.broken, *result.calls.wrong, *filter(None, [result.crashed, result.refused])]
        found += [f"{name}: {one}" for one in problems]
    assert found == []
    assert calls.checked > 0.9 * tools > 50


def test_the_list_is_what_it_says() -> None:
    assert len({*LISTED}) == 300
