"""What the official suite expects of the server under test; the names and texts are the suite's."""

from tests.kit.servers.conformance import answers, offers, questions
from tests.kit.servers.conformance.base import server

__all__ = ["answers", "offers", "questions", "server"]
