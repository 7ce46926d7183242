"""What a list of tools costs a model, in tokens that are estimated: bytes of UTF-8 through 3.5, rounded up.

No tokenizer is the client's, and the good ones download tables; what is needed is which list fits and which tool is
the heavy one.
"""

import math
from collections.abc import Mapping
from typing import Final

from mcp_server.rest.offer.config import Listing

BYTES_PER_TOKEN: Final = 3.5
MOST_TOKENS: Final = 10_000
MOST_TOOLS: Final = 100
HEAVIEST: Final = 10


def tokens(size: int) -> int:
    """About how many tokens so many bytes are."""
    return math.ceil(size / BYTES_PER_TOKEN)


def is_search(listing: Listing, tools: int, size: int) -> bool:
    """Whether a list shows search tools in place of so many tools that cost so many tokens.

    It must not vary by client, so it is the operator's word, and `auto` is what fits a model that has no search.
    """
    return listing == "search" or (listing == "auto" and (size > MOST_TOKENS or tools > MOST_TOOLS))


def heaviest(cost: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """The tools that cost the most, with their tokens; alike ones by their names."""
    return tuple(sorted(cost.items(), key=lambda item: (-item[1], item[0]))[:HEAVIEST])
