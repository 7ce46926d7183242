"""One target under atheris: `python -m tests.fuzz.run NAME [options of libFuzzer]`."""

import sys
from importlib import import_module

import atheris


def main() -> None:
    """The product is instrumented while it is imported, so nothing of it may be imported before."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["mcp_server"]):
        target = import_module("tests.fuzz.targets").TARGETS[name]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
