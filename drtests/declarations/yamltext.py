"""YAML as people mean it: a strict and predictable part of the language, with a place for everything wrong.

Only `true` and `false` are booleans; `no`, `on`, times and dates stay text;
`010` and `0x10` are text; keys are always text. No tags, no merge keys, one
document a file. Anchors work, as long as they do not make a small file huge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml
from yaml.composer import Composer
from yaml.error import Mark, MarkedYAMLError
from yaml.events import CollectionEndEvent, CollectionStartEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

try:
    from yaml import cyaml

    _Base: Any = cyaml.CParser  # type: ignore[attr-defined] # not among what the stubs export
except ImportError:  # PyYAML was built without libyaml
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class _PurePython(Reader, Scanner, Parser, Composer):
        def __init__(self, stream: Any) -> None:
            Reader.__init__(self, stream)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)

    _Base = _PurePython

MAX_BYTES = 16 * 1024**2
"""Of one file."""
MAX_DEPTH = 50
MAX_GROWTH = 20
"""How many times more values a file may hold when each alias is counted as all that it stands for."""
_SMALL = 10_000
_SHALLOW = 4096
"""A file of fewer bytes cannot be nested deeply enough to exhaust the stack of the C parser."""

_PLAIN = "plain"
_OTHER = "other"
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?")
_CONTROL = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_INDENT = re.compile(r"[ \t]*")
_CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}
_MAX_DIGITS = 30

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the top of a file to a value in it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is no YAML, or none that is allowed here; line and column count from 1, 0 is unknown."""

    what: str
    line: int = 0
    column: int = 0
    mend: str = ""


class YamlProblems(Exception):
    """Everything that is wrong with the text of one file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = tuple(problems)


class _Loader(_Base):  # type: ignore[misc] # one of two, see above
    """Composes nodes, and leaves all meaning to `_build`."""

    def resolve(self, kind: type[Node], _value: Any, implicit: Any) -> str:
        return _PLAIN if kind is ScalarNode and implicit[0] else _OTHER

    def descend_resolver(self, current_node: Any, current_index: Any) -> None: ...

    def ascend_resolver(self) -> None: ...


def compose(data: bytes) -> Node | None:
    """The nodes of one file, None when it holds nothing. Raises YamlProblems."""
    text = _decoded(data)
    try:
        _refuse_depth(text)
        loader = _Loader(text)
        try:
            node: Node | None = loader.get_single_node()
        finally:
            if hasattr(loader, "dispose"):
                loader.dispose()
    except yaml.YAMLError as error:
        raise YamlProblems([_syntax(error, text)]) from None
    return node


def parse(data: bytes) -> Any:
    """What a file says, as dicts, lists, text, numbers, booleans and None. Raises YamlProblems."""
    node = compose(data)
    if node is None:
        return None
    builder = _Builder()
    value, count = builder.build(node, 0)
    if count > max(_SMALL, MAX_GROWTH * builder.nodes):
        builder.add(node, f"aliases make {count} values out of {builder.nodes}", "use fewer aliases")
    if builder.problems:
        raise YamlProblems(builder.problems)
    return value


def place(node: Node | None, path: Path, key: bool) -> tuple[int, int]:
    """Line and column of what lies at `path`: of the value, or of its key; of the nearest there is, else (1, 1)."""
    mark = node.start_mark if node is not None else None
    for part in path:
        found = _child(node, part)
        if found is None:
            break
        node = found[1]
        mark = found[0].start_mark if key or isinstance(node, (MappingNode, SequenceNode)) else node.start_mark
    return _at(mark) if mark is not None else (1, 1)


def _at(mark: Any) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _child(node: Node | None, part: str | int) -> tuple[Node, Node] | None:
    """The key (an item of a list is its own) and the value."""
    if isinstance(node, MappingNode):
        return next(((k, v) for k, v in node.value if k.value == part), None)
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


class _Builder:
    """From nodes to values. What an alias stands for is built once and shared, but counted every time."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.nodes = 0
        """How many lists and mappings, and what is in them, were written."""
        self._shared: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()

    def build(self, node: Node, depth: int) -> tuple[Any, int]:
        """The value and how many nodes it holds."""
        tag, value = node.tag, node.value
        if type(node) is ScalarNode:
            if tag == _PLAIN:
                return _scalar(value), 1
            if tag != _OTHER:
                self._tag(node)
            return value, 1
        ready = self._shared.get(id(node))
        if ready is not None:
            return ready
        if id(node) in self._open:
            self.add(node, "an alias stands for something that holds itself", "write it out")
            return None, 1
        if depth > MAX_DEPTH:
            self.add(node, f"nested more than {MAX_DEPTH} levels deep", "look for brackets left open")
            return None, 1
        if tag != _OTHER:
            self._tag(node)
        self._open.add(id(node))
        self.nodes += len(value)
        built = self._sequence(value, depth) if type(node) is SequenceNode else self._mapping(value, depth)
        self._open.discard(id(node))
        self._shared[id(node)] = built
        return built

    def _sequence(self, items: list[Node], depth: int) -> tuple[Any, int]:
        count = 1
        values: list[Any] = []
        for item in items:
            value, more = self.build(item, depth + 1)
            values.append(value)
            count += more
        return values, count

    def _mapping(self, pairs: list[tuple[Node, Node]], depth: int) -> tuple[Any, int]:
        count = 1
        values: dict[str, Any] = {}
        for key, node in pairs:
            if type(key) is not ScalarNode:
                self.add(key, "a key is text, not a list or a mapping", "put text that starts with [ or { in quotes")
                continue
            name = key.value
            if name in values:
                first = _at(next(k for k, _ in pairs if k.value == name).start_mark)[0]
                self.add(key, f"key {name!r} is given twice, first on line {first}", "keep one of the two")
            elif name == "<<" and key.tag == _PLAIN:
                self.add(key, "merge keys (<<) are not allowed", "write the keys out, or alias a whole value")
            value, more = self.build(node, depth + 1)
            values[name] = value
            count += more
        return values, count

    def _tag(self, node: Node) -> None:
        self.add(node, f"tag {node.tag.replace('tag:yaml.org,2002:', '!!')!r} is not allowed", "remove the tag")

    def add(self, node: Node, what: str, mend: str) -> None:
        self.problems.append(Problem(what, *_at(node.start_mark), mend))


