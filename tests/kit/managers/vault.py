"""Vault and OpenBao: logins, KV of both versions, and what becomes of a token."""

import json
from pathlib import Path

from tests.kit.managers.server import Answer, Asked, Manager, as_json


class Vault(Manager):
    """One node; `kv/data/mcp` is of version 2, `old/mcp` of version 1."""

    sealed = False
    moved = False

    def environment(self, folder: Path) -> dict[str, str]:
        """A pod has a file; the address names it."""
        (folder / "identity").write_text("projected")
        return {}

    def answer(self, asked: Asked) -> Answer:
        path = asked.path.removeprefix("/v1/")
        if self.sealed:
            return as_json(503, {"errors": ["Vault is sealed"]})
        if self.moved:
            return as_json(307, {}, location="https://elsewhere.example/v1/" + path)
        if path.endswith("/login"):
            given = json.loads(asked.body)
            good = given in (
                {"role": "mcp", "jwt": "projected"},
                {"role_id": "projected", "secret_id": "projected"},
            )
            if self.fault == "expired" or not good:
                return as_json(403, {"errors": ["invalid token s3cret-of-the-manager"]})
            return as_json(200, {"auth": {"client_token": "of-vault", "lease_duration": 600, "renewable": True}})
        if asked.headers.get("x-vault-token") not in ("of-vault", "of-an-operator") or self.fault == "denied":
            return as_json(403, {"errors": ["permission denied"]})
        if path.startswith("auth/token/"):
            return (204, {}, b"") if path.endswith("revoke-self") else as_json(200, {"auth": {"renewable": True}})
        if self.fault == "absent":
            return as_json(404, {"errors": []})
        if self.fault == "garbled":
            return 200, {"content-type": "application/json"}, b"no s3cret-of-the-manager"
        if path == "old/mcp":
            return as_json(200, {"data": self.secrets, "lease_duration": 2764800})
        return as_json(200, {"data": {"data": self.secrets, "metadata": {"version": 3}}})
