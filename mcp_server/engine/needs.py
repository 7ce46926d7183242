"""What a call needs of its caller, asked of one registry: scopes, some of them made of its arguments, and a login."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from mcp_server.authoring.errors import BadArguments
from mcp_server.engine.call import Challenged
from mcp_server.identity import Principal, ScopeRules, missing, stale
from mcp_server.observe.log import logger
from mcp_server.protocol.errors import AUTHORIZATION_ERROR, RpcError
from mcp_server.registry.requirement import (
    Choice,
    Login,
    NeedsScopes,
    ParameterRules,
    Requirement,
    Undecided,
    named,
)
from mcp_server.registry.scope import WILDCARD
from mcp_server.registry.server import McpServer, Protected

Values = Callable[[], Mapping[str, Any]]
UNDECIDED: Final = RpcError(code=AUTHORIZATION_ERROR, message="What this call needs could not be told", status=403)


class ScopeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What settings say of scopes: those that stand where none are named, and what else holds of them."""

    default: frozenset[str]
    rules: ScopeRules = ScopeRules()
    parameterized: bool = False


class Needs:
    """The needs of one server's tools, resources and prompts, as they are registered now."""

    def __init__(self, server: McpServer, config: ScopeConfig) -> None:
        self._server, self._config = server, config
        self.rules = ParameterRules()
        self._told_of_unknown = False
        self.changed()

    def changed(self) -> None:
        """Take note of what the registry holds now."""
        implies = self._implied()
        fixed = self._server.declared_scopes(self._config.default)
        others = (*implies.values(), *self._config.rules.role_scopes.values())
        self.rules = ParameterRules(
            on=self._config.parameterized,
            opened_by=_openers(implies),
            fixed=fixed.union(self._server.scopes, implies, *others),
            declared=frozenset(self._server.scopes),
            patterns=tuple(self._server.scope_patterns()),
        )

    def tell(self) -> None:
        """Say which scopes are not asked for as they are declared; at the start, for an operator can change that."""
        if not self.rules.on and (patterns := sorted({one.text for one in self._server.scope_patterns()})):
            logger.info("parameterized scopes are off: the base scope is requested instead", scopes=patterns)

    def of(self, one: Protected) -> frozenset[str] | Requirement:
        """What is declared of it, or stands for what is not."""
        return self._server.scopes_of(one, self._config.default)

    def judge(
        self, one: Protected, principal: Principal | None, values: Values, *, whole: bool = True
    ) -> Choice | Challenged | RpcError:
        """What of it this caller relies on, or lacks. `values` are asked for where a scope is made of them.

        All of them are there for a `whole` call, not for the completion of an argument. Raises `BadArguments` where
        they are wrong.
        """
        needs = self.of(one)
        if principal is None and isinstance(needs, Requirement):
            return Challenged(needs.first(self.rules))
        if principal is None and one.login is not None:  # with no default scopes it needs a known caller all the same
            return Challenged(named(needs, parameterized=False))
        choice = self._chosen(needs, principal, values, whole=whole)
        if isinstance(choice, RpcError):
            return choice
        if isinstance(needs, Requirement) and (not whole or needs.function is not None):
            if lost := self._ungrantable(choice):
                logger.info("what a call needs no issuer grants without a value", scopes=sorted(lost))
                return UNDECIDED
            choice = choice if whole else Choice(choice.relied_on | choice.missing, choice.missing, choice.relied_on)
        login = one.login
        if principal is None or login is None or principal.tokenless:
            return Challenged(choice.needed) if choice.missing else choice
        old = stale(principal, login.fresh_s, login.acr, time.time())
        if not old and not choice.missing:
            return choice
        return Challenged(choice.needed, login if old else None, scopes_held=not choice.missing)

    def raised(self, error: NeedsScopes, principal: Principal | None) -> Choice:
        """What a handler asked for on its way, and what of it is missing; raises `BadArguments` and `Undecided`."""
        needs = error.requirement.known(self.rules)
        self._tell_unknown(needs.named(parameterized=False) - self.rules.fixed)
        if principal is None:
            first = needs.first(self.rules)
            return Choice(first, first, frozenset())
        choice = needs.choose(error.values, principal, self.rules)
        if lost := self._ungrantable(choice):
            raise Undecided(f"{', '.join(sorted(lost))}: no issuer grants it without a value")
        return choice

    def holds(self, error: NeedsScopes, principal: Principal | None) -> bool:
        """Whether the caller has what this would ask for; what has a value that no scope may hold, nobody has.

        Whoever started the process on a desktop has all that could be granted. Raises `Undecided`.
        """
        needs = error.requirement.known(self.rules)
        if lost := frozenset[str]().union(*(one.variables for one in needs.patterns)) - error.values.keys():
            raise Undecided(f"no value for {', '.join(sorted(lost))}")
        if principal is None or principal.tokenless:
            return principal is not None
        try:
            return not needs.choose(error.values, principal, self.rules).missing
        except BadArguments:
            return False

    def weak_login(self, one: Protected, principal: Principal | None, *, fresh: bool) -> Login | None:
        """The login that a caller must have to go on with what has begun, where theirs is none; `fresh`: a recent one.

        How somebody logged in is asked each time, for a client may have a weaker token by now. How long ago is asked
        where an answer of the person has something done, and not of who looks: a long task would have them log in again
        and again to be told that it goes on.
        """
        login = one.login
        if login is None or principal is None or principal.tokenless:
            return None
        asked = login if fresh else Login(None, login.acr)
        return asked if stale(principal, asked.fresh_s, asked.acr, time.time()) else None

    def within_reach(self, one: Protected, principal: Principal | None) -> bool:
        """Whether the caller may hold what some call of it needs, for lists and for tasks that have begun."""
        return within_reach(self.of(one), principal, self.rules)

    def _chosen(
        self, needs: frozenset[str] | Requirement, principal: Principal | None, values: Values, *, whole: bool
    ) -> Choice | RpcError:
        if principal is None or not isinstance(needs, Requirement):
            plain = named(needs, parameterized=False)
            return Choice(plain, missing(plain, principal), plain)
        if principal.tokenless:  # parameters and functions name scopes that nobody could be given beforehand
            return Choice(needs.first(self.rules), frozenset(), frozenset())
        try:
            return needs.choose(values() if needs.asks_values(self.rules) else {}, principal, self.rules, whole=whole)
        except Undecided as undecided:
            logger.opt(exception=undecided).error("what a call needs is not told", reason=str(undecided))
            return UNDECIDED

    def _ungrantable(self, choice: Choice) -> frozenset[str]:
        """The base scopes that are missing where values count: the login that a challenge asks for would fail.

        A completion asks for one that has no value yet, a function or a handler for one by its name.
        """
        return choice.missing.intersection(one.base for one in self.rules.patterns) if self.rules.on else frozenset()

    def _tell_unknown(self, unknown: frozenset[str]) -> None:
        """Say once what no realm has that is made of this server; where scopes are declared it has been refused."""
        if unknown and not self._told_of_unknown:
            self._told_of_unknown = True
            logger.warning(
                "a handler names scopes that McpServer(scopes=...) does not declare: a login for them may fail",
                scopes=sorted(unknown),
            )

    def _implied(self) -> dict[str, frozenset[str]]:
        own, settings = self._server.implied_scopes(), self._config.rules.implies
        return {scope: own.get(scope, frozenset()) | settings.get(scope, frozenset()) for scope in {*own, *settings}}


def within_reach(needs: frozenset[str] | Requirement, principal: Principal | None, rules: ParameterRules) -> bool:
    """Whether the caller may hold what is needed, as far as that can be said without a call."""
    if isinstance(needs, Requirement):
        return (principal is not None and principal.tokenless) or needs.within_reach(principal, rules)
    return not missing(needs, principal)


def _openers(implies: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """The beginning of scopes → those that open all of them: `orders:refund:` for what implies `orders:refund:*`."""
    found: dict[str, frozenset[str]] = {}
    for scope, others in implies.items():
        for one in others:
            if one.endswith(WILDCARD):
                start = one.removesuffix("*")
                found[start] = found.get(start, frozenset()) | {scope}
    return found
