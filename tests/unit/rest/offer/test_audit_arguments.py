"""Arguments of imported tools that the audit shall have: never a secret's."""

import pytest

from mcp_server.rest.offer import config_file
from mcp_server.rest.offer.config import ConfigError


def test_names_are_taken_and_secrets_are_not() -> None:
    (api,) = config_file.read(b'[apis.orders]\naudit_arguments = ["orderId", "status"]').values()
    assert api.audit_arguments == ("orderId", "status")
    with pytest.raises(ConfigError, match=r"apis.orders.audit_arguments: a list of arguments"):
        config_file.read(b'[apis.orders]\naudit_arguments = ["apiKey"]')
