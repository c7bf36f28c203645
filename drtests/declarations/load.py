"""Reads `targets/`: all of it or nothing, and then everything that is wrong at once."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from drtests.core.objectives import effective_objectives
from drtests.declarations.buckets import kits_apart, probes_apart
from drtests.declarations.hosts import absolute_elsewhere, ways_end
from drtests.declarations.places import disposable, stagings_apart
from drtests.declarations.problems import explain
from drtests.declarations.rules import RULES, Declared
from drtests.declarations.source import Source
from drtests.declarations.yamltext import MAX_BYTES, YamlProblems, parse
from drtests.errors import ConfigurationError, Diagnostic
from drtests.model.base import Id
from drtests.model.bia import Bia
from drtests.model.estate import Estate
from drtests.model.project import Project
from drtests.model.system import System
from drtests.model.words import did_you_mean

TARGETS = "targets"
SYSTEMS = "systems"
ENDINGS = (".yaml", ".yml")

_Model = TypeVar("_Model", bound=BaseModel)
_ID: TypeAdapter[str] = TypeAdapter(Id)


def load_project(root: Path) -> Project:
    """The project whose `targets/` is in `root`. Reads files only. Raises ConfigurationError with every problem."""
    return _loaded(_Reader(root.resolve()))


def load_texts(root: Path, texts: Mapping[str, str]) -> Project:
    """The project that `root` would hold if these files, by their paths below it, were all that is there.

    Nothing is read or written. Raises ConfigurationError as `load_project` does.
    """
    return _loaded(_TextReader(root.resolve(), texts))


def _loaded(reader: _Reader) -> Project:
    with _no_collection():
        declared = reader.read()
        problems = list(reader.problems)
        for rule in (*RULES, absolute_elsewhere, ways_end, disposable, stagings_apart, probes_apart, kits_apart):
            problems += rule(declared)
    if problems or declared.bia is None or declared.estate is None:
        raise ConfigurationError(sorted(problems, key=_place))
    return Project(
        root=declared.root,
        bia=declared.bia,
        estate=declared.estate,
        systems=declared.systems,
        objectives=effective_objectives(declared.bia.processes, declared.systems),
        digests={source.name: source.digest for source in declared.sources.values()},
    )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Reading makes very many objects and no cycles of them: looking for cycles would cost a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _place(problem: Diagnostic) -> tuple[str, int, int]:
    """Files in order of their names, lines as numbers."""
    file, _, rest = problem.where.partition(":")
    line, _, column = rest.partition(":")
    return file, int(line or 0), int(column or 0)


class _Reader:
    """Collects what is wrong with files in themselves, and what could be read nevertheless."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[Diagnostic] = []
        self.sources: dict[str, Source] = {}

    def read(self) -> Declared:
        self._begin()
        bia = self._file("bia", Path(TARGETS, "bia.yaml"), Bia)
        estate = self._file("estate", Path(TARGETS, "estate.yaml"), Estate)
        systems: dict[str, System] = {}
        known: set[str] = set()
        for name, path in self._system_files():
            known.add(name)
            system = self._file(f"system:{name}", path, System)
            if system is not None:
                systems[name] = system
        return Declared(self.root, bia, estate, systems, frozenset(known), self.sources)

    def _begin(self) -> None:
        if not (self.root / TARGETS).is_dir():
            what = f"there is no folder {TARGETS}/ in {self.root}"
            raise ConfigurationError([Diagnostic(what, mend="start with `drtests init`, or name another project")])

    def _file(self, key: str, path: Path, model: type[_Model]) -> _Model | None:
        data = self._bytes(path)
        if data is None:
            return None
        source = Source(path.as_posix(), data)
        try:
            source.value = parse(data)
        except YamlProblems as error:
            for problem in error.problems:
                where = f"{source.name}:{problem.line}:{problem.column}" if problem.line else source.name
                self.problems.append(Diagnostic(problem.what, where, problem.mend))
            return None
        if not isinstance(source.value, dict):
            empty = source.value is None
            what = "the file is empty" if empty else "the file is not a mapping (lines `key: value`)"
            where = f"{source.name}:1" if empty else source.at(())
            self.problems.append(Diagnostic(what, where, f"see {_EXAMPLE}"))
            return None
        try:
            read = model.model_validate(source.value)
        except ValidationError as error:
            self.problems += explain(error, model, source)
            return None
        self.sources[key] = source
        return read

    def _bytes(self, path: Path) -> bytes | None:
        try:
            with open(self.root / path, "rb") as file:
                return file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            other = path.with_suffix(".yml")
            found = (self.root / other).is_file()
            mend = f"rename {other} to {path.name}" if found else f"`drtests init` writes one; see {_EXAMPLE}"
            self.problems.append(Diagnostic("the file is missing", path.as_posix(), mend))
        except OSError as error:
            what = f"the file cannot be read: {error.strerror}"
            self.problems.append(Diagnostic(what, path.as_posix(), "let the user that runs drtests read it"))
        return None

    def _system_files(self) -> Iterator[tuple[str, Path]]:
        """Id and path of every system, in order of their ids."""
        folder = Path(TARGETS, SYSTEMS)
        try:
            with os.scandir(self.root / folder) as entries:
                names = sorted((entry.name, entry.is_dir()) for entry in entries)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            what = "the folder is missing" if missing else f"the folder cannot be read: {error.strerror}"
            self.problems.append(Diagnostic(what, folder.as_posix(), f"one file for each system; see {_EXAMPLE}"))
            return
        seen: dict[str, str] = {}
        for name, is_directory in names:
            path = folder / name
            system, ending = os.path.splitext(name)
            if is_directory or ending not in ENDINGS:
                self._strange(path, is_directory, ending)
            elif system in seen:
                what = f"system {system!r} is declared already, in {seen[system]}"
                self.problems.append(Diagnostic(what, path.as_posix(), "remove one of the two files"))
            elif self._valid_id(system, path):
                seen[system] = path.as_posix()
                yield system, path
        if not seen and not self.problems:
            mend = f"one file for each system; see {_EXAMPLE}"
            self.problems.append(Diagnostic("no system is declared", folder.as_posix(), mend))

    def _valid_id(self, system: str, path: Path) -> bool:
        try:
            _ID.validate_python(system)
        except ValidationError:
            what = f"{system!r} is no id for a system: at most 64 lower case letters, digits, `.`, `_` and `-`"
            suggested = "".join(c if c.isalnum() and c.isascii() else "-" for c in system.lower()).strip("-")[:64]
            mend = f"rename the file, e.g. to {suggested or 'system'}.yaml"
            self.problems.append(Diagnostic(what, path.as_posix(), mend))
            return False
        return True

    def _strange(self, path: Path, is_directory: bool, ending: str) -> None:
        """Whatever looks like a declaration and would not be read is wrong: it would never be tested."""
        if is_directory:
            if any(child.suffix in ENDINGS for child in (self.root / path).iterdir()):
                what = "systems in a folder of their own are not read"
                self.problems.append(Diagnostic(what, path.as_posix(), f"move the files up, into {path.parent}/"))
        elif "did you mean" in did_you_mean(ending.lower(), ENDINGS):
            what = f"a file with the ending {ending!r} is not read"
            self.problems.append(Diagnostic(what, path.as_posix(), "rename it to end in .yaml"))


class _TextReader(_Reader):
    """Takes what is given for what is on disk."""

    def __init__(self, root: Path, texts: Mapping[str, str]) -> None:
        super().__init__(root)
        self._texts = texts

    def _begin(self) -> None: ...

    def _bytes(self, path: Path) -> bytes | None:
        return self._texts[path.as_posix()].encode()

    def _system_files(self) -> Iterator[tuple[str, Path]]:
        for name in sorted(self._texts):
            path = Path(name)
            if path.parent == Path(TARGETS, SYSTEMS) and path.suffix in ENDINGS:
                yield path.stem, path


_EXAMPLE = "the example that `drtests init` writes"
