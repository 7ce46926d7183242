"""Names of tools and keys of arguments: readable, within what providers take, the same whatever the document's order.

One key outside `[a-zA-Z0-9_.-]{1,64}` makes a provider refuse the whole request, and clients put a prefix before a
tool's name, so 48 characters are what a name may have of the 64.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

import msgspec

LONGEST: Final = 48
HARD_LIMIT: Final = 64
NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_KEY: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_LONGEST_TEXT: Final = 1_000
"""What is looked at of an id or a path: nothing longer says more, and a name of a megabyte must not cost minutes."""
_MOST_WORDS: Final = 24
_UNKEYED: Final = re.compile(r"[^a-zA-Z0-9_.-]+")
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*|[0-9]+|[A-Z]+")
# ruff: noqa: RUF001 - the letters of other scripts are the point of the table
_SPELLINGS: Final = (
    "аa бb вv гg дd еe ёe жzh зz иi йy кk лl мm нn оo пp рr сs тt уu фf хkh цts чch шsh щshch ъ ыy ь эe юyu яya "
    "іi їyi єye ґg αa βv γg δd εe ζz ηi θth ιi κk λl μm νn ξx οo πp ρr σs ςs τt υy φf χch ψps ωo "
    "ßss æae øo œoe đd łl þth ðd"
)
"""Letters that no decomposition turns into ASCII: each with how it is spelled."""
_LETTERS: Final = {
    ord(form): spelling[1:] if form == spelling[0] else spelling[1:].capitalize()
    for spelling in _SPELLINGS.split()
    for form in {spelling[0], spelling[0].upper()}
    if len(form) == 1
}
_SMALL_WORDS: Final = frozenset({"a", "an", "the", "of", "for", "and", "to", "in", "on", "by", "with", "from"})
_CONTROLLER: Final = re.compile(r"[A-Z][A-Za-z0-9]*[_.]")


Key = tuple[str, str, str, str]


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation's name is made of; `chosen` is one that somebody wrote for it."""

    method: str
    path: str
    operation_id: str = ""
    tags: tuple[str, ...] = ()
    chosen: str = ""
    pointer: str = ""

    @property
    def key(self) -> Key:
        """What tells it from all others, and what names are decided by.

        Path and method would do, but for documents that tell operations by a fragment (`/#X-Amz-Target=...`).
        """
        return self.path, self.method, self.operation_id, self.pointer


def words(text: str) -> list[str]:
    """The words of a name in small ASCII letters: `UsersController_findAll`, `users/find-all`, `НайтиЗаказ`."""
    return [one.lower() for one in _WORD.findall(_spelled(text[:_LONGEST_TEXT]))]


def argument_key(wire: str) -> str:
    """The key of an argument for a name on the wire: that name where providers take it."""
    if _KEY.fullmatch(wire):
        return wire
    plain = _UNKEYED.sub("_", _spelled(wire)).strip("_.-")
    return plain if _KEY.fullmatch(plain) else hashed(plain, HARD_LIMIT, "argument", wire)


