"""Reads one YAML file strictly, and finds the line of any value in it when something is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from drtests.errors import Diagnostic

_LARGEST = 1024 * 1024
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """YAML as people mean it: `no` is a word, `12:30` is text, a date is text, and a key may stand once only."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, "merge keys (<<) are not supported", key_node.start_mark)
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key_node.value}` stands here twice", key_node.start_mark
                )
            seen.add(key_node.value)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found

    def compose_node(self, parent: Any, index: Any) -> Any:
        # An alias repeats what it names, so a few lines of them can fill any memory.
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not supported", event.start_mark)
        return super().compose_node(parent, index)


_KEPT = {
    "tag:yaml.org,2002:null": list("~nN\0") + [""],
    "tag:yaml.org,2002:float": list("-+0123456789."),
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _resolver(tag: str, pattern: str, first: str) -> None:
    import re

    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_resolver("bool", "^(?:true|false|True|False)$", "tfTF")
_resolver("int", "^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789")


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A file as read. `data` is None when `problem` says why."""

    path: Path
    name: str
    """Relative to the project's root, for messages."""
    text: str
    digest: str
    data: Any
    problem: Diagnostic | None = None

    def where(self, path: Sequence[str | int], key: bool = False) -> str:
        """`file:line` of the value at `path` (of its key, if `key`), or of the nearest there is."""
        return f"{self.name}:{_line(self.text, path, key)}"


def read_yaml(path: Path, name: str) -> YamlFile:
    """Reads a file; what is wrong with it is in `problem`, never raised."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        return YamlFile(path, name, "", "", None, Diagnostic(f"cannot be read: {error.strerror}", name))
    digest = hashlib.sha256(raw).hexdigest()

    def bad(what: str, line: int, mend: str) -> YamlFile:
        return YamlFile(path, name, "", digest, None, Diagnostic(what, f"{name}:{line}", mend))

    if len(raw) > _LARGEST:
        return bad("is larger than 1 MiB", 1, "split it: one file per system")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return bad("is not UTF-8 text", raw.count(b"\n", 0, error.start) + 1, "save it as UTF-8")
    try:
        loader = _Loader(text)
        try:
            data = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return bad(_told(error), mark.line + 1 if mark else 1, _mend(error, text))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return bad(f"is not YAML: {str(error).splitlines()[0]}", 1, "mend the file")
    if not isinstance(data, dict):
        what = "is empty" if data is None else "does not hold `key: value` lines at its top"
        return bad(what, 1, "see docs/reference/declarations.md, or let `drtests init` write an example")
    return YamlFile(path, name, text, digest, data)


def _told(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be understood"
    if "cannot start any token" in problem and "\\t" in problem:
        return "a tab where YAML wants spaces"
    if "expected a single document" in (error.context or "") or "another document" in problem:
        return "holds more than one YAML document"
    return problem if "stands here twice" in problem or "not supported" in problem else f"is not YAML: {problem}"


def _mend(error: yaml.MarkedYAMLError, text: str) -> str:
    problem = error.problem or ""
    if "twice" in problem:
        return "keep one of the two"
    if "not supported" in problem:
        return "write it out"
    if "\t" in text:
        return "indent with spaces"
    return "look at this line and the one above: indentation, quotes, a missing colon"


def _line(text: str, path: Sequence[str | int], key: bool) -> int:
    """Composes the text again, with marks: only ever done when there is something to complain of."""
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    line = node.start_mark.line + 1 if node is not None else 1
    for number, part in enumerate(path):
        last = number == len(path) - 1
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                # A part that is no key of the file: how the model names an alternative.
                continue
            line = (pair[0] if key and last else pair[1]).start_mark.line + 1
            if not pair[1].value:
                line = pair[0].start_mark.line + 1
            node = pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
