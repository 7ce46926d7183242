"""All places of secrets at once, each named to the same server: five managers, and a folder as Kubernetes mounts it."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.kit.certificates import self_signed
from tests.kit.managers.aws import Aws
from tests.kit.managers.cases import CASES
from tests.kit.managers.server import HOST, Fault, Manager, listening

MOUNTED: Final = "folder"
PLACES: Final = (*CASES, MOUNTED)
FILLER: Final = {"MCP_PORT": "1"}
"""No manager may be empty; what stands above it, in the environment, counts."""


class Places:
    """Where each secret is; it is moved before it is changed, so that it is somewhere at any moment."""

    def __init__(self, folder: Path, certificate: Path, managers: Mapping[str, Manager]) -> None:
        self.certificate, self.managers = certificate, managers
        self.mounted = folder / "mounted"
        self._folder, self._versions = folder, 0
        self._held: dict[str, dict[str, str]] = {name: {} for name in PLACES}
        for name in PLACES:
            self._write(name)

    @property
    def words(self) -> str:
        """What `MCP_SECRETS` says."""
        return " ".join(
            CASES[name].words[0].format(host=one.host, folder=self._folder) for name, one in self.managers.items()
        )

    def put(self, place: str, setting: str, text: str) -> None:
        """Have it there, beside wherever it is."""
        self._held[place][setting] = text
        self._write(place)

    def only(self, place: str, setting: str) -> None:
        """Have it nowhere else."""
        for name, held in self._held.items():
            if name != place and held.pop(setting, None) is not None:
                self._write(name)

    def fault(self, faults: Mapping[str, Fault]) -> None:
        """What is wrong with each manager; nothing where none is named."""
        for name, manager in self.managers.items():
            manager.fault = faults.get(name, "")

    def _write(self, place: str) -> None:
        held = dict(self._held[place])
        if place != MOUNTED:
            self.managers[place].secrets = FILLER | held
            return
        self._versions += 1
        new = self.mounted.with_name(f"version-{self._versions}")
        new.mkdir()
        for setting, text in held.items():
            (new / setting).write_text(text)
        link = self.mounted.with_name("next")
        link.symlink_to(new)
        link.replace(self.mounted)


@contextlib.contextmanager
def running_places(folder: Path) -> Iterator[tuple[Places, dict[str, str]]]:
    """All of them by one certificate, and the environment that their clients want."""
    files = self_signed(folder, HOST)
    with contextlib.ExitStack() as stack:
        managers = {name: stack.enter_context(listening(case.make, files)) for name, case in CASES.items()}
        tokens = stack.enter_context(listening(Aws, files))
        environment: dict[str, str] = {}
        for manager in managers.values():
            environment |= manager.environment(folder)
        # Two of AWS's services are two places here, and who gives both their tokens has no faults of theirs.
        del environment["AWS_ENDPOINT_URL"]
        environment |= {
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"https://{managers['aws'].host}",
            "AWS_ENDPOINT_URL_SSM": f"https://{managers['ssm'].host}",
            "AWS_ENDPOINT_URL_STS": f"https://{tokens.host}",
        }
        yield Places(folder, files[0], managers), environment
