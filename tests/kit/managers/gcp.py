"""Secret Manager over REST and the token endpoint of workload identity federation, as Google's clients speak to them."""

import base64
import json
from pathlib import Path

from tests.kit.managers.server import Answer, Asked, Manager, as_json


class Gcp(Manager):
    """A project; a setting is a secret of its own, and `all` has them as one document."""

    def environment(self, folder: Path) -> dict[str, str]:
        """As a pod outside of Google's cloud has it."""
        (folder / "identity").write_text("projected")
        stated = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"https://{self.host}/v1/token",
            "credential_source": {"file": str(folder / "identity")},
        }
        (folder / "google.json").write_text(json.dumps(stated))
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(folder / "google.json"), "GOOGLE_CLOUD_PROJECT": "shop"}

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/v1/token":
            if self.fault == "expired":
                return as_json(400, {"error": "invalid_grant", "error_description": "ID Token is expired"})
            issued = "urn:ietf:params:oauth:token-type:access_token"
            token = {"access_token": "of-google", "issued_token_type": issued, "token_type": "Bearer"}
            return as_json(200, {**token, "expires_in": 3600})
        if self.fault == "denied":
            return _error(403, "PERMISSION_DENIED")
        if self.fault == "absent":
            return _error(404, "NOT_FOUND")
        if self.fault == "garbled":
            return 200, {"content-type": "application/json"}, b"no s3cret-of-the-manager"
        if asked.path == "/v1/projects/shop/secrets":
            listed = [{"name": f"projects/shop/secrets/prod-{name}"} for name in self.secrets]
            return as_json(200, {"secrets": listed})
        name = asked.path.removeprefix("/v1/projects/shop/secrets/").removesuffix("/versions/latest:access")
        text = json.dumps(self.secrets) if name == "all" else self.secrets[name.removeprefix("prod-")]
        data = base64.b64encode(text.encode()).decode()
        return as_json(200, {"name": f"projects/shop/secrets/{name}/versions/1", "payload": {"data": data}})


def _error(status: int, word: str) -> Answer:
    return as_json(status, {"error": {"code": status, "message": "s3cret-of-the-manager", "status": word}})