def _spelled(text: str) -> str:
    """The text in ASCII letters where we can spell it; what we cannot stays."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text).translate(_LETTERS)
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return plain.translate(_LETTERS)  # what an accent hid until now


def hashed(text: str, longest: int, *identity: str) -> str:
    """A text cut to its length, with six digits of what it stands for."""
    return f"{text[: longest - 7].rstrip('_.-') or 'x'}_{digest(*identity)}"


def digest(*identity: str, digits: int = 6) -> str:
    """The first digits of SHA-256 over what tells one from another."""
    return sha256("\0".join(identity).encode("utf-8", "surrogatepass")).hexdigest()[:digits]


def tool_names(operations: Sequence[Named], reserved: Collection[str] = ()) -> dict[Key, str]:
    """Key → the name of each operation's tool; decided by what the operations are, not where they stand.

    Those that are alike all change, chosen ones excepted: first by the method, then by the last word of the path that
    tells them apart, then by a hash, so that none depends on which was met first.
    """
    ordered = sorted(operations, key=lambda one: one.key)
    prefixes = _shared_prefixes(ordered)
    chosen = {one.key: _chosen(one) for one in ordered if one.chosen}
    names = {one.key: chosen.get(one.key) or shortened(_first(one, prefixes), one) for one in ordered}
    count = Counter(names.values())
    for another in (_with_method, _with_path_word, _with_digest):
        for group in _alike(ordered, names, chosen, reserved):
            changed = another(group, names)
            own, wanted = Counter(names[key] for key in changed), Counter(changed.values())
            free = {name for name in wanted if count[name] == own[name] and name not in reserved}
            for key, name in changed.items():
                if name in free and (wanted[name] == 1 or another is _with_digest):
                    count[names[key]] -= 1
                    count[name] += 1
                    names[key] = name
    return _made_unique(ordered, names, reserved)


def _alike(
    ordered: Iterable[Named], names: Mapping[Key, str], chosen: Mapping[Key, str],
    reserved: Collection[str],
) -> list[list[Named]]:  # fmt: skip
    """The operations whose name another one has, or nobody may have, together; a chosen name is kept."""
    count = Counter(names.values())
    groups: defaultdict[str, list[Named]] = defaultdict(list)
    for one in ordered:
        name = names[one.key]
        if (count[name] > 1 and one.key not in chosen) or name in reserved:
            groups[name].append(one)
    return [groups[name] for name in sorted(groups)]


def _with_method(group: list[Named], names: Mapping[Key, str]) -> dict[Key, str]:
    return {one.key: shortened([*words(names[one.key]), one.method.lower()], one) for one in group}


def _with_path_word(group: list[Named], names: Mapping[Key, str]) -> dict[Key, str]:
    """Each with the last word of its path that not all of them have."""
    of_each = {one.key: words(one.path) for one in group}
    common = set.intersection(*(set(found) for found in of_each.values()))
    found = {}
    for one in group:
        own = [word for word in of_each[one.key] if word not in common]
        if own:
            found[one.key] = shortened([*words(names[one.key]), own[-1]], one)
    return found


def _with_digest(group: list[Named], names: Mapping[Key, str]) -> dict[Key, str]:
    return {one.key: hashed(names[one.key], LONGEST, one.method, one.path) for one in group}


def _made_unique(ordered: list[Named], names: dict[Key, str], reserved: Collection[str]) -> dict[Key, str]:
    """The names with more digits where six were alike: two chosen names, or one in sixteen million."""
    taken = set(reserved)
    for one in ordered:
        digits = 8
        while names[one.key] in taken and digits <= 16:
            names[one.key] = f"{names[one.key][:30].rstrip('_-')}_{digest(*one.key, digits=digits)}"
            digits += 2
        taken.add(names[one.key])
    return names


def _chosen(one: Named) -> str:
    """A chosen name as it is, if a name can be so; else what can be made of it."""
    if NAME.fullmatch(one.chosen):
        return one.chosen
    return shortened(words(one.chosen) or _of_path(one), one, HARD_LIMIT)


def _first(one: Named, prefixes: Mapping[Key, str]) -> list[str]:
    operation_id = one.operation_id[len(prefixes.get(one.key, "")) :]
    found = words(_without_generated(operation_id, one))
    if not found:
        return _of_path(one)
    return found if found[0][0].isalpha() else [one.method.lower(), *found]


def _of_path(one: Named) -> list[str]:
    """`GET /a/{b}/c:activate` → get a b c activate."""
    return [*(words(one.method) or ["call"]), *words(one.path)]


def _without_generated(operation_id: str, one: Named) -> str:
    """FastAPI's `read_item_items__item_id__get` → `read_item`: the function alone, path and method taken off."""
    if not operation_id.endswith(f"_{one.method.lower()}"):
        return operation_id
    ending = re.sub(r"\W", "_", one.path) + "_" + one.method.lower()
    rest = operation_id.removesuffix(ending)
    return rest if rest != operation_id and rest.strip("_") else operation_id


def _shared_prefixes(ordered: list[Named]) -> dict[Key, str]:
    """The prefix that each operation loses: one that more than 80 % of a tag share, where nothing becomes alike.

    What stays must say something: two words, or what a controller's method is called.
    """
    by_tag: defaultdict[str, list[Named]] = defaultdict(list)
    for one in ordered:
        if one.operation_id and not one.chosen and one.tags:
            by_tag[one.tags[0]].append(one)
    taken = {_said(one) for one in ordered}
    lost: dict[Key, str] = {}
    for tag in sorted(by_tag):
        for prefix in _candidates(by_tag[tag]):
            having = [one for one in by_tag[tag] if one.operation_id.startswith(prefix)]
            rest = [_said(one, prefix) for one in having]
            enough = all(rest) and (all(" " in text for text in rest) or _CONTROLLER.fullmatch(prefix))
            if enough and len(set(rest)) == len(rest) and taken.isdisjoint(rest):
                lost |= {one.key: prefix for one in having}
                break
    count = Counter(_said(one, lost[one.key]) for one in ordered if one.key in lost)
    alike = {lost[one.key] for one in ordered if one.key in lost and count[_said(one, lost[one.key])] > 1}
    return {key: prefix for key, prefix in lost.items() if prefix not in alike}


def _said(one: Named, prefix: str = "") -> str:
    """The words of an operation's id without a prefix."""
    return " ".join(words(_without_generated(one.operation_id[len(prefix) :], one)))


def _candidates(group: list[Named]) -> list[str]:
    """The prefixes up to a `_` or `.` that more than 80 % of a tag's operations have, the longest first."""
    found = Counter(
        one.operation_id[: index + 1]
        for one in group
        for index, character in enumerate(one.operation_id[: 2 * LONGEST])
        if character in "_." and 0 < index < len(one.operation_id) - 1
    )
    return sorted((text for text, count in found.items() if count > 1 and count > 0.8 * len(group)), key=len)[::-1]


def shortened(found: Sequence[str], one: Named, longest: int = LONGEST) -> str:
    """The words as a name; too long a one loses letters and then words from its middle, and gets a hash."""
    name = "_".join(found)
    if len(name) <= longest:
        return name or hashed("", longest, one.method, one.path)
    if len(found) > _MOST_WORDS:
        found = [*found[: _MOST_WORDS // 2], *found[-_MOST_WORDS // 2 :]]
    kept, room = [word for word in found if word not in _SMALL_WORDS] or list(found), longest - 7
    for index in sorted(range(1, len(kept) - 1), key=lambda at: (abs(2 * at - len(kept) + 1), at)):
        if len("_".join(kept)) <= room:
            break
        kept[index] = kept[index][:4]
    while len("_".join(kept)) > room and len(kept) > 2:
        del kept[len(kept) // 2]
    return hashed("_".join(kept), longest, one.method, one.path)
