"""`McpServer`: the registry an author fills; what is added later reaches clients as a list-changed notification."""

import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import PurePath
from typing import Any, Final, Literal, TypeVar, Unpack, overload

import msgspec

from mcp_server.authoring.context import Upstreams
from mcp_server.observe.log import logger
from mcp_server.protocol.types.content import Icon
from mcp_server.protocol.types.lifecycle import Implementation
from mcp_server.registry.addresses.path_safety import normalised
from mcp_server.registry.prompt import Completer, Prompt, PromptOptions
from mcp_server.registry.requirement import Requirement, named
from mcp_server.registry.resource import Resource, ResourceOptions
from mcp_server.registry.scope import Scope, by_name
from mcp_server.registry.scope_pattern import ScopePattern, parse, refuse_confusion
from mcp_server.registry.signature import name_of
from mcp_server.registry.tool import Tool, ToolOptions

Function = TypeVar("Function", bound=Callable[..., Any])
ListKind = Literal["tools", "prompts", "resources"]
Protected = Tool | Resource | Prompt
FALLBACK_SCOPES: Final = frozenset({"mcp:read"})


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """An API that a server shall offer: `rest/` reads the document and registers its tools when the application starts.

    `options` are those of its table in `mcp.toml`.
    """

    name: str
    document: str
    options: dict[str, Any]


