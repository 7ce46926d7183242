"""A handler's docstring → what the model reads: its text, and a description per parameter.

Google, NumPy and Sphinx styles are read. A line is a parameter's only when it names one that the function has, so that
prose with a colon stays prose; what is not understood stays in the text, for nothing that an author wrote may vanish.
"""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Final

import msgspec

_GOOGLE: Final = re.compile(r"(?i)(args|arguments|parameters|params|(keyword|other)[ ](args|arguments|parameters)):$")
_NUMPY: Final = re.compile(r"(?i)(other )?parameters$")
_NUMPY_ITEM: Final = re.compile(r"\w+(, \w+)*( : .*)?")
_UNDERLINE: Final = re.compile(r"(-{3,}|={3,})$")
_NAME: Final = re.compile(r"(?:[-*+•]\s+)?[`*]{0,3}(\w+)[`*]{0,3}\s*")
_SEPARATOR: Final = re.compile(r"\s*(?::|--?(?=\s)|[–—])\s*")  # noqa: RUF001 - dashes that authors type
_SPHINX: Final = re.compile(r"[:@](?:param|parameter|arg|argument|key|keyword)\s+([^:]+):\s*(.*)$")
_SPHINX_TYPE: Final = re.compile(r"[:@]type\s+(\w+)\s*:")


class _Line(msgspec.Struct, frozen=True):
    indent: int
    text: str


class _Reader:
    """Takes lines from the front; what is a parameter's goes into `described`, all else into `kept`."""

    def __init__(self, documentation: str, names: Collection[str]) -> None:
        lines = documentation.splitlines()
        self.lines = [_Line(len(line) - len(line.lstrip()), line.strip()) for line in lines]
        self.names = names
        self.described: dict[str, list[str]] = {}
        self.kept: list[str] = []
        self.at = 0

    def read(self) -> None:
        """Every line, once."""
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if self._underlined(self.at) and _NUMPY.match(line.text):
                self._section(self._numpy, 2)
            elif _GOOGLE.match(line.text):
                self._section(self._google, 1)
            elif not self._sphinx(line):
                self._keep()

    def _section(self, read: Callable[[int], None], header: int) -> None:
        """A section of parameters; its header stays where something under it was not understood."""
        title = [self._shown(line) for line in self.lines[self.at : self.at + header]]
        indent = self.lines[self.at].indent
        self.at += header
        before, self.kept = self.kept, []
        read(indent)
        left = self.kept
        self.kept = [*before, *((*title, *left, "") if any(left) else ("",))]

    def _google(self, indent: int) -> None:
        """Items are indented under the header; some authors do not indent them."""
        first = next((line for line in self.lines[self.at :] if line.text), None)
        flush = first is not None and first.indent <= indent and self._item(first) is not None
        name, level = "", 0
        while self.at < len(self.lines):
            line = self.lines[self.at]
            item = self._item(line)
            if line.text and line.indent <= indent and not (flush and line.indent == indent and item):
                return
            if item and (not name or line.indent <= level):
                name, level = item[0], line.indent
                self._add([name], item[1])
            elif name and line.text and (line.indent > level or not self._looks_like_item(line)):
                self._add([name], line.text)
            elif line.text or not name:
                self._keep()
                continue
            self.at += 1

    def _numpy(self, indent: int) -> None:
        """Names and types stand under the header, what is said of them is indented."""
        names: list[str] = []
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if self._underlined(self.at):
                return
            if line.text and line.indent <= indent:
                stated = [one.strip(" *`") for one in line.text.partition(":")[0].split(",")]
                names = stated if all(one in self.names for one in stated) else []
                if not names and not _NUMPY_ITEM.fullmatch(line.text):
                    return  # prose, or another style's section
                if not names:
                    self._keep()
                    continue
                self._add(names, "")
            elif line.text and names:
                self._add(names, line.text)
            elif line.text:
                self._keep()
                continue
            self.at += 1

    def _sphinx(self, line: _Line) -> bool:
        """A field of reStructuredText with the lines that go on under it; the type of a parameter is in its schema."""
        typed = _SPHINX_TYPE.match(line.text)
        if typed and typed[1] in self.names:
            self.at += 1
            return True
        match = _SPHINX.match(line.text)
        name = match[1].split()[-1].lstrip("*") if match else ""
        if match is None or name not in self.names:
            return False
        self._add([name], match[2])
        self.at += 1
        while self.at < len(self.lines) and self.lines[self.at].text and self.lines[self.at].indent > line.indent:
            self._add([name], self.lines[self.at].text)
            self.at += 1
        return True

    def _item(self, line: _Line) -> tuple[str, str] | None:
        """The parameter that a line of a Google section describes, and the description."""
        match = _NAME.match(line.text)
        if match is None or match[1] not in self.names:
            return None
        rest = _without_type(line.text[match.end() :])
        separator = _SEPARATOR.match(rest)
        return (match[1], rest[separator.end() :]) if separator else None

    def _looks_like_item(self, line: _Line) -> bool:
        """Whether a line describes something that is no parameter."""
        match = _NAME.match(line.text)
        return match is not None and _without_type(line.text[match.end() :]).startswith(":")

    def _underlined(self, at: int) -> bool:
        return at + 1 < len(self.lines) and bool(self.lines[at].text and _UNDERLINE.match(self.lines[at + 1].text))

    def _add(self, names: list[str], text: str) -> None:
        for name in names:
            self.described.setdefault(name, []).append(text)

    def _keep(self) -> None:
        self.kept.append(self._shown(self.lines[self.at]))
        self.at += 1

    @staticmethod
    def _shown(line: _Line) -> str:
        return " " * line.indent + line.text


def read(documentation: str, names: Collection[str], hidden: Collection[str] = ()) -> tuple[str, dict[str, str]]:
    """(text, {parameter: description}); what is said of a `hidden` parameter, the context, is no caller's matter."""
    reader = _Reader(documentation, names)
    reader.read()
    described = {name: " ".join(filter(None, lines)) for name, lines in reader.described.items() if name not in hidden}
    return "\n".join(_single_blanks(reader.kept)).strip(), described


def _single_blanks(lines: list[str]) -> Iterator[str]:
    """Where a section was taken out, one empty line is left, not two."""
    blank = False
    for line in lines:
        if line or not blank:
            yield line
        blank = not line


def _without_type(text: str) -> str:
    """What follows a type in brackets, which may hold brackets itself; text without one as it is."""
    if not text.startswith("("):
        return text
    depth = 0
    for at, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return text[at + 1 :]
    return text
