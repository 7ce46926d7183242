"""Logging in to Vault or OpenBao: as whom, by which method, and what is sent for it (auth/kubernetes, jwt, approle)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from mcp_server.secrets.source import SecretsUnavailable

SERVICE_ACCOUNT: Final = "/var/run/secrets/vault/token"
"""Where the manifests mount the projected token: the pod's own, whose audience is the API server, is not for Vault."""
TOKEN: Final = "VAULT_TOKEN"  # noqa: S105 - the variable's name, as Vault's own client has it
METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "kubernetes": ("role",),
    "jwt": ("role", "token_file"),
    "approle": ("role_id_file", "secret_id_file"),
    "token": (),
}
"""Each, and the options that it wants."""


class Login(NamedTuple):
    """What is posted to a method's mount; where `path` is empty, `token` is there already."""

    identity: str
    path: str = ""
    body: Mapping[str, str] = {}
    token: str = ""

    def __repr__(self) -> str:
        return f"Login({self.identity!r}, {self.path!r})"


def login(options: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> Login:
    """As the options say; files are read each time, for they are renewed. Raises `SecretsUnavailable`."""
    method = options.get("auth", "kubernetes")
    path = f"auth/{options.get('mount', method).strip('/')}/login"
    role = options.get("role", "")
    match method:
        case "approle":
            body = {
                "role_id": _file(options["role_id_file"], "role_id_file"),
                "secret_id": _file(options["secret_id_file"], "secret_id_file"),
            }
            return Login("AppRole of role_id_file", path, body)
        case "token":
            if "token_file" in options:
                return Login("the token of token_file", token=_file(options["token_file"], "token_file"))
            if token := environment.get(TOKEN, ""):
                return Login(f"the token of the environment ({TOKEN})", token=token)
            raise SecretsUnavailable(f"auth=token wants token_file=, or {TOKEN}")
        case _:
            given = _file(options.get("token_file", SERVICE_ACCOUNT), "token_file")
            return Login(f"{method} role {role}", path, {"role": role, "jwt": given})


def _file(path: str, option: str) -> str:
    try:
        text = Path(path).read_text("utf-8").strip()
    except OSError as error:
        raise SecretsUnavailable(f"{option} ({path}) cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SecretsUnavailable(f"{option} ({path}) is not UTF-8") from None
    if not text:
        raise SecretsUnavailable(f"{option} ({path}) is empty")
    return text
