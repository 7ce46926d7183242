"""`devstack realm` run against a Keycloak of the tests."""

from click.testing import CliRunner, Result

from devstack.cli import main
from tests.kit import scopes
from tests.kit.authorities import Keycloak

PASSWORD = "admin"


def run(keycloak: Keycloak, verb: str, *more: str, use: str = "development", realm: str = "mcp") -> Result:
    """`devstack realm diff` or `apply`, as development's unless another use is said."""
    asked = () if {"--server", "--scopes"} & {*more} else ("--scopes", str(scopes.demo_file()))
    return command(keycloak, verb, "--for", use, "--resource", keycloak.resource, *asked, *more, realm=realm)


def command(keycloak: Keycloak, verb: str, *more: str, realm: str = "mcp") -> Result:
    """Any command of `devstack realm` that goes to a Keycloak."""
    place = ["--keycloak", keycloak.instance.origin, "--realm", realm]
    return CliRunner().invoke(main, ["realm", verb, *place, *more], env={"KEYCLOAK_ADMIN_PASSWORD": PASSWORD})
