"""Workflows hold no more than they need, and run nothing that somebody else can change under its name.

The checks of OpenSSF Scorecard that a repository itself can show, as tests; what only a host or a network shows
(branch protection, review, contributors, known vulnerabilities) is listed in docs/supply-chain.md.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types here

from release import images
from tests.architecture.source import PRODUCT, ROOT, name_of

FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
WRITES = {
    ("release", "sign"): {"contents", "id-token", "attestations"},
    ("dependencies", "propose"): {"contents", "pull-requests"},
}
"""The jobs that may write, and what: neither runs code of this project."""
FOREIGN = re.compile(r"\$\{\{[^}]*\b(github\.(event|head_ref|ref_name|actor)|inputs|steps|needs)\b")
"""What somebody else can have written: in a script it would be run (script injection)."""
INSTALLS = re.compile(r"\b(?:pip install|npm (?:install|ci)|go install|curl|wget)\b.*")


def read(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    return found


def jobs() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path.stem, name, job) for path in WORKFLOWS for name, job in read(path)["jobs"].items()]


def steps() -> list[tuple[str, str, dict[str, Any]]]:
    return [(workflow, name, step) for workflow, name, job in jobs() for step in job["steps"]]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_there_are_those_for_changes_releases_fuzzing_and_dependencies() -> None:
    assert {path.stem for path in WORKFLOWS} == {"ci", "release", "fuzz", "dependencies"}
    assert ".ci/run" in (FOLDER / "workflows" / "ci.yml").read_text()


def test_token_permissions() -> None:
    """None by default, stated by each job, and to write only where it is listed here."""
    for path in WORKFLOWS:
        assert read(path)["permissions"] == {}, path.name
    for workflow, name, job in jobs():
        stated = job["permissions"]
        writing = {what for what, level in stated.items() if level != "read"}
        assert writing == WRITES.get((workflow, name), set()), (workflow, name)


def test_dangerous_workflow() -> None:
    """No trigger that gives a stranger's change the repository's token, no text of a stranger's in a script."""
    for path in WORKFLOWS:
        triggers = read(path)[True]  # YAML 1.1 reads `on` as a truth
        assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(triggers), path.name
        assert "secrets." not in path.read_text(), path.name
    for workflow, name, step in steps():
        assert not FOREIGN.search(step.get("run", "")), (workflow, name)
        if str(step.get("uses", "")).startswith("actions/checkout@"):
            kept = step["with"]["persist-credentials"]
            assert kept is ((workflow, name) == ("dependencies", "propose")), (workflow, name)


def test_what_may_write_runs_nothing_of_ours() -> None:
    """No make, no Python, no package: only what is pinned by its commit, git, gh and cosign."""
    for workflow, name, step in steps():
        if (workflow, name) in WRITES:
            assert not re.search(r"\b(make|python|pip|npm|bash|docker)\b", step.get("run", "")), (workflow, name)


def test_pinned_actions() -> None:
    """By commit, the release beside it; and each action in one version."""
    found: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for line in path.read_text().splitlines():
            if "uses:" in line:
                said = re.fullmatch(r"\s*(?:- )?uses: (\S+) # (v\d+\.\d+\.\d+)", line)
                assert said, line
                assert PINNED.fullmatch(said[1]), line
                found.setdefault(said[1].partition("@")[0], set()).add(f"{said[1]} {said[2]}")
    assert {name: versions for name, versions in found.items() if len(versions) > 1} == {}
    assert found.keys() == {"actions/checkout", "actions/setup-python", "actions/upload-artifact",
                            "actions/download-artifact", "actions/attest-build-provenance",
                            "sigstore/cosign-installer"}  # fmt: skip


def test_pinned_machines_and_times() -> None:
    for workflow, name, job in jobs():
        assert re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"]), (workflow, name)
        assert 0 < job["timeout-minutes"] <= 90, (workflow, name)


def test_pinned_dependencies() -> None:
    """What is installed comes by its hash: Python's by locks, images by their digests; workflows install nothing."""
    assert images.floating() == {}
    assert [step for _, _, step in steps() if INSTALLS.search(step.get("run", ""))] == []
    for path in (ROOT / "Makefile", *ROOT.glob("devstack/docker/*Dockerfile")):
        for line in INSTALLS.findall(path.read_text().replace("\\\n", " ")):
            if line.startswith("pip install"):
                assert "--require-hashes" in line or "--no-build-isolation -e ." in line, line
    assert "--require-hashes" in (ROOT / "devstack/docker/Dockerfile").read_text()


def test_build_arguments_are_the_dockerfiles_own() -> None:
    """The compose file hands a base image to each build: the one of the Dockerfile, unless `.env` says otherwise."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    handed = [one["build"] for one in services if "build" in one]
    for build in handed:
        text = (ROOT / build["dockerfile"]).read_text()
        defaults = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", text, re.MULTILINE))
        given = {name: value for name, value in build["args"].items() if name.endswith("_IMAGE")}
        assert given == {name: f"${{STACK_{name}:-{image}}}" for name, image in defaults.items()}
    assert {build["dockerfile"] for build in handed} == {
        "devstack/docker/Dockerfile",
        "devstack/docker/keycloak.Dockerfile",
    }


def test_dependency_update_tool() -> None:
    config = json.loads((FOLDER / "renovate.json").read_text())
    assert {"github-actions", "dockerfile", "docker-compose", "kubernetes"} <= set(config["enabledManagers"])
    assert {"docker:pinDigests", "helpers:pinGitHubActionDigests"} <= set(config["extends"])
    (manager,) = config["customManagers"]
    (pattern,) = manager["matchStrings"]
    found = re.findall(pattern.replace("(?<", "(?P<"), (ROOT / "docker-compose.yml").read_text())
    assert {name for name, *_ in found} == {"python", "quay.io/keycloak/keycloak"}


def test_binary_artifacts() -> None:
    """Nothing that is tracked can run without somebody being able to read it."""
    programs = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"PK\x03\x04", b"\x00asm")
    endings = {".exe", ".dll", ".so", ".dylib", ".jar", ".class", ".pyc", ".whl", ".wasm", ".o", ".a"}
    for path in tracked():
        assert path.suffix not in endings, path
        with path.open("rb") as file:
            assert not file.read(4).startswith(programs), path


def test_license_security_policy_and_changelog() -> None:
    assert "MIT" in (ROOT / "LICENSE").read_text()
    assert "privately" in (ROOT / "SECURITY.md").read_text()
    assert (ROOT / "CHANGELOG.md").is_file()


def test_signed_releases_sbom_and_fuzzing() -> None:
    text = (FOLDER / "workflows" / "release.yml").read_text()
    for needed in ("cosign sign-blob", "attest-build-provenance", "release sbom", "release image-sbom", "release same"):
        assert needed in text
    assert "make fuzz" in (FOLDER / "workflows" / "fuzz.yml").read_text()


@pytest.mark.parametrize("mark", [r"noqa: S\d", "nosec"])
def test_static_analysis_is_silenced_with_a_reason(mark: str) -> None:
    """bandit and ruff's S: `make scan` and `make static`. No line is passed over without a word."""
    found = {
        f"{name_of(path)}:{number}": line
        for path in PRODUCT
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(f"# {mark}", line)
    }
    assert len(found) >= 10
    assert {place: line for place, line in found.items() if not re.search(r"noqa: S[\d, S]+ - [a-z`]", line)} == {}
