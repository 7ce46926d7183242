"""What a call needs: a set of scopes, any of several, scopes of its arguments, or a function's word. A pure value.

A plain set stays a `frozenset`, which is compared as it is. All else is a `Requirement`, chosen from for each call.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any, Final, Union

import msgspec

from mcp_server.authoring.errors import BadArguments
from mcp_server.identity import Principal
from mcp_server.registry.scope_pattern import ScopePattern, has_variable, parse, scope_set, texts_of

ScopeFunction = Callable[[Mapping[str, Any], Principal], "Iterable[str] | Requirement"]
"""(arguments, principal) → what is needed. It is asked before each call, on the event loop: it must not do I/O."""
Scopes = Union[Iterable[str], "Requirement", ScopeFunction, None]
"""What `scopes=` may be; None stands for the server's default scopes."""
_NOTHING: Final[frozenset[str]] = frozenset()


class ParameterRules(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for parameterized scopes of one server.

    With `on` false their base scope stands for them. `opened_by` is the beginning of scopes → the scopes each of which
    opens all of them (`orders:refund` implies `orders:refund:*`): of implications alone, for a token may hold anything,
    and `orders:refund:*` in one is the order that is called `*`. `fixed` are scopes that no value may make: whoever
    could have a person allow "order admin" would else hold the scope `orders:admin`. `declared` are all that a function
    may name, beside what is made of `patterns`; empty where the server declares none.
    """

    on: bool = False
    opened_by: Mapping[str, frozenset[str]] = msgspec.field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    declared: frozenset[str] = frozenset()
    patterns: tuple[ScopePattern, ...] = ()

    def meant(self, said: str) -> ScopePattern | None:
        """The pattern of a scope that a function or a handler names with its value; None for one without a value.

        Only by its value is such a scope told from others, so it takes what needs no encoding: `%2A` that an author
        wrote out would be the scope of `*`. Raises `Undecided` for what may not be named.
        """
        if said in self.declared:
            return None
        pattern = next((one for one in self.patterns if one.fits(said)), None)
        if pattern is None:
            if self.declared:
                raise Undecided(f"{said}: no declared scope")
            return None
        if said in self.fixed or "%" in said:
            raise Undecided(
                f"{said}: not what {pattern.text} makes of a value, or another scope; name it with variables"
            )
        return pattern.settled(said)

    def known(self, pattern: ScopePattern) -> ScopePattern:
        """The same, where a function or a handler may name it; raises `Undecided`.

        Variables have the declared names: in a scope that is written out with an argument's value, the text `{note}`
        would else be the value of another argument.
        """
        if pattern not in self.patterns:
            if self.declared:
                raise Undecided(f"{pattern.text}: no declared scope; Scope({pattern.text!r}) in McpServer(scopes=...)")
            if other := next((one for one in self.patterns if one.confused_with(pattern)), None):
                raise Undecided(f"{pattern.text}: could make the same scope as {other.text}")
        return pattern

    def opening(
        self, pattern: ScopePattern, scope: str, held: frozenset[str], values: Mapping[str, Any]
    ) -> frozenset[str]:
        """Those of these scopes that open the one that a pattern made: itself, else what implies all of its kind.

        A base scope, where not all values are settled, is also opened by that of any value with those that are.
        """
        if scope in held:
            return frozenset({scope})
        valued = scope != pattern.base
        begins = scope.startswith if valued else f"{scope}:".startswith if not self.on else pattern.begins_with
        found = _NOTHING.union(*(openers for start, openers in self.opened_by.items() if begins(start))) & held
        return found if valued or not self.on else found.union(one for one in held if pattern.fits(one, values))


class Choice(msgspec.Struct, frozen=True):
    """Of alternatives the one that a caller is nearest to: all of it, and what of it is missing.

    `relied_on` is what the caller holds of it by name, also where that opens what is needed: who comes back for the
    answer must hold it.
    """

    needed: frozenset[str]
    missing: frozenset[str]
    relied_on: frozenset[str]


class Alternative(msgspec.Struct, frozen=True):
    """Scopes that are needed together; those of `patterns` take their values from the call."""

    scopes: frozenset[str]
    patterns: tuple[ScopePattern, ...] = ()

    def named(self, *, parameterized: bool) -> frozenset[str]:
        """What is said of it where there is no call: patterns as they are written, or their base scopes."""
        return self.scopes | {one.text if parameterized else one.base for one in self.patterns}

    def known(self, rules: ParameterRules) -> "Alternative":
        """The same in the server's scopes; raises `Undecided` for one that it does not know."""
        made = {one: rules.meant(one) for one in self.scopes}
        patterns = (*map(rules.known, self.patterns), *filter(None, made.values()))
        return Alternative(frozenset(one for one, pattern in made.items() if pattern is None), patterns)

    def judged(self, values: Mapping[str, Any], held: frozenset[str], rules: ParameterRules) -> Choice:
        """What of it is missing to who holds these scopes; raises `BadArguments`.

        A value that is not there counts for none: who completes an argument has not settled the others, and a list is
        of no call. Then the base scope is asked for.
        """
        made = [(self._made(one, values, rules), one) for one in self.patterns]
        relied, lacking = set(self.scopes & held), set(self.scopes - held)
        for scope, pattern in made:
            if by := rules.opening(pattern, scope, held, values):
                relied.add(min(by))
            else:
                lacking.add(scope)
        return Choice(self.scopes.union(scope for scope, _ in made), frozenset(lacking), frozenset(relied))

    def lacks(self, values: Mapping[str, Any], rules: ParameterRules) -> frozenset[str]:
        """The variables without a value, where values count."""
        wanted = (one.variables for one in self.patterns) if rules.on else ()
        return _NOTHING.union(*wanted) - values.keys()

    def _made(self, pattern: ScopePattern, values: Mapping[str, Any], rules: ParameterRules) -> str:
        if not rules.on or not pattern.variables <= values.keys():
            return pattern.base
        scope = pattern.made(values)
        if scope in rules.fixed:
            raise BadArguments(f"{', '.join(sorted(pattern.variables))}: makes the name of another scope")
        return scope


class Requirement(msgspec.Struct, frozen=True):
    """What a call needs where that is no plain set: `alternatives` in order, or what a function says of the call."""

    alternatives: tuple[Alternative, ...] = ()
    function: ScopeFunction | None = None

    @property
    def patterns(self) -> tuple[ScopePattern, ...]:
        """Every parameterized scope in it."""
        return tuple(pattern for one in self.alternatives for pattern in one.patterns)

    def named(self, *, parameterized: bool) -> frozenset[str]:
        """Every scope that it may ask for, as far as it is known without a call."""
        return _NOTHING.union(*(one.named(parameterized=parameterized) for one in self.alternatives))

    def first(self, rules: ParameterRules) -> frozenset[str]:
        """What an unknown caller is told: the first alternative, and no value of theirs."""
        return self.alternatives[0].named(parameterized=rules.on) if self.alternatives else _NOTHING

    def asks_values(self, rules: ParameterRules) -> bool:
        """Whether anything of it depends on the arguments."""
        return self.function is not None or (rules.on and any(one.patterns for one in self.alternatives))

    def choose(
        self, values: Mapping[str, Any], principal: Principal, rules: ParameterRules, *, whole: bool = True
    ) -> Choice:
        """The alternative of which the fewest scopes are missing, of several such the first.

        Of a `whole` call each variable has a value: else who holds the scope of any other value would be let in.
        Raises `BadArguments` where a value makes no scope, and `Undecided` where a function does not say.
        """
        found: Choice | None = None
        wrong: str | None = None
        alternatives = self.alternatives
        if self.function is not None:
            alternatives, values = self._said(values, principal, rules)
        for one in alternatives:
            if whole and (lost := one.lacks(values, rules)):
                raise Undecided(f"no value for {', '.join(sorted(lost))}")
            try:
                choice = one.judged(values, principal.scopes, rules)
            except BadArguments as error:
                wrong = str(error)
                continue
            if not choice.missing:
                return choice
            if found is None or len(choice.missing) < len(found.missing):
                found = choice
        if wrong is not None:
            raise BadArguments(wrong)
        if found is None:
            raise Undecided("no scopes")
        return found

    def within_reach(self, principal: Principal | None, rules: ParameterRules) -> bool:
        """Whether the caller may hold what some call needs: all that can be said where there is no call."""
        if principal is None or self.function is not None:
            return principal is not None
        return not all(one.judged({}, principal.scopes, rules).missing for one in self.alternatives)

    def _said(
        self, values: Mapping[str, Any], principal: Principal, rules: ParameterRules
    ) -> tuple[tuple[Alternative, ...], Mapping[str, Any]]:
        """What a function says of a call, and the values for it; whatever it throws is a refusal, never a pass."""
        try:
            said = None if self.function is None else self.function(MappingProxyType(values), principal)
            if inspect.iscoroutine(said):
                said.close()
            found = _alternatives_of(said)
        except NeedsScopes as raised:
            found, values = raised.requirement.alternatives, {**values, **raised.values}
        except BaseException as error:  # SystemExit would end the event loop, and with it the server
            raise Undecided(f"the function of scopes raised {type(error).__name__}") from error
        return Requirement(found).known(rules).alternatives, values

    def known(self, rules: ParameterRules) -> "Requirement":
        """The same in the server's scopes, of what a function or a handler names at a call; raises `Undecided`.

        A scope that the server does not declare no realm has, or it means something else. What is needed by `scopes=`
        is checked when it is registered.
        """
        return Requirement(tuple(one.known(rules) for one in self.alternatives))


class Login(msgspec.Struct, frozen=True):
    """What the caller's login must be like (RFC 9470): at most `fresh_s` seconds ago, in one of the ways of `acr`."""

    fresh_s: int | None = None
    acr: tuple[str, ...] = ()


class Undecided(Exception):
    """A function of scopes did not say what is needed."""


class NeedsScopes(Exception):
    """Raised by a handler that finds out on its way that the caller needs other scopes: before it has done anything.

    While nothing of the answer has been sent, the client gets the challenge that a declared scope would have got (403
    over HTTP), and may come back; after that, and in a task, an error that names the scopes. Variables take the
    arguments of the call, or the `values` given here.
    """

    def __init__(self, scopes: "Iterable[str] | Requirement", /, **values: object) -> None:
        found = Requirement(_alternatives_of(scopes))
        if not any(one.scopes or one.patterns for one in found.alternatives):
            raise ValueError("NeedsScopes names at least one scope")
        names = (" ".join(sorted(one.named(parameterized=True))) for one in found.alternatives)
        super().__init__(f"needs {' or '.join(names)}")
        self.requirement, self.values = found, values

    def within(self, arguments: Mapping[str, Any]) -> "NeedsScopes":
        """The same, of a call with these arguments; one that an author made once is raised by many calls at a time."""
        return NeedsScopes(self.requirement, **{**arguments, **self.values})


def any_of(*alternatives: Iterable[str]) -> Requirement:
    """Scopes of which any one set will do. The client is asked for the set of which it lacks the fewest.

    Of several such it is the first, as for an unknown caller.
    """
    if not alternatives:
        raise ValueError("any_of takes sets of scopes")
    return Requirement(tuple(map(_alternative, alternatives)))


def required(scopes: Scopes) -> frozenset[str] | Requirement | None:
    """What `scopes=` says, checked: a plain set as it is. Raises `TypeError` and `ValueError`."""
    if scopes is None or isinstance(scopes, Requirement):
        return scopes
    if callable(scopes):
        if inspect.iscoroutinefunction(scopes):
            raise TypeError("a function of scopes does no I/O: it is no coroutine")
        return Requirement(function=scopes)
    found = _alternative(scopes)
    return Requirement((found,)) if found.patterns else found.scopes


def named(needs: frozenset[str] | Requirement | None, *, parameterized: bool) -> frozenset[str]:
    """Every scope that may be asked for, as far as it is known without a call; nothing for the default."""
    return needs.named(parameterized=parameterized) if isinstance(needs, Requirement) else needs or _NOTHING


def by_function(needs: "frozenset[str] | Requirement | None") -> bool:
    """Whether a function says what is needed, so that nobody knows it without a call."""
    return isinstance(needs, Requirement) and needs.function is not None


def effective(label: str, scopes: Scopes, *, public: bool) -> frozenset[str] | Requirement | None:
    """What is needed: nothing when public, else what was declared, None for the default."""
    if public and scopes:
        raise ValueError(f"{label} cannot be public and need scopes")
    try:
        return _NOTHING if public else required(scopes)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{label}: {error}") from error


def login_of(label: str, fresh: int | None, acr: str | Iterable[str], *, public: bool) -> Login | None:
    """What `fresh=` and `acr=` say; None where any login will do."""
    given = (acr,) if isinstance(acr, str) or not isinstance(acr, Iterable) else tuple(acr)
    if not all(isinstance(one, str) for one in given):
        raise TypeError(f'{label}: acr is a text, acr="2", or several of them, and not {acr!r}')
    ways = tuple(dict.fromkeys(given))
    if ways:
        scope_set(ways)  # they stand in a header, between blanks
    if fresh is None and not ways:
        return None
    if public:
        raise ValueError(f"{label} cannot be public and need a login")
    if fresh is not None and (isinstance(fresh, bool) or not isinstance(fresh, int) or fresh < 0):
        raise ValueError(f"{label}: fresh is a whole number of seconds")
    return Login(fresh, ways)


def check_variables(
    label: str,
    needs: frozenset[str] | Requirement | None,
    schemas: Callable[[], Mapping[str, Mapping[str, Any]]],
    definitions: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Raise `ValueError` for a variable that is none of the arguments that always have a value, or makes no scope.

    `schemas` are of those arguments, asked for where a scope has a variable.
    """
    patterns = needs.patterns if isinstance(needs, Requirement) else ()
    settled = schemas() if patterns else {}
    for pattern in patterns:
        for name in sorted(pattern.variables):
            if name not in settled:
                there = ", ".join(settled) or "none"
                raise ValueError(
                    f"{label}: {name!r} of scope {pattern.text!r} is no argument that is always there: {there}"
                )
            if not _makes_scopes(settled[name], definitions):
                raise ValueError(
                    f"{label}: {name!r} of scope {pattern.text!r} is not always a text or a whole number of its own"
                )


def _alternatives_of(scopes: Any) -> tuple[Alternative, ...]:
    """What a function or a handler names; an empty set needs no more than a known caller."""
    if isinstance(scopes, Requirement):
        if not scopes.alternatives:
            raise TypeError("a function is no word of another one: a set of scopes, or any_of(...)")
        return scopes.alternatives
    if isinstance(scopes, AbstractSet) and not scopes:
        return (Alternative(_NOTHING),)
    return (_alternative(scopes),)


def _alternative(scopes: Iterable[str]) -> Alternative:
    found = texts_of(scopes)
    patterns = tuple(parse(one) for one in sorted(found) if has_variable(one))
    plain = scope_set(found - {one.text for one in patterns}) if len(patterns) < len(found) or not found else _NOTHING
    return Alternative(plain or _NOTHING, patterns)


def _makes_scopes(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    """Whether all that a schema allows is a text or a whole number, and no two of them make one scope."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _makes_scopes(definitions.get(reference.removeprefix("#/$defs/"), {}), {})
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        apart = len({str(one) for one in values}) == len(values)  # 1 and "1" would open each other
        return apart and all(isinstance(one, str) or type(one) is int for one in values)
    return schema.get("type") in ("string", "integer")
