"""Words of `MCP_SECRETS`, several stores at once, and how what they give meets the other places of settings."""

import sys
import tempfile
import threading
from pathlib import Path

import pytest

from mcp_server import settings
from mcp_server.route import Route
from mcp_server.secrets import authorities, stores
from mcp_server.secrets.fetch import fetch
from mcp_server.secrets.source import SecretsUnavailable, of_document
from mcp_server.secrets.vault_login import login
from mcp_server.settings import SettingsError
from tests.kit.certificates import self_signed
from tests.kit.managers import server
from tests.kit.managers.vault import Vault

GOOD = {"MCP_ISSUER": "https://kc.example/realms/mcp", "MCP_RESOURCE": "https://x.example/mcp"}
WRONG = {
    "mcp": "each must begin with aws:, ssm:, azure:, gcp:, vault:",
    "s3:bucket": "each must begin with aws:, ssm:, azure:, gcp:, vault:",
    "vualt:https://v/kv/data/mcp?role=r": "each must begin with aws:, ssm:, azure:, gcp:, vault:; did you mean vault:?",
    "aws:": "aws: wants the ARN or the name of a secret",
    "aws:x?regoin=y": "aws: has no option regoin",
    "aws:x?region=y&region=z": "aws: an option stands there twice, or without a value",
    "aws:x?region=": "aws: an option stands there twice, or without a value",
    "ssm:mcp": "ssm: wants a path, /mcp/production, without a slash at its end",
    "azure:http://v.vault.azure.net": "azure: wants an https URL, without a user and password",
    "azure:https://v.vault.azure.net/keys/x": "azure: wants https://NAME.vault.azure.net, or that and /secrets/NAME",
    "gcp:shop": "gcp: wants PROJECT/SECRET, or PROJECT/PREFIX*",
    "gcp:shop/a*b": "gcp: wants PROJECT/SECRET, or PROJECT/PREFIX*",
    "gcp:shop/a?endpoint=https://x": "gcp: endpoint= wants a host name",
    "vault:https://u:p@v/kv/mcp?role=r": "vault: wants an https URL, without a user and password",
    "vault:https://[v/kv/mcp?role=r": "vault: wants an https URL, without a user and password",
    "vault:https://v/kv?role=r": "vault: wants https://HOST:8200/MOUNT/data/PATH (KV version 2) or "
    "https://HOST:8200/MOUNT/PATH",
    "vault:https://v/kv/mcp": "vault: auth=kubernetes wants role=",
    "vault:https://v/kv/mcp?auth=ldap": "vault: auth= must be kubernetes, jwt, approle, token",
    "vault:https://v/kv/mcp?auth=approle&role_id_file=/x": "vault: auth=approle wants secret_id_file=",
    '["aws:x", 3]': "must be words, or a JSON list of texts",
}


def problems(given: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as found:
        settings.load({**GOOD, **given})
    return found.value.problems


@pytest.mark.parametrize("word", WRONG)
def test_a_word_that_names_no_store_is_told_without_it(word: str) -> None:
    assert problems({"MCP_SECRETS": word, "MCP_PORT": "x"}) == [
        "MCP_PORT: must be a whole number",
        f"MCP_SECRETS: {WRONG[word]}",
    ]


def test_a_store_names_itself_without_its_options() -> None:
    found = stores.parsed("vault:https://v:8200/kv/data/mcp?role=r&token_file=/run/token")
    assert (found.name, dict(found.options)["role"]) == ("vault:https://v:8200/kv/data/mcp", "r")


class Scripted:
    """A store of a test's."""

    def __init__(self, name: str, answer: dict[str, str] | Exception | threading.Event) -> None:
        self.name, self.answer = name, answer

    def fetch(self) -> dict[str, str]:
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, threading.Event):
            self.answer.wait(30)
            return {}
        return self.answer


def test_the_first_store_goes_before_the_others_and_one_deadline_is_for_all() -> None:
    hangs = threading.Event()
    found = fetch(
        [
            Scripted("a", {"MCP_PORT": "1", "MCP_PATH": "/a\n"}),
            Scripted("b", {"MCP_PORT": "2", "MCP_HOST": "b"}),
            Scripted("c", SecretsUnavailable("says no")),
            Scripted("d", RuntimeError("s3cret")),
            Scripted("e", {}),
            Scripted("f", hangs),
            Scripted("g", hangs),
        ],
        deadline_s=0.05,
    )
    hangs.set()
    assert found.texts == {"MCP_PORT": "1", "MCP_PATH": "/a", "MCP_HOST": "b"}
    assert found.problems == [
        "MCP_SECRETS: c: says no",
        "MCP_SECRETS: d: could not be asked (RuntimeError)",
        "MCP_SECRETS: e: holds no setting: none of its names begins with MCP_",
        "MCP_SECRETS: f: no answer within 0.05 s",
        "MCP_SECRETS: g: no answer within 0.05 s",
    ]
    assert "/a" not in repr(found)


