"""Overlays 1.0 and 1.1: actions on the document before anything else reads it.

An action that cannot be carried out refuses the document, and is no fault beside it: what an overlay takes away (an
operation that must not be offered) would else be there.
"""

import functools
import operator
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathError, JSONPathNode

from mcp_server.rest.document.files.reading import MAX_DEPTH, Parsed, externals, measure, unusable
from mcp_server.rest.document.values import text_in
from mcp_server.rest.model import Fault

_VERSION: Final = re.compile(r"1\.[0-9]+(\.|\Z)")
MAX_TARGETS: Final = 200_000
"""Nodes that one expression may select: `$..*..*` selects more than the document has."""


class _Paths(JSONPathEnvironment):
    max_recursion_depth = MAX_DEPTH + 1


_PATHS: Final = _Paths()


def applied(parsed: Parsed, overlays: Sequence[Parsed]) -> Parsed:
    """The document with the actions of its overlays carried out, in their order; its value is changed in place."""
    if not overlays:
        return parsed
    _own(parsed.value)
    faults = list(parsed.faults)
    for number, overlay in enumerate(overlays):
        faults += overlay.faults
        for index, action in enumerate(_actions(overlay.value, number)):
            pointer = f"overlay {number + 1}#/actions/{index}"
            if not _carried_out(parsed.value, action, pointer):
                faults.append(Fault(pointer, f"{action['target']!r:.200} selects nothing"))
    _, outward = measure(parsed.value)
    return msgspec.structs.replace(parsed, faults=tuple(faults), externals=externals(outward), outward=outward)


def _actions(overlay: Any, number: int) -> list[Any]:
    version = overlay.get("overlay") if type(overlay) is dict else None
    if not _VERSION.match(str(version)):
        raise unusable("is no overlay of version 1.0 or 1.1", f"overlay {number + 1}")
    actions = overlay.get("actions")
    if type(actions) is not list:
        raise unusable("has no list of actions", f"overlay {number + 1}#/actions")
    return actions


def _carried_out(document: Any, action: Any, pointer: str) -> bool:
    if type(action) is not dict or not text_in(action, "target"):
        raise unusable("is no action: it has no target", pointer)
    targets = _selected(document, action["target"], f"{pointer}/target")
    if action.get("remove") is True:
        _remove(document, targets, pointer)
    elif "copy" in action:
        sources = _selected(document, text_in(action, "copy"), f"{pointer}/copy")
        if len(sources) != 1:
            raise unusable(f"selects {len(sources)} nodes, and one is copied", f"{pointer}/copy")
        source = _copied(sources[0].value)  # it may be within a target
        for node in targets:
            _update(node, source, f"{pointer}/copy")
    elif "update" in action:
        for node in targets:
            _update(node, action["update"], f"{pointer}/update")
    return bool(targets)


def _selected(document: Any, path: str, pointer: str) -> list[JSONPathNode]:
    found: list[JSONPathNode] = []
    try:
        for node in _PATHS.finditer(path, document):
            found.append(node)
            if len(found) > MAX_TARGETS:
                raise unusable(f"selects more than {MAX_TARGETS} nodes", pointer)
    except (JSONPathError, RecursionError) as error:
        raise unusable(f"is no JSONPath of RFC 9535: {str(error)[:200]}", pointer) from None
    return found


def _remove(document: Any, targets: list[JSONPathNode], pointer: str) -> None:
    """From the end of each list: what is removed first must not move what comes next."""
    if not all(node.location for node in targets):
        raise unusable("removes the whole document", f"{pointer}/target")
    held = [(functools.reduce(operator.getitem, node.location[:-1], document), node) for node in targets]
    for holder, node in sorted(held, key=lambda one: _last_index(one[1].location), reverse=True):
        key = node.location[-1]
        if type(holder) is dict:
            holder.pop(key, None)
        elif type(key) is int and key < len(holder) and holder[key] is node.value:
            del holder[key]


def _last_index(location: tuple[int | str, ...]) -> int:
    return last if type(last := location[-1]) is int else -1


def _update(node: JSONPathNode, new: Any, pointer: str) -> None:
    held: Any = node.value
    if type(held) is dict:
        if type(new) is not dict:
            raise unusable("updates an object with what is none", pointer)
        _merge(held, new, pointer)
    elif type(held) is list:
        held += [_copied(one) for one in new] if type(new) is list else [_copied(new)]
    elif type(new) in (dict, list):
        raise unusable("updates a primitive value with what is none", pointer)
    else:
        node.value = new


def _merge(held: dict[str, Any], new: dict[str, Any], pointer: str) -> None:
    for key, value in new.items():
        before = held.get(key)
        if type(before) is dict and type(value) is dict:
            _merge(before, value, pointer)
        elif type(before) is list and type(value) is list:
            before += [_copied(one) for one in value]
        elif type(before) in (dict, list):
            if value is not None:  # `components:` with nothing below it changes nothing
                raise unusable(f"{key!r:.100} is of another kind in the document", pointer)
        else:
            held[key] = _copied(value)


def _copied(value: Any) -> Any:
    """Containers of its own for each target: a later action may change one of them."""
    if type(value) is dict:
        return {key: _copied(held) for key, held in value.items()}
    return [_copied(held) for held in value] if type(value) is list else value


def _own(document: Any) -> None:
    """Let no two places share a container, as aliases of YAML do: an action means the one that it selects."""
    seen: set[int] = set()
    waiting = [document]
    while waiting:
        holder = waiting.pop()
        items = holder.items() if type(holder) is dict else enumerate(holder) if type(holder) is list else ()
        for key, held in list(items):
            if type(held) is dict or type(held) is list:
                if id(held) in seen:
                    held = holder[key] = _copied(held)  # noqa: PLW2901  # the copy is walked, and is nobody else's
                seen.add(id(held))
                waiting.append(held)