def _scalar(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] in "+-0123456789" and len(text) <= _MAX_DIGITS:
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def _decoded(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise YamlProblems([Problem(f"the file is larger than {MAX_BYTES // 1024**2} MiB", mend="split it")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        what = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise YamlProblems([Problem(what, line, column, "save the file as UTF-8")]) from None


def _refuse_depth(text: str) -> None:
    if len(text) < _SHALLOW:
        return
    depth = 0
    for event in _events(text):
        if isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise YamlProblems([Problem(_TOO_DEEP, *_at(event.start_mark), _CLOSE)])
        elif isinstance(event, CollectionEndEvent):
            depth -= 1


def _events(text: str) -> Iterator[Any]:
    loader = _Loader(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        if hasattr(loader, "dispose"):
            loader.dispose()


_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
_CLOSE = "look for brackets left open"
_SAID = (
    # Newer releases of libyaml have a limit of their own, and look far ahead.
    ("exceeded maximum nesting depth", _TOO_DEEP, _CLOSE),
    ("found character that cannot start any token", "this cannot stand here", "put the text in quotes"),
    ("found undefined alias", "this is no anchor of this file", "anchors are written &name, before their use"),
    ("but found another document", "a second document starts here", "one document a file: remove `---`"),
    (
        "mapping values are not allowed",
        "a `:` cannot stand here",
        "put text that holds `: ` in quotes; see indentation",
    ),
    ("could not find expected ':'", "a `:` is missing", "write `key: value`"),
    ("did not find expected key", "this does not fit the lines above", "see the indentation"),
    ("did not find expected '-' indicator", "this does not fit the list above", "see the indentation"),
    ("did not find expected ',' or", "a `,` or a closing bracket is missing", "see that brackets are closed"),
    ("found unexpected end of stream", "the file ends inside quotes", "close the quotes"),
)


def _syntax(error: yaml.YAMLError, text: str) -> Problem:
    """The parser's complaint in plain words, where they are known."""
    if not isinstance(error, MarkedYAMLError):
        at = next((match.start() for match in _CONTROL.finditer(text)), 0)
        what = f"character U+{ord(text[at]):04X} is not allowed" if text else "this is no YAML"
        return Problem(what, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at), "remove the character")
    told = f"{error.context or ''} {error.problem or ''}".strip()
    mark: Mark | None = error.problem_mark or error.context_mark
    line, column = _at(mark) if mark is not None else (0, 0)
    lines = text.rstrip("\n").split("\n")
    if line > len(lines):  # the end of the file: say so on its last line
        line, column = len(lines), len(lines[-1]) + 1
    tab = _tab(lines, line)
    if tab is not None:
        return Problem("a tab; YAML is indented with spaces only", tab[0], tab[1], "replace the tab by spaces")
    for known, what, mend in _SAID:
        if known in told:
            return Problem(what, line, column, mend)
    return Problem(f"this is no YAML: {told}", line, column, "see the indentation, quotes and brackets up to here")


def _tab(lines: list[str], line: int) -> tuple[int, int] | None:
    """Where indentation holds a tab, on the line of the complaint or the one before it."""
    for number in (line, line - 1):
        indent = _INDENT.match(lines[number - 1]) if 0 < number <= len(lines) else None
        if indent and "\t" in indent[0]:
            return number, indent[0].index("\t") + 1
    return None
