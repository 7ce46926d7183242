"""The log of a running server, read as it grows."""

import json
from pathlib import Path
from typing import Any, Final

TAKEN: Final = "a setting has changed, and the new one is in use"
UNUSABLE: Final = "the settings cannot be used; the workers stay as they are"


class ServerLog:
    """What it has told of settings so far."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        self.taken: dict[str, int] = {}
        """How many workers have taken a setting over, each as often as it was changed."""
        self.problems: list[list[str]] = []
        """The lines of each reading that could not be used."""

    def look(self) -> None:
        """Read what is new; a line that is being written is for the next look."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            if line.startswith(b"{") and b"setting" in line:
                self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        if line.get("event") == TAKEN:
            self.taken[line["setting"]] = self.taken.get(line["setting"], 0) + 1
        elif line.get("event") == UNUSABLE:
            self.problems.append(line["problems"])
