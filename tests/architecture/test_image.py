"""What the image has of devstack is enough for itself: a container that lacks a module ends as it starts."""

import ast
import re
from pathlib import Path

from tests.architecture.source import ROOT

COPIED = re.compile(r"^COPY ((?:devstack/\S+ )+)devstack/", re.MULTILINE)
DOCKERFILE = ROOT / "devstack" / "docker" / "Dockerfile"


def imported(path: Path) -> set[str]:
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("devstack"):
            found |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names if one.name.startswith("devstack")}
    return found


def test_what_is_copied_imports_nothing_that_is_not() -> None:
    copied = [ROOT / one for line in COPIED.findall(DOCKERFILE.read_text("utf-8")) for one in line.split()]
    modules = {one for place in copied for one in (place.rglob("*.py") if place.is_dir() else [place])}
    names = {".".join(one.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for one in modules}
    assert len(names) > 10
    lacking = {
        f"{module.relative_to(ROOT)}: {name}"
        for module in modules
        for name in imported(module)
        if name not in names and (ROOT / name.replace(".", "/")).with_suffix(".py").exists()
    }
    assert lacking == set()
