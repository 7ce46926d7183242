"""AWS Secrets Manager and Systems Manager's parameters, by botocore: its chain of credentials, with nothing of ours."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from mcp_server.route import Route
from mcp_server.secrets import authorities
from mcp_server.secrets.source import ANSWER_S, CONNECT_S, Address, SecretsUnavailable, of_document, unasked

EXTRA: Final = "wants botocore: pip install 'mcp-server-keycloak[aws]'"
_ARN: Final = re.compile(r"arn:aws[a-z-]*:secretsmanager:([a-z0-9-]+):")
_USER: Final = re.compile(r"User: (arn:[A-Za-z0-9:/._=+@-]{1,300})")
"""In the text of a refusal; the one thing of it that is repeated."""
_OVER: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidIdentityToken",
        "InvalidSignatureException",
        "RequestExpired",
        "UnrecognizedClientException",
    }
)
_ABSENT: Final = frozenset({"ResourceNotFoundException", "ParameterNotFound"})


class SecretsManager:
    """One secret that is a JSON object."""

    def __init__(self, address: Address, route: Route) -> None:
        self.name, self._address, self._route = address.name, address, route
        found = _ARN.match(address.place)
        self._region = address.options.get("region") or (found[1] if found else "")

    def fetch(self) -> dict[str, str]:
        """The newest version."""
        with _client("secretsmanager", self._region, self._route) as client:
            answer = _asked(
                lambda: client.get_secret_value(SecretId=self._address.place),
                "secretsmanager:GetSecretValue on it, and kms:Decrypt where its key is one of your own",
            )
        text = answer.get("SecretString")
        if text is None:
            raise SecretsUnavailable("is binary, and no JSON object of settings by their names")
        return of_document(text)


class ParameterStore:
    """A parameter below a path for each setting."""

    def __init__(self, address: Address, route: Route) -> None:
        self.name, self._address, self._route = address.name, address, route

    def fetch(self) -> dict[str, str]:
        """All of them, decrypted."""
        with _client("ssm", self._address.options.get("region", ""), self._route) as client:
            found = _asked(
                lambda: dict(self._parameters(client)),
                "ssm:GetParametersByPath on it, and kms:Decrypt where the key is one of your own",
            )
        return {name: value for name, value in found.items() if name.startswith("MCP_")}

    def _parameters(self, client: Any) -> Iterator[tuple[str, str]]:
        pages = client.get_paginator("get_parameters_by_path")
        for page in pages.paginate(Path=self._address.place, WithDecryption=True):
            for one in page["Parameters"]:
                yield one["Name"].rpartition("/")[2], one["Value"]


@contextmanager
def _client(service: str, region: str, route: Route) -> Iterator[Any]:
    """A client with our bounds and our way out, which its own calls for credentials (STS) take too."""
    try:
        from botocore.config import Config  # noqa: PLC0415 - 25 MB, for who names the store
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - see above
        from botocore.session import Session  # noqa: PLC0415 - see above
    except ImportError:
        raise SecretsUnavailable(EXTRA) from None
    with authorities.file_of(route) as known:
        session = Session()
        session.set_default_client_config(
            Config(
                connect_timeout=CONNECT_S,
                read_timeout=ANSWER_S,
                retries={"total_max_attempts": 2, "mode": "standard"},
                # An empty one is none: without it the environment's would be used, which are asked for by MCP_PROXY.
                proxies=authorities.proxies_of(route, "amazonaws.com"),
            )
        )
        if known is not None:
            session.set_config_variable("ca_bundle", known)
        try:
            client = session.create_client(service, region_name=region or os.environ.get("AWS_REGION"))
        except (BotoCoreError, ValueError) as error:
            raise SecretsUnavailable(_unasked(error)) from None
        try:
            yield client
        finally:
            client.close()


def _asked(ask: Callable[[], Any], permission: str) -> Any:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - see above

    try:
        return ask()
    except ClientError as error:
        raise SecretsUnavailable(_refusal(error.response, permission)) from None
    except Exception as error:  # noqa: BLE001 - an answer that is not AWS's fails anywhere in the client
        raise SecretsUnavailable(_unasked(error)) from None


def _refusal(response: Any, permission: str) -> str:
    said = response.get("Error", {})
    code, status = str(said.get("Code", ""))[:80], response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    user = _USER.search(str(said.get("Message", "")))
    if code in _ABSENT:
        return "there is no such secret in this account and region"
    if code in _OVER:
        return f"the identity is over, or not known there ({code}): see the credentials of this pod or machine"
    if code.startswith("AccessDenied"):
        return f"as {user[1] if user else 'this identity'}: needs {permission}"
    return f"answered {status}" + (f" {code}" if code.isalnum() and not code.isdigit() else "")


def _unasked(error: Exception) -> str:
    """The library's words are not repeated, for some quote answers; its kinds of errors say enough."""
    match type(error).__name__:
        case "NoRegionError":
            return "no region is known: AWS_REGION, an ARN, or ?region="
        case "NoCredentialsError" | "PartialCredentialsError" | "CredentialRetrievalError" | "TokenRetrievalError":
            return "no identity: neither IRSA, EKS Pod Identity, a role of the machine nor AWS_ACCESS_KEY_ID"
        case "SSLError":
            return "its certificate is by no authority that is known here (MCP_CA_FILE)"
        case "ConnectTimeoutError" | "ReadTimeoutError":
            return f"no answer within {ANSWER_S:g} s"
        case kind:
            return unasked(kind)
