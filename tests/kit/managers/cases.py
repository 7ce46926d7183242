"""Each kind of store: its stand-in, the words of `MCP_SECRETS` for it, and the one line of each thing that goes wrong."""

from collections.abc import Callable

from tests.kit.managers.aws import ARN, ROLE, Aws
from tests.kit.managers.azure import CALLER, Azure
from tests.kit.managers.gcp import Gcp
from tests.kit.managers.server import Fault, Manager
from tests.kit.managers.vault import Vault


class Case:
    """A kind of store; `{host}` and `{folder}` in its words are a stand-in's and a test's."""

    def __init__(self, make: Callable[[int], Manager], *words: str) -> None:
        self.make, self.words = make, words


CASES = {
    "aws": Case(Aws, f"aws:{ARN}", "aws:mcp/prod?region=eu-west-1"),
    "ssm": Case(Aws, "ssm:/mcp/prod"),
    "azure": Case(Azure, "azure:https://{host}", "azure:https://{host}/secrets/all"),
    "gcp": Case(Gcp, "gcp:shop/all?endpoint={host}", "gcp:shop/prod-*?endpoint={host}"),
    "vault": Case(
        Vault,
        "vault:https://{host}/kv/data/mcp?role=mcp&token_file={folder}/identity",
        "vault:https://{host}/v1/old/mcp?role=mcp&mount=prod&token_file={folder}/identity&namespace=team",
        "vault:https://{host}/kv/data/mcp?auth=jwt&role=mcp&token_file={folder}/identity",
        "vault:https://{host}/kv/data/mcp?auth=approle&role_id_file={folder}/identity&secret_id_file={folder}/identity",
    ),
}
LINES: dict[Fault, dict[str, str]] = {
    "denied": {
        "aws": f"as {ROLE}: needs secretsmanager:GetSecretValue on it, and kms:Decrypt where its key is one of your own",
        "ssm": f"as {ROLE}: needs ssm:GetParametersByPath on it, and kms:Decrypt where the key is one of your own",
        "azure": f"as {CALLER}: needs list and get of its secrets (role Key Vault Secrets User), "
        "or its network lets nobody in from here",
        "gcp": "as google.auth.identity_pool: needs secretmanager.versions.access on it (role Secret Manager Secret "
        "Accessor)",
        "vault": "as kubernetes role mcp: needs the capability read on kv/data/mcp",
    },
    "absent": {
        "aws": "there is no such secret in this account and region",
        "ssm": "there is no such secret in this account and region",
        "azure": "there is no such secret",
        "gcp": "there is no such secret, or no version of it",
        "vault": "there is nothing at kv/data/mcp, or its newest version is deleted",
    },
    "slow": dict.fromkeys(CASES, "no answer within 0.3 s"),
    "broken": dict.fromkeys(CASES, "answered 500"),
    "garbled": {
        "aws": "what is there is no JSON object of settings by their names",
        "ssm": "answers with what no such store would (KeyError): is another server there, or a proxy?",
        "azure": "answers with what no such store would (DecodeError): is another server there, or a proxy?",
        "gcp": "answers with what no such store would (ParseError): is another server there, or a proxy?",
        "vault": "answers with no JSON object: is there a Vault?",
    },
    "expired": {
        "aws": "the identity is over, or not known there (ExpiredTokenException): see the credentials of this pod or "
        "machine",
        "ssm": "the identity is over, or not known there (ExpiredTokenException): see the credentials of this pod or "
        "machine",
        "azure": "the identity is over, or not known to its tenant: see the federated token or credential of this pod",
        "gcp": "as google.auth.identity_pool: the identity is over, or not known to Google",
        "vault": "the login as kubernetes role mcp is refused (403): is there such a role, does it take this identity, "
        "and is the identity's token not over?",
    },
}
