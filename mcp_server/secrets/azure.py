"""Azure Key Vault, by its own client: one secret that is a JSON object, or a secret for each setting."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_server.route import Route
from mcp_server.secrets import authorities
from mcp_server.secrets.source import ANSWER_S, CONNECT_S, Address, SecretsUnavailable, of_document, unasked

EXTRA: Final = "wants azure-keyvault-secrets and azure-identity: pip install 'mcp-server-keycloak[azure]'"
_CALLER: Final = re.compile(r"appid=([0-9a-fA-F-]{1,64})")
MAX_SECRETS: Final = 100
_PREFIX: Final = "MCP-"


class KeyVault:
    """A vault: `MCP-CLIENT-SECRET` there is `MCP_CLIENT_SECRET` here, for a name has no underscore."""

    def __init__(self, address: Address, route: Route) -> None:
        self.name, self._route = address.name, route
        parts = urlsplit(address.place)
        self._vault, self._one = f"https://{parts.netloc}", parts.path.strip("/").removeprefix("secrets/").strip("/")

    def fetch(self) -> dict[str, str]:
        """The newest versions of what is enabled."""
        with self._client() as client:
            try:
                if self._one:
                    return of_document(client.get_secret(self._one).value or "")
                return dict(self._listed(client))
            except SecretsUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - libraries of four kinds are below this one call
                raise SecretsUnavailable(_told(error, listing=not self._one)) from None

    def _listed(self, client: Any) -> Iterator[tuple[str, str]]:
        count = 0
        for one in client.list_properties_of_secrets():
            if one.enabled is not False and one.name.upper().startswith(_PREFIX):
                count += 1
                if count > MAX_SECRETS:
                    raise SecretsUnavailable(f"has more than {MAX_SECRETS} secrets whose names begin with {_PREFIX}")
                yield one.name.upper().replace("-", "_"), client.get_secret(one.name).value or ""

    @contextmanager
    def _client(self) -> Iterator[Any]:
        try:
            from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - for who names the store
            from azure.keyvault.secrets import SecretClient  # noqa: PLC0415 - see above
        except ImportError:
            raise SecretsUnavailable(EXTRA) from None
        with ExitStack() as opened:
            known = opened.enter_context(authorities.file_of(self._route))
            options: dict[str, Any] = {
                "connection_timeout": CONNECT_S,
                "read_timeout": ANSWER_S,
                "retry_total": 1,
                "use_env_settings": False,  # proxies of the environment, which are asked for by MCP_PROXY
                "proxies": authorities.proxies_of(self._route, urlsplit(self._vault).hostname or ""),
                **({} if known is None else {"connection_verify": known}),
            }
            credential = opened.enter_context(DefaultAzureCredential(process_timeout=int(ANSWER_S), **options))
            yield opened.enter_context(SecretClient(self._vault, credential, **options))


def _told(error: Exception, *, listing: bool) -> str:
    """A line by the kind of error and its status; of its words only the caller's id, for the rest may quote answers."""
    kind, status = type(error).__name__, getattr(error, "status_code", None)
    caller = _CALLER.search(str(error))
    who = f"as {caller[1]}" if caller else "as this identity"
    if kind == "CredentialUnavailableError":
        return "no identity: neither a workload identity, a managed identity nor AZURE_CLIENT_ID with a secret"
    if status == 403:
        needed = "list and get of its secrets" if listing else "get of its secrets"
        return f"{who}: needs {needed} (role Key Vault Secrets User), or its network lets nobody in from here"
    if status == 404:
        return "there is no such secret"
    if kind == "ClientAuthenticationError" or status == 401:
        return "the identity is over, or not known to its tenant: see the federated token or credential of this pod"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its certificate is by no authority that is known here (MCP_CA_FILE)"
    if "Timeout" in kind:
        return f"no answer within {ANSWER_S:g} s"
    return f"answered {status}" if status and status >= 300 else unasked(kind)
