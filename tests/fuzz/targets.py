"""The targets by their names; each has a folder of the corpus."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.fuzz import credentials, documents, environments, messages

Target = Callable[[bytes], None]
CORPUS: Final = Path(__file__).with_name("corpus")
TARGETS: Final[Mapping[str, Target]] = {
    "token": credentials.token,
    "claims": credentials.claims,
    "proof": credentials.proof,
    "issuer": credentials.issuer,
    "message": messages.message,
    "http": messages.http,
    "param": messages.param,
    "event": messages.event,
    "line": messages.line,
    "document": documents.document,
    "configuration": documents.configuration,
    "template": documents.template,
    "answer": documents.answer,
    "environment": environments.environment,
}