class McpServer:
    """What one server offers. `state` is shared by its handlers, as `ctx.state`.

    With `scopes`, whatever is registered may need those only: a misspelt scope is a `ValueError` at the start, not a
    tool that nobody can call.

    Any thread may add and remove while calls run: a registry is never changed, but another takes its place.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = "0.0.0",
        title: str | None = None,
        instructions: str | None = None,
        icons: list[Icon] | None = None,
        website_url: str | None = None,
        scopes: Iterable[Scope] = (),
    ) -> None:
        self.info = Implementation(name=name, version=version, title=title, icons=icons, website_url=website_url)
        self.instructions = instructions
        self.scopes = by_name(scopes)
        self.declared_patterns = tuple(parse(text) for one in self.scopes.values() for text in one.patterns)
        refuse_confusion(self.declared_patterns, self.scopes, (), ())
        self.state: dict[str, Any] = {}
        self.imports: list[Import] = []
        """The APIs that are still to be read."""
        self.upstreams: Upstreams | None = None
        """The APIs behind it, as `ctx.upstream` finds them, while the application runs."""
        self.tools: dict[str, Tool] = {}
        self.taken: dict[str, str] = {}
        """`tools NAME` that is nobody's own → what who registers another one is told."""
        self.resources: dict[str, Resource] = {}
        self.prompts: dict[str, Prompt] = {}
        self.addresses: dict[str, str] = {}
        """The addresses of fixed resources by their one spelling (`path_safety.normalised`)."""
        self.covered: dict[str, list[tuple[dict[str, Any], Resource]]] = {}
        """Of each template the fixed resources whose addresses it fits, by the values that it reads there."""
        self._changing = threading.Lock()
        self.completions: dict[tuple[str, str], Completer] = {}
        self.watchers: list[Callable[[ListKind, str | None], None]] = []
        """Told of what listeners shall hear of."""
        self.keepers: list[Callable[[], None]] = []
        """Told of every change of a list before anybody hears of it: what was made of it is out of date."""
        self.changes = 0
        """How often a list has changed: what was made of the registry is made anew when this is another number."""

    @overload
    def tool(self, function: Function, /) -> Function: ...
    @overload
    def tool(self, name: str | None = None, **options: Unpack[ToolOptions]) -> Callable[[Function], Function]: ...
    def tool(self, name: str | Callable[..., Any] | None = None, **options: Unpack[ToolOptions]) -> Callable[..., Any]:
        """Register a function as a tool; no `scopes` means the server's default ones, `public` means no token.

        `requires` names client capabilities without which a modern call is refused. `task` lets the call go on as
        a task where the client knows the extension; with `ask_first`, what the handler asks before it awaits anything
        else is asked in the call, and the task begins after it. `single_use` accepts each round's state only once. With
        `input_schema`, a JSON Schema 2020-12, the function's only parameter gets all arguments as a dictionary;
        `output_schema` is promised of structured results. A tool that is not `listed` is called by who knows its name.
        A `delegate` tells which tool a call is about in truth, before it is judged. `limits` bound its calls; the audit
        has `audit_arguments`.

        Without options, `@server.tool` will do. Raises `ValueError` for a name that is taken or malformed and
        `UnsupportedType` for what JSON cannot carry.
        """
        if callable(name):
            return self.tool(**options)(name)

        def register(function: Function) -> Function:
            named = name or name_of(function, "@server.tool('a_name')")
            self._add("tools", named, Tool(function, named, **options))
            return function

        return register

    def include_openapi(self, document: str, /, *, name: str | None = None, **options: Any) -> None:
        """Offer the operations of a REST API as tools, beside those that are written by hand.

        `document` is a path or an https address of an OpenAPI document (2.0 to 3.2). `name` is that of the file where
        none is given: `ctx.upstream(name)` calls the same API from a handler. The options are those of a table
        `[apis.NAME]` in `mcp.toml`: `base_url="…"`, `include=["tag:orders"]`, `identity={"audience": "orders-api"}`,
        `scopes={"orders:read": "mcp:read"}`. Nothing is read before the application starts, which fails with the place
        of what is wrong. Raises `ValueError` for a name that is taken.
        """
        found = name or PurePath(document.rstrip("/").rpartition("/")[2]).name.partition(".")[0] or "api"
        if any(one.name == found for one in self.imports):
            raise ValueError(f"an API {found!r} is included already: name= gives this one another name")
        self.imports.append(Import(name=found, document=document, options=options))

    def resource(self, uri: str, **options: Unpack[ResourceOptions]) -> Callable[[Function], Function]:
        """Register a function as a resource, or as a family of them when `uri` is an RFC 6570 template.

        The function returns text, bytes, `ResourceContents` (or a list of them) or any value that becomes JSON; None
        or `ResourceNotFound` say that there is no such resource.
        """
        if not isinstance(uri, str):
            raise TypeError("a resource has an address: write @server.resource('scheme://address')")

        def register(function: Function) -> Function:
            self._add("resources", uri, Resource(function, uri, **options))
            return function

        return register

    @overload
    def prompt(self, function: Function, /) -> Function: ...
    @overload
    def prompt(self, name: str | None = None, **options: Unpack[PromptOptions]) -> Callable[[Function], Function]: ...
    def prompt(
        self, name: str | Callable[..., Any] | None = None, **options: Unpack[PromptOptions]
    ) -> Callable[..., Any]:
        """Register a function as a prompt: it returns a string, content, `PromptMessage`, or a list of those."""
        if callable(name):
            return self.prompt(**options)(name)

        def register(function: Function) -> Function:
            named = name or name_of(function, "@server.prompt('a_name')")
            self._add("prompts", named, Prompt(function, named, **options))
            return function

        return register

    def completion(self, ref: str, argument: str) -> Callable[[Function], Function]:
        """Register a function that completes an argument of a prompt (by name) or a template (by its text).

        It takes `value`, what was typed so far, and may take `arguments`, those already settled. The prompt or template
        is registered before: raises `ValueError` for one that is not there, or has no such argument.
        """
        self._check_completed(ref, argument)

        def register(function: Function) -> Function:
            if (ref, argument) in self.completions:
                raise ValueError(f"completion of {argument!r} of {ref!r} is registered already")
            self.completions[ref, argument] = Completer(function, f"completion of {ref!r}")
            return function

        return register

    def add_tool(self, tool: Tool) -> None:
        """Register a tool that was made by hand; raises `ValueError` for a name that is taken."""
        self._add("tools", tool.name, tool)

    def change_tools(self, *, add: Iterable[Tool] = (), remove: Iterable[str] = (), tell: bool = True) -> None:
        """Take tools away and add others in one step: all of it or, where something is wrong, nothing.

        Nobody sees the list between, and listeners are told once, however many there are; without `tell` by a later
        `list_changed`. Raises `KeyError` for one to be removed and not there, `ValueError` for a name that is taken.
        """
        added = list(add)
        with self._changing:
            changed = dict(self.tools)
            for name in remove:
                del changed[name]
            self._refuse_confusion(added, [*changed.values(), *self.resources.values(), *self.prompts.values()])
            for tool in added:
                self._check_declared("tools", tool.name, tool)
                if tool.name in changed:
                    raise ValueError(f"tool {tool.name!r} is registered already")
                changed[tool.name] = tool
            self.tools = changed
        self.list_changed("tools", tell=tell)

    def change_resources(self, *, add: Iterable[Resource] = (), remove: Iterable[str] = (), tell: bool = True) -> None:
        """Take resources away by their addresses and add others: all of it or nothing, and listeners are told once.

        Raises `KeyError` and `ValueError` as `change_tools` does.
        """
        with self._changing:
            before = self.resources, self.addresses, self.covered
            try:
                for uri in remove:
                    self._drop("resources", uri)
                for resource in add:
                    self._check_declared("resources", resource.uri, resource)
                    self._put("resources", resource.uri, resource)
            except BaseException:
                self.resources, self.addresses, self.covered = before
                raise
        self.list_changed("resources", tell=tell)

    def remove_tool(self, name: str) -> None:
        """Take a tool away; raises `KeyError`. Each worker process has a registry of its own."""
        self._remove("tools", name)

    def remove_resource(self, uri: str) -> None:
        """Take a resource or template away; raises `KeyError`."""
        self._remove("resources", uri)

    def remove_prompt(self, name: str) -> None:
        """Take a prompt away; raises `KeyError`."""
        self._remove("prompts", name)

    def list_changed(self, kind: ListKind, *, tell: bool = True) -> None:
        """Tell listeners, on whatever worker, that a list is not what it was; adding and removing do so themselves."""
        self.changes += 1
        for keeper in tuple(self.keepers):
            keeper()
        for watcher in tuple(self.watchers) if tell else ():
            watcher(kind, None)

    def resource_updated(self, uri: str) -> None:
        """Tell whoever subscribed to this resource that it changed; from whatever thread."""
        for watcher in tuple(self.watchers):
            watcher("resources", uri)

    @property
    def has_public(self) -> bool:
        """Whether anything is offered without a token: discovery is then open, too (lazy login)."""
        return any(one.public for one in self._all())

    @property
    def has_single_use(self) -> bool:
        """Whether anything takes each state of its rounds only once, which workers must agree on."""
        return any(one.single_use for one in self._all())

    def scopes_of(self, one: Protected, default: frozenset[str] = FALLBACK_SCOPES) -> frozenset[str] | Requirement:
        """What a tool, resource or prompt needs; `default` is what settings say for those that name nothing."""
        return default if one.scopes is None else one.scopes

    def declared_scopes(
        self, default: frozenset[str] = FALLBACK_SCOPES, *, parameterized: bool = False
    ) -> frozenset[str]:
        """Every scope that something needs: the one source of metadata, challenges and the realm's scopes.

        For one with variables its base scope stands. With `parameterized` nothing does: a login can ask neither for a
        pattern nor for the base scope of one whose issuer wants values (Keycloak 26.7.4 answers `invalid_scope`, and
        nobody would get in), though something else needs that as it is. What a function will name is not known: it may
        be whatever this server declares.
        """
        needs = [self.scopes_of(one, default) for one in self._all()]
        unknown = any(isinstance(one, Requirement) and one.function is not None for one in needs)
        found = frozenset(self.scopes if unknown else ()).union(*(named(one, parameterized=False) for one in needs))
        return found - {one.base for one in self.scope_patterns()} if parameterized else found

    def implied_scopes(self) -> dict[str, frozenset[str]]:
        """Which scopes a declared one brings with it."""
        return {one.name: frozenset(one.implies) for one in self.scopes.values() if one.implies}

    def described_scopes(self, default: frozenset[str] = FALLBACK_SCOPES) -> list[Scope]:
        """Every scope as a realm wants to know it: the declared in their order, then those only needed, by name."""
        needed = sorted(self.declared_scopes(default) - self.scopes.keys())
        patterns = sorted({(one.base, one.text) for one in self.scope_patterns()})
        return [
            msgspec.structs.replace(scope, patterns=tuple(text for base, text in patterns if base == scope.name))
            for scope in [*self.scopes.values(), *map(Scope, needed)]
        ]

    def scope_patterns(self) -> list[ScopePattern]:
        """The parameterized scopes that are declared, and those of all that is registered; each once."""
        return list(dict.fromkeys([*self.declared_patterns, *patterns_of(self._all())]))

    def _check_completed(self, ref: str, argument: str) -> None:
        """A completion of what is not there would never be asked for."""
        prompt, resource = self.prompts.get(ref), self.resources.get(ref)
        if prompt is not None:
            names: Collection[str] = prompt.choices.keys()
        elif resource is not None and resource.template is not None:
            names = resource.template.names
        else:
            raise ValueError(f"completion of {ref!r}: register the prompt or template of this name before it")
        if argument not in names:
            raise ValueError(
                f"completion of {ref!r}: {argument!r} is none of its arguments: {', '.join(names) or 'none'}"
            )

    def _all(self) -> list[Protected]:
        return [*self.tools.values(), *self.resources.values(), *self.prompts.values()]

    def _check_declared(self, kind: ListKind, key: str, value: Protected) -> None:
        if self.scopes and (unknown := named(value.scopes, parameterized=False) - self.scopes.keys()):
            raise ValueError(f"{kind.removesuffix('s')} {key!r} needs {', '.join(sorted(unknown))}: no declared scope")

    def _add(self, kind: ListKind, key: str, value: Protected) -> None:
        self._check_declared(kind, key, value)
        with self._changing:
            self._put(kind, key, value)
        if isinstance(value, Resource):
            self._warn_of_covered(value)
        self.list_changed(kind)

    def _put(self, kind: ListKind, key: str, value: Protected) -> None:
        registry: dict[str, Protected] = getattr(self, kind)
        if key in registry:
            raise ValueError(f"{kind[:-1]} {key!r} {self.taken.get(f'{kind} {key}', 'is registered already')}")
        self._refuse_confusion([value], self._all())
        if isinstance(value, Resource) and value.template is None:
            self._add_address(key)
        if isinstance(value, Resource):  # before it can be found: a template must not serve what it covers
            self._note_covered(value)
        setattr(self, kind, {**registry, key: value})

    def _named(self, one: Protected) -> frozenset[str]:
        return named(self.scopes_of(one), parameterized=False)

    def _refuse_confusion(self, added: list[Protected] | list[Tool], there: list[Protected]) -> None:
        """No value of one scope may make another (`scope_pattern.refuse_confusion`)."""
        new, before = patterns_of(added), [*self.declared_patterns, *patterns_of(there)]
        if new or before:
            fixed = frozenset(self.scopes).union(*map(self._named, there))
            refuse_confusion(new, frozenset[str]().union(*map(self._named, added)), before, fixed)

    def _remove(self, kind: ListKind, key: str) -> None:
        with self._changing:
            self._drop(kind, key)
        self.list_changed(kind)

    def _drop(self, kind: ListKind, key: str) -> None:
        registry: dict[str, Protected] = dict(getattr(self, kind))
        del registry[key]
        setattr(self, kind, registry)
        if kind == "resources":
            self.addresses = {one: uri for one, uri in self.addresses.items() if uri != key}
            self.covered = {
                uri: [one for one in fixed if one[1].uri != key] for uri, fixed in self.covered.items() if uri != key
            }

    def _add_address(self, uri: str) -> None:
        spelled = normalised(uri)
        if spelled in self.addresses:
            raise ValueError(f"resource {uri!r} is registered already, as {self.addresses[spelled]!r}")
        self.addresses = {**self.addresses, spelled: uri}

    def _note_covered(self, added: Resource) -> None:
        every = self.resources.values()
        templates = [added] if added.template else [one for one in every if one.template]
        for template in templates:
            others = [added] if added.template is None else [one for one in every if one.template is None]
            fits = [(values, one) for one in others if (values := template.match(one.uri)) is not None]
            self.covered = {**self.covered, template.uri: [*self.covered.get(template.uri, ()), *fits]}

    def _warn_of_covered(self, added: Resource) -> None:
        """Say so where a template takes the address of a resource that needs more than the template does.

        The address itself is the fixed resource's, however it and its values are spelled; yet a template may give the
        same thing under another name (a text in another case), and then asks for less.
        """
        others = [added] if added.template is None else [one for one in self.resources.values() if one.template is None]
        templates = [added] if added.template else [one for one in self.resources.values() if one.template]
        for fixed in others:
            for template in templates:
                lacks = self._named(fixed) - self._named(template)
                if lacks and template.match(fixed.uri) is not None:
                    logger.warning(
                        "a template covers a resource that needs more scopes",
                        template=template.uri,
                        resource=fixed.uri,
                        scopes=sorted(lacks),
                    )


def patterns_of(offered: Iterable[Protected]) -> list[ScopePattern]:
    """The parameterized scopes of these, each once."""
    needs = (one.scopes for one in offered if isinstance(one.scopes, Requirement))
    return list(dict.fromkeys(pattern for one in needs for pattern in one.patterns))
