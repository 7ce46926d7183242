"""Keycloak's distribution: `KEYCLOAK_HOME` where set, else fetched through Maven once and built for a feature set.

A built distribution stands in the user's cache folder, one for each feature set, and is never run itself: a running
Keycloak gets a copy, so that two of them share nothing.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

VERSION: Final = "26.7.4"
MIN_JAVA: Final = 17
FETCH_S: Final = 600
BUILD_S: Final = 600
CLOSED: Final = ("default", "install", "saml2-entity-descriptor")
"""Ways to register that no MCP client uses. At `default` anybody sends Keycloak's own representation of a client:
how long its tokens live, its origins, its mappers; at the last one a SAML client, which asks nobody for consent."""
ORDINARY: Final = ("--db=dev-file", "--cache=local", "--health-enabled=true", "--metrics-enabled=true")
BUILD_OPTIONS: Final = (
    *ORDINARY,
    *(f"--spi-client-registration--{one}--enabled=false" for one in CLOSED),
)
Say = Callable[[str], None]


class NoKeycloak(Exception):
    """Keycloak cannot be run on this machine; the text says what is missing."""


def java() -> str:
    """The JVM to use: `JAVA_HOME`'s, else the one on the path; raises `NoKeycloak` for none or one too old."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if program is None or not Path(program).exists():
        raise NoKeycloak(f"a Java {MIN_JAVA} or newer is needed: none on the path, and JAVA_HOME names none")
    told = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr  # nosec B603 # noqa: S603 - the Java that was found
    found = re.search(r'version "(\d+)', told)
    if found is None or int(found[1]) < MIN_JAVA:
        raise NoKeycloak(f"a Java {MIN_JAVA} or newer is needed: {program} is {told.splitlines()[0] if told else '?'}")
    return program


def built(features: tuple[str, ...], say: Say, options: tuple[str, ...] | None = None) -> Path:
    """The folder of a distribution built for these features; fetches and builds it the first time (a minute)."""
    java()
    given = os.environ.get("KEYCLOAK_HOME")
    root = _cache()
    options = options or BUILD_OPTIONS
    mark = hashlib.sha256(" ".join(options).encode()).hexdigest()[:8]
    name = "-".join([_mark(Path(given)) if given else f"keycloak-{VERSION}", mark, *features])
    home = root / name
    if (home / ".built").exists():
        return home
    with _alone(root), tempfile.TemporaryDirectory(dir=root, prefix=".making-") as folder:
        if (home / ".built").exists():
            return home
        made = Path(folder) / "home"
        if given:
            shutil.copytree(given, made, ignore=shutil.ignore_patterns("data"), symlinks=True)
        else:
            _unpack(_fetched(root, say), made)
        say("building Keycloak for its features, once")
        _run([str(made / "bin" / "kc.sh"), "build", *options, *feature_options(features)], BUILD_S)
        (made / ".built").touch()
        shutil.rmtree(home, ignore_errors=True)
        made.rename(home)
    return home


def _mark(given: Path) -> str:
    """A name for what lies at this place now; an upgrade there is another one."""
    script = given.resolve() / "bin" / "kc.sh"
    if not script.exists():
        raise NoKeycloak(f"KEYCLOAK_HOME is {given}, and there is no bin/kc.sh")
    known = sorted(one.name for one in (given / "lib" / "lib" / "main").glob("org.keycloak.keycloak-core-*.jar"))
    told = f"{script}\0{script.stat().st_mtime_ns}\0{known}"
    return f"{given.name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def feature_options(features: tuple[str, ...]) -> list[str]:
    """What names the features to `kc.sh`."""
    return [f"--features={','.join(features)}"] if features else []


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    root = (Path(base) if base else Path.home() / ".cache") / "mcp-devstack"
    root.mkdir(parents=True, exist_ok=True)
    return root


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One maker at a time: two test runs on one machine fetch and build once."""
    import fcntl  # noqa: PLC0415 - not on every system, and `devstack up` alone does without

    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetched(root: Path, say: Say) -> Path:
    """The distribution's archive, through Maven, which checks it against its published checksum."""
    archive = root / f"keycloak-quarkus-dist-{VERSION}.zip"
    if archive.exists():
        return archive
    if shutil.which("mvn") is None:
        raise NoKeycloak(
            "Maven is needed to fetch Keycloak (mvn is not on the path); or unpack it and set KEYCLOAK_HOME"
        )
    say(f"fetching Keycloak {VERSION} through Maven, once (180 MB)")
    with tempfile.TemporaryDirectory(dir=root, prefix=".fetching-") as folder:
        _run(
            [
                *(
                    "mvn",
                    "--quiet",
                    "--batch-mode",
                    "--strict-checksums",
                    "dependency:copy",
                    f"-DoutputDirectory={folder}",
                ),
                f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip",
            ],
            FETCH_S,
        )
        (Path(folder) / archive.name).rename(archive)
    return archive


def _unpack(archive: Path, home: Path) -> None:
    with zipfile.ZipFile(archive) as opened, tempfile.TemporaryDirectory(dir=home.parent) as folder:
        opened.extractall(folder)
        next(Path(folder).iterdir()).rename(home)
    for script in (home / "bin").glob("*.sh"):
        script.chmod(0o755)


def _run(command: list[str], within_s: float) -> None:
    """A command in a process group of its own: `kc.sh` starts Java behind it, which must end with it."""
    try:
        with subprocess.Popen(  # nosec B603 # noqa: S603 - ours or the distribution's
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as done:
            try:
                said, _ = done.communicate(timeout=within_s)
            except BaseException:
                os.killpg(done.pid, signal.SIGKILL)
                raise
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoKeycloak(f"{Path(command[0]).name}: {error}") from error
    if done.returncode:
        tail = "\n".join(said.splitlines()[-15:])
        raise NoKeycloak(f"{Path(command[0]).name} {command[1]} failed:\n{tail}")
