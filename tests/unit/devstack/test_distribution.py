"""Where Keycloak comes from, with small programs in place of Java, Maven and kc.sh."""

import os
import re
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from devstack.keycloak import distribution
from devstack.keycloak.distribution import VERSION, NoKeycloak, built, java


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / name
    made.write_text(f"#!/bin/sh\n{script}\n")
    made.chmod(made.stat().st_mode | stat.S_IXUSR)
    return made


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path with a shell's own tools and a Java, a cache folder of its own, no KEYCLOAK_HOME."""
    folder = tmp_path / "bin"
    program(folder, "java", "echo 'openjdk version \"21.0.1\"' >&2")
    for name in ("sh", "cp", "echo", "env"):
        (folder / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("JAVA_HOME", "KEYCLOAK_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


def home(folder: Path, script: str = "echo built > built-$1; exit 0") -> Path:
    program(folder / "bin", "kc.sh", f"cd {folder}/.. 2>/dev/null; {script}")
    (folder / "data").mkdir()
    return folder


def test_a_java_that_is_missing_or_old_is_said(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert java() == str(tools / "java")
    program(tools, "java", "echo 'openjdk version \"11.0.2\"' >&2")
    with pytest.raises(NoKeycloak, match=r"17 or newer is needed: .* \"11\.0\.2\""):
        java()
    (tools / "java").unlink()
    with pytest.raises(NoKeycloak, match="none on the path"):
        java()
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    with pytest.raises(NoKeycloak, match="JAVA_HOME"):
        built((), print)


def test_a_given_home_is_copied_and_built_once(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    given = home(tmp_path / "kc", f'echo "$@" >> {tmp_path}/builds')
    monkeypatch.setenv("KEYCLOAK_HOME", str(given))
    first = built(("cimd",), said.append)
    assert first == built(("cimd",), said.append)
    assert first.name.startswith("kc-")
    assert first.name.endswith("-cimd")
    assert not (first / "data").exists()  # a copy is run, and without what another left
    (line,) = (tmp_path / "builds").read_text().splitlines()
    assert line.startswith("build --db=dev-file")
    assert line.endswith("--features=cimd")
    assert built((), said.append) != first
    assert len(said) == 2


def test_a_build_that_fails_leaves_nothing(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYCLOAK_HOME", str(home(tmp_path / "kc", "echo no such feature >&2; exit 2")))
    with pytest.raises(NoKeycloak, match=r"kc.sh build failed:\nno such feature"):
        built(("nonsense",), print)
    assert sorted(one.name for one in (tmp_path / "cache" / "mcp-devstack").iterdir()) == [".lock"]


def test_maven_fetches_it_once(tools: Path, tmp_path: Path) -> None:
    with pytest.raises(NoKeycloak, match="mvn is not on the path"):
        built((), print)
    archive = tmp_path / "dist.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr(f"keycloak-{VERSION}/bin/kc.sh", "#!/bin/sh\nexit 0\n")
    name = f"keycloak-quarkus-dist-{VERSION}.zip"
    fetch = f'for one; do case $one in -DoutputDirectory=*) cp {archive} "${{one#*=}}/{name}";; esac; done'
    program(tools, "mvn", f"echo fetched >> {tmp_path}/fetches\n{fetch}")
    said: list[str] = []
    assert os.access(built((), said.append) / "bin" / "kc.sh", os.X_OK)
    # the name changes with the options of the build: an older one is not taken for it
    assert re.fullmatch(rf"keycloak-{re.escape(VERSION)}-[0-9a-f]{{8}}-cimd", built(("cimd",), said.append).name)
    assert (tmp_path / "fetches").read_text() == "fetched\n"
    assert sum("Maven" in one for one in said) == 1


def test_a_program_that_never_ends_is_ended(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tools / "sleep").symlink_to("/bin/sleep")
    monkeypatch.setenv("KEYCLOAK_HOME", str(home(tmp_path / "kc", "sleep 60 & wait")))
    monkeypatch.setattr(distribution, "BUILD_S", 0.2)
    with pytest.raises(NoKeycloak, match="timed out"):
        built((), print)
    monkeypatch.setenv("KEYCLOAK_HOME", str(tmp_path / "none"))
    with pytest.raises(NoKeycloak, match=r"no bin/kc\.sh"):
        built((), print)
