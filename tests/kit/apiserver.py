"""A kube-apiserver of its own on loopback, see tests/go/apiserver: asked as `kubectl apply --server-side` asks it."""

import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.kit.manifests import Manifest, tool
from tests.kit.stack import free_port

TOKEN: Final = "an-administrator's"
READY_S: Final = 120.0
STRICT: Final = {"fieldValidation": "Strict"}
"""A member that the server does not know is an error, and not dropped with a warning."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server made of an object, and what it warned of."""

    status: int
    warnings: list[str]
    object: Manifest

    @property
    def version(self) -> str:
        """It changes with whatever is written."""
        version: str = self.object["metadata"]["resourceVersion"]
        return version


@dataclass(kw_only=True)
class Cluster:
    """What a client of a cluster asks; there are no controllers, so nothing changes by itself."""

    http: httpx.Client
    process: subprocess.Popen[bytes]
    known: dict[str, dict[str, tuple[str, bool]]] = field(default_factory=dict)

    def apply(self, one: Manifest, manager: str = "operator") -> Answer:
        """Server-side apply, where nobody else's fields are taken over."""
        path = f"{self.path(one)}/{one['metadata']['name']}"
        headers = {"Content-Type": "application/apply-patch+yaml"}
        return self._answer(
            self.http.patch(path, params={"fieldManager": manager, **STRICT}, content=encoded(one), headers=headers)
        )

    def create(self, one: Manifest, *, dry: bool = False) -> Answer:
        """Make it; a dry run goes through admission and validation and keeps nothing."""
        chosen = {"dryRun": "All"} if dry else {}
        headers = {"Content-Type": "application/json"}
        return self._answer(
            self.http.post(self.path(one), params={**STRICT, **chosen}, content=encoded(one), headers=headers)
        )

    def read(self, one: Manifest) -> Manifest:
        """As it is kept."""
        kept: Manifest = self.http.get(f"{self.path(one)}/{one['metadata']['name']}").raise_for_status().json()
        return kept

    def delete(self, one: Manifest) -> None:
        """Away with it."""
        self.http.delete(f"{self.path(one)}/{one['metadata']['name']}").raise_for_status()

    def scale(self, one: Manifest, replicas: int) -> None:
        """As the autoscaler does it."""
        path = f"{self.path(one)}/{one['metadata']['name']}/scale"
        headers = {"Content-Type": "application/merge-patch+json"}
        content = encoded({"spec": {"replicas": replicas}})
        self.http.patch(
            path, params={"fieldManager": "autoscaler"}, content=content, headers=headers
        ).raise_for_status()

    def define(self, definition: Manifest) -> Answer:
        """A kind that Kubernetes does not have, served when this returns."""
        answer = self.apply(definition, "definitions")
        group, kind = definition["spec"]["group"], definition["spec"]["names"]["kind"]
        versions = [f"{group}/{one['name']}" for one in definition["spec"]["versions"] if one["served"]]
        until(lambda: all(kind in self._kinds(version, fresh=True) for version in versions), self.process)
        return answer

    def undefine(self, definition: Manifest) -> None:
        """Away with the kind and all that is of it; the next definition is then the only one."""
        self.delete(definition)
        path = f"{self.path(definition)}/{definition['metadata']['name']}"
        until(lambda: self.http.get(path).status_code == 404, self.process)

    def path(self, one: Manifest) -> str:
        """Where objects of its kind are."""
        version, kind = one["apiVersion"], one["kind"]
        plural, namespaced = self._kinds(version)[kind]
        space = f"/namespaces/{one['metadata']['namespace']}" if namespaced else ""
        return f"{root(version)}{space}/{plural}"

    def _kinds(self, version: str, *, fresh: bool = False) -> dict[str, tuple[str, bool]]:
        if fresh or version not in self.known:
            answer = self.http.get(root(version))
            found = answer.json()["resources"] if answer.status_code == 200 else []
            self.known[version] = {
                one["kind"]: (one["name"], one["namespaced"]) for one in found if "/" not in one["name"]
            }
        return self.known[version]

    @staticmethod
    def _answer(answer: httpx.Response) -> Answer:
        warnings = answer.headers.get_list("Warning")
        return Answer(status=answer.status_code, warnings=warnings, object=answer.json())


def root(version: str) -> str:
    """Where the API of a group's version is."""
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def encoded(one: Manifest) -> bytes:
    """JSON, which is YAML, too."""
    return msgspec.json.encode(one)


def until(so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until it is so, and no longer than there is a server."""
    end = time.monotonic() + READY_S
    while not so():
        assert time.monotonic() < end
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            raise AssertionError("the server has ended: see its log")


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """A server with its defaults of admission, and one client that may do everything."""
    key = folder / "accounts.pem"
    made = generate_private_key(SECP256R1())
    key.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    (folder / "tokens.csv").write_text(f'{TOKEN},operator,operator,"system:masters"\n')
    port, certificates = free_port(), folder / "certificates"
    flags = {
        "bind-address": "127.0.0.1", "advertise-address": "127.0.0.1", "secure-port": port,
        "endpoint-reconciler-type": "none", "service-cluster-ip-range": "10.0.0.0/24",
        "cert-dir": certificates, "token-auth-file": folder / "tokens.csv", "authorization-mode": "RBAC", "allow-privileged": "true",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": key, "service-account-signing-key-file": key,
    }  # fmt: skip
    command: list[str | Path] = [
        tool("kube-apiserver"),
        folder,
        *(f"--{name}={value}" for name, value in flags.items()),
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            with _client(f"https://127.0.0.1:{port}", certificates / "apiserver.crt", process) as http:
                yield Cluster(http=http, process=process)
        finally:
            process.terminate()


@contextmanager
def _client(url: str, certificate: Path, process: subprocess.Popen[bytes]) -> Iterator[httpx.Client]:
    """One that trusts the certificate which the server has made for itself, as soon as that is ready."""
    until(certificate.exists, process)
    trusted = ssl.create_default_context(cafile=certificate)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=url, verify=trusted, headers=headers, timeout=READY_S) as client:

        def ready() -> bool:
            try:
                return client.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        until(ready, process)
        yield client
