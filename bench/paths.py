"""Where the benchmark keeps its sources, its builds and its results."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PEERS: Final = ROOT / "bench" / "peers"
BUILD: Final = ROOT / "bench" / ".build"
RESULTS: Final = ROOT / "bench" / "results"