@pytest.mark.parametrize("text", ["[]", "no JSON", '"x"', "[" * 100_000, b"\xff"])
def test_what_is_no_object_is_no_secret_of_ours(text: str | bytes) -> None:
    with pytest.raises(SecretsUnavailable, match="no JSON object"):
        of_document(text)


def test_members_that_are_no_texts_are_settings_in_json() -> None:
    told = '{"MCP_UPSTREAM_SECRETS": {"a": "b"}, "MCP_PORT": 9000, "MCP_HOST": null, "password": "x"}'
    assert of_document(told) == {"MCP_UPSTREAM_SECRETS": '{"a":"b"}', "MCP_PORT": "9000"}


@pytest.mark.parametrize(
    ("kind", "library", "told"),
    [
        ("aws:x", "botocore.session", "wants botocore: pip install 'mcp-server-keycloak[aws]'"),
        (
            "azure:https://v.vault.azure.net",
            "azure.identity",
            "wants azure-keyvault-secrets and azure-identity: pip install 'mcp-server-keycloak[azure]'",
        ),
        ("gcp:shop/a", "google.auth", "wants google-cloud-secret-manager: pip install 'mcp-server-keycloak[gcp]'"),
    ],
)
def test_a_library_that_is_not_there_is_told_with_its_cure(
    kind: str, library: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert fetch(stores.sources([stores.parsed(kind)], Route())).problems[0].endswith(f": {told}")


def test_no_login_shows_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("s3cret")
    found = login({"auth": "jwt", "role": "r", "token_file": str(tmp_path / "t")})
    assert found.body == {"role": "r", "jwt": "s3cret"}
    assert "s3cret" not in repr(found)


def test_authorities_of_an_operator_are_in_addition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, _ = self_signed(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(tmp_path.iterdir())
    with authorities.file_of(Route(ca_file=str(certificate))) as path:
        assert path
        text = Path(path).read_text()
        assert text.count("BEGIN CERTIFICATE") > 20
        assert certificate.read_text() in text
        assert set(tmp_path.iterdir()) == before  # a killed process would leave it there
    assert not Path(path).exists()
    through = Route(proxy="http://proxy:3128", direct=("inside.example",))
    assert authorities.proxies_of(through, "inside.example") == {}
    assert authorities.proxies_of(through, "x")["https"] == "http://proxy:3128"


def test_a_manager_is_the_lowest_place_and_its_names_are_judged_like_others(tmp_path: Path) -> None:
    with server.running(tmp_path, Vault) as (vault, certificate):
        environment = {
            "MCP_ISSUER": GOOD["MCP_ISSUER"],
            "MCP_CA_FILE": str(certificate),
            "MCP_SECRETS_DIR": str(tmp_path / "mounted"),
            "MCP_SECRETS": f"vault:https://{vault.host}/kv/data/mcp?role=mcp&token_file={tmp_path}/identity",
        }
        vault.environment(tmp_path)
        vault.secrets = {"MCP_CLIENT_SECRET": "of-vault", "MCP_PORT": "9000", "MCP_PATH": "/vault", "MCP_HOST": ""}
        (tmp_path / "mounted").mkdir()
        (tmp_path / "mounted" / "MCP_PATH").write_text("/mounted")
        found = settings.load({**environment, "MCP_PORT": "9001"}, {"MCP_CLIENT_SECRET": "presumed"})
        assert (found.http.port, found.http.path, found.auth.secret()) == (9001, "/mounted", "of-vault")
        assert found.http.host == "127.0.0.1"
        vault.secrets |= {"MCP_CLIENT_SECRETS": "x", "MCP_SECRETS_DIR": "/etc", "MCP_PORT": "many"}
        with pytest.raises(SettingsError) as wrong:
            settings.load({**environment, "MCP_WORKERS": "many"})
        assert wrong.value.problems == [
            "MCP_SECRETS_DIR: is in a secret manager, and must be read before one is asked",
            "MCP_CLIENT_SECRETS: no such setting; did you mean MCP_CLIENT_SECRET?",
            "MCP_PORT: must be a whole number",
            "MCP_WORKERS: must be a whole number",
        ]
        vault.fault = "denied"  # what else is missing nobody can know
        with pytest.raises(SettingsError) as refused:
            settings.load({name: text for name, text in environment.items() if name != "MCP_ISSUER"})
        assert len(refused.value.problems) == 1
