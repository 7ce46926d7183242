"""Secrets Manager, Parameter Store and STS, as botocore speaks to them (AWS JSON 1.1 and Query)."""

import json
from pathlib import Path
from typing import Any

from tests.kit.managers.server import Answer, Asked, Manager, as_json

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:mcp-AbCdEf"
ROLE = "arn:aws:sts::123456789012:assumed-role/mcp/pod"
_CREDENTIALS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>x</SecretAccessKey>
<SessionToken>y</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser>
<AssumedRoleId>A:pod</AssumedRoleId><Arn>a</Arn></AssumedRoleUser></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
_EXPIRED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>ExpiredTokenException</Code><Message>Token expired: current date/time must be before the expiration date/time
</Message></Error></ErrorResponse>"""


class Aws(Manager):
    """One account; whoever comes has a role by a web identity (IRSA)."""

    def environment(self, folder: Path) -> dict[str, str]:
        """As a pod has it."""
        (folder / "identity").write_text("projected")
        return {
            "AWS_ENDPOINT_URL": f"https://{self.host}",
            "AWS_REGION": "eu-central-1",
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/mcp",
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "identity"),
            "AWS_CONFIG_FILE": str(folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
        }

    def is_login(self, asked: Asked) -> bool:
        return "x-amz-target" not in asked.headers

    def answer(self, asked: Asked) -> Answer:
        target = asked.headers.get("x-amz-target", "")
        if not target:
            status, text = (400, _EXPIRED) if self.fault == "expired" else (200, _CREDENTIALS)
            return status, {"content-type": "text/xml"}, text.encode()
        if self.fault == "expired":
            return as_json(400, {"__type": "ExpiredTokenException", "Message": "s3cret-of-the-manager"})
        if self.fault == "denied":
            action = target.partition(".")[2]
            said = f"User: {ROLE} is not authorized to perform: {action} on resource: s3cret-of-the-manager"
            return as_json(400, {"__type": "AccessDeniedException", "Message": said})
        if self.fault == "absent":
            return as_json(400, {"__type": "ResourceNotFoundException", "Message": "not found"})
        if target == "AmazonSSM.GetParametersByPath":
            return as_json(200, self._page(json.loads(asked.body)))
        text = "no s3cret-of-the-manager" if self.fault == "garbled" else json.dumps(self.secrets)
        return as_json(200, {"ARN": ARN, "Name": "mcp", "SecretString": text})

    def _page(self, asked: dict[str, Any]) -> dict[str, Any]:
        """One parameter a page: with none behind it, it has no next one."""
        if self.fault == "garbled":
            return {"Parameters": [{"Name": "/mcp/prod/MCP_PORT"}]}
        number = int(asked.get("NextToken", "0"))
        name, value = list(self.secrets.items())[number]
        more = {"NextToken": str(number + 1)} if number + 1 < len(self.secrets) else {}
        return {"Parameters": [{"Name": f"{asked['Path']}/{name}", "Value": value, "Type": "SecureString"}], **more}
