"""Google Secret Manager, by its own client over REST: one secret that is a JSON object, or a secret for each setting.

REST and not gRPC: a channel's threads and sockets do not survive the fork of the workers.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from mcp_server.route import Route
from mcp_server.secrets import authorities
from mcp_server.secrets.source import ANSWER_S, Address, SecretsUnavailable, of_document, unasked

EXTRA: Final = "wants google-cloud-secret-manager: pip install 'mcp-server-keycloak[gcp]'"
_HOST: Final = "secretmanager.googleapis.com"
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
MAX_SECRETS: Final = 100


class SecretManager:
    """A project's secrets; `PREFIX*` is a secret for each setting, `PREFIXMCP_CLIENT_SECRET`."""

    def __init__(self, address: Address, route: Route) -> None:
        self.name, self._route = address.name, route
        project, _, self._secret = address.place.partition("/")
        self._parent, self._host = f"projects/{project}", address.options.get("endpoint", _HOST)

    def fetch(self) -> dict[str, str]:
        """The newest versions."""
        with self._client() as (client, who):
            if not self._secret.endswith("*"):
                return of_document(_asked(_reading(client, f"{self._parent}/secrets/{self._secret}"), who, _ACCESS))
            names = _asked(lambda: self._listed(client), who, _LIST)
            found = {name: _asked(_reading(client, path), who, _ACCESS) for name, path in names.items()}
        try:
            return {name: data.decode("utf-8") for name, data in found.items()}
        except UnicodeDecodeError:
            raise SecretsUnavailable("holds what is not UTF-8") from None

    def _listed(self, client: Any) -> dict[str, str]:
        """Paths of the secrets, by the names of their settings."""
        prefix = self._secret.removesuffix("*")
        found = dict[str, str]()
        asked = {"parent": self._parent, "filter": f"name:{prefix}", "page_size": 250}
        for one in client.list_secrets(request=asked, timeout=ANSWER_S, retry=None):
            last = one.name.rpartition("/")[2]
            name = last.removeprefix(prefix).replace("-", "_").upper()
            if last.startswith(prefix) and name.startswith("MCP_"):
                found[name] = one.name
                if len(found) > MAX_SECRETS:
                    raise SecretsUnavailable(f"more than {MAX_SECRETS} secrets have such names")
        return found

    @contextmanager
    def _client(self) -> Iterator[tuple[Any, str]]:
        """Google's client, and the identity that it asks as."""
        try:
            import google.auth  # noqa: PLC0415 - 40 MB with gRPC, for who names the store
            from google.auth.transport.requests import AuthorizedSession, Request  # noqa: PLC0415 - see above
            from google.cloud import secretmanager_v1  # noqa: PLC0415 - see above
            from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (  # noqa: PLC0415
                SecretManagerServiceRestTransport,
            )
        except ImportError:
            raise SecretsUnavailable(EXTRA) from None
        with ExitStack() as opened:
            known = opened.enter_context(authorities.file_of(self._route))
            session = opened.enter_context(_session(self._route, self._host, known))
            credentials, _ = _asked(lambda: google.auth.default([_SCOPE], request=Request(session)), "this identity")
            who = _identity(credentials)
            _asked(lambda: credentials.refresh(_bounded(Request(session))), who)
            transport = SecretManagerServiceRestTransport(host=self._host, credentials=credentials)
            calls: AuthorizedSession = transport._session  # noqa: SLF001 - there is no other way to give it our own way out
            _steer(calls, self._route, self._host, known)
            opened.callback(calls.close)
            yield secretmanager_v1.SecretManagerServiceClient(transport=transport), who


_ACCESS: Final = "secretmanager.versions.access on it (role Secret Manager Secret Accessor)"
_LIST: Final = "secretmanager.secrets.list on the project (role Secret Manager Viewer)"


def _reading(client: Any, path: str) -> Callable[[], bytes]:
    asked = {"name": f"{path}/versions/latest"}
    return lambda: bytes(client.access_secret_version(request=asked, timeout=ANSWER_S, retry=None).payload.data)


@contextmanager
def _session(route: Route, host: str, known: str | None) -> Iterator[Any]:
    import requests  # noqa: PLC0415 - google-auth's own client

    with requests.Session() as session:
        _steer(session, route, host, known)
        yield session


def _steer(session: Any, route: Route, host: str, known: str | None) -> None:
    """By our way out: proxies of the environment are asked for by MCP_PROXY."""
    session.trust_env = False
    session.proxies = authorities.proxies_of(route, host)
    if known is not None:
        session.verify = known


def _bounded(request: Any) -> Callable[..., Any]:
    """Google's own bound of a request for a token is two minutes."""

    def asked(*given: Any, **named: Any) -> Any:
        return request(*given, **{**named, "timeout": ANSWER_S})

    return asked


def _identity(credentials: Any) -> str:
    found = getattr(credentials, "service_account_email", None)
    return found if isinstance(found, str) and found and found != "default" else type(credentials).__module__


def _asked(ask: Callable[[], Any], who: str, permission: str = "") -> Any:
    """What a call gives; raises `SecretsUnavailable` for whatever it raises."""
    try:
        return ask()
    except SecretsUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - libraries of four kinds are below this one call
        raise SecretsUnavailable(_told(error, who, permission)) from None


def _told(error: Exception, who: str, permission: str) -> str:
    """A line by the kind of error and its status, for its words may quote an answer."""
    kind, code = type(error).__name__, getattr(error, "code", None)
    match kind:
        case "DefaultCredentialsError":
            return "no identity: neither workload identity nor GOOGLE_APPLICATION_CREDENTIALS"
        case "RefreshError" | "OAuthError" | "Unauthenticated" | "Unauthorized":
            return f"as {who}: the identity is over, or not known to Google"
        case "PermissionDenied" | "Forbidden":
            return f"as {who}: needs {permission}"
        case "NotFound":
            return "there is no such secret, or no version of it"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its certificate is by no authority that is known here (MCP_CA_FILE)"
    if "Timeout" in kind or "timed out" in str(error):
        return f"no answer within {ANSWER_S:g} s"
    return f"answered {code}" if isinstance(code, int) and code else unasked(kind)
