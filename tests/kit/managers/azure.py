"""Key Vault and the token endpoint of Entra ID, as the clients of Azure speak to them."""

import json
from pathlib import Path

from tests.kit.managers.server import Answer, Asked, Manager, as_json

CALLER = "11111111-2222-3333-4444-555555555555"


class Azure(Manager):
    """A vault; whoever comes has a workload identity.

    Its client wants the challenge's resource to be a domain above the vault's: that of 127.0.0.1 is 0.0.1.
    """

    def environment(self, folder: Path) -> dict[str, str]:
        """As a pod has it."""
        (folder / "identity").write_text("projected")
        return {
            "AZURE_AUTHORITY_HOST": f"https://{self.host}",
            "AZURE_TENANT_ID": "tenant",
            "AZURE_CLIENT_ID": CALLER,
            "AZURE_FEDERATED_TOKEN_FILE": str(folder / "identity"),
        }

    def answer(self, asked: Asked) -> Answer:
        if asked.path.endswith("/oauth2/v2.0/token"):
            if self.fault == "expired":
                told = {"error": "invalid_client", "error_description": "AADSTS700024: assertion is not in its time"}
                return as_json(401, told)
            return as_json(200, {"access_token": "of-the-vault", "expires_in": 3600, "token_type": "Bearer"})
        if asked.headers.get("authorization") != "Bearer of-the-vault":
            challenge = f'Bearer authorization="https://{self.host}/tenant", resource="https://0.0.1:{self.port}"'
            return as_json(401, {}, **{"www-authenticate": challenge})
        if self.fault == "denied":
            said = f"The user, group or application 'appid={CALLER};oid=x' does not have s3cret-of-the-manager"
            return as_json(403, {"error": {"code": "Forbidden", "message": said}})
        return self._held(asked.path.strip("/").split("/")[1:])

    def _held(self, parts: list[str]) -> Answer:
        if self.fault == "absent":
            return as_json(404, {"error": {"code": "SecretNotFound", "message": "s3cret-of-the-manager"}})
        if self.fault == "garbled":
            return 200, {"content-type": "application/json"}, b"no s3cret-of-the-manager"
        names = {name.replace("_", "-"): name for name in self.secrets}
        if not parts:
            listed = [{"id": f"https://{self.host}/secrets/{one}", "attributes": {"enabled": True}} for one in names]
            listed.append({"id": f"https://{self.host}/secrets/MCP-OFF", "attributes": {"enabled": False}})
            return as_json(200, {"value": listed, "nextLink": None})
        path = f"https://{self.host}/secrets/{parts[0]}/1"
        text = json.dumps(self.secrets) if parts[0] == "all" else self.secrets[names[parts[0]]]
        return as_json(200, {"value": text, "id": path, "attributes": {"enabled": True}})
