"""One target under atheris: `python -m tests.fuzz.run NAME [options of libFuzzer]`."""

import random
import sys
from importlib import import_module

import atheris

from tests.fuzz import mutations


def main() -> None:
    """The product is instrumented while it is imported, so nothing of it may be imported before."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["mcp_server"]):
        target = import_module("tests.fuzz.targets").TARGETS[name]
    atheris.Setup(sys.argv, target, custom_mutator=_mutated)
    atheris.Fuzz()


def _mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """Every other input as libFuzzer changes it, the others in their JSON."""
    chance = random.Random(seed)
    changed = mutations.of_json(data, chance) if chance.random() < 0.5 else None
    if changed is None or len(changed) > max_size:
        found: bytes = atheris.Mutate(data, len(data))
        return found[:max_size]
    return changed


if __name__ == "__main__":
    main()
