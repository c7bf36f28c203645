"""What `drtests init` writes: a small project that works, commented for people who have never seen one."""

from __future__ import annotations

import json
import os
import posixpath
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from drtests.declarations.load import load_texts
from drtests.declarations.schemas import file_name, schemas, text_of
from drtests.errors import ConfigurationError, Diagnostic, UsageError

DEFAULT_PATH = "srv/data"
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./ -]*(?::[A-Za-z0-9_./-]+)*")
_WORDS = {"true", "false", "null"}
_PLACEHOLDER = re.compile(r"@([a-z-]+)@")

_FILES = {
    "conftest.py": "conftest.py.txt",
    ".gitignore": "gitignore",
    "reports/README.md": "reports-README.md",
    "targets/bia.yaml": "bia.yaml",
    "targets/estate.yaml": "estate.yaml",
    "targets/systems/main-system.yaml": "main-system.yaml",
    "targets/test_example.py": "test_example.py.txt",
}


def write_scaffold(
    directory: Path, *, organisation: str, repository: str, password: str, staging: str, path: str | None = None
) -> list[Path]:
    """Writes the project into `directory`, made when it is not there; returns the paths written.

    `path` is a path inside the backup that checks look at, as it was in
    production. Raises UsageError, before anything is written, when one of the
    files exists already, when a value cannot stand in a file, or when
    `password` is no reference; ConfigurationError when the declarations would
    be refused, such as for a staging that overlaps the repository. What was
    written before a disk fails is removed again.
    """
    contents = _contents(organisation, repository, password, staging, path)
    taken = [name for name in contents if os.path.lexists(directory / name)]
    if taken:
        raise UsageError(
            f"these files exist already: {', '.join(taken)}",
            where=str(directory),
            mend="name an empty folder, or move them away; nothing was written",
        )
    _refuse_unusable(directory, contents)
    written: list[Path] = []
    made: list[Path] = []
    file = directory
    try:
        for name, content in contents.items():
            file = directory / name
            missing = [folder for folder in reversed(file.parents) if not folder.exists()]
            for folder in missing:
                folder.mkdir()
                made.append(folder)
            # "x": a file that has come since we looked is not overwritten either.
            with file.open("x", encoding="utf-8") as out:
                written.append(file)
                out.write(content)
    except OSError as error:
        _remove(written, made)
        mend = "choose a folder that you may write to; nothing was left behind"
        raise UsageError(f"{error.filename or file} cannot be written: {error.strerror}", mend=mend) from error
    return written


def _refuse_unusable(directory: Path, contents: Mapping[str, str]) -> None:
    """Raises ConfigurationError; it names no lines, since the files are not there for people to look at."""
    try:
        load_texts(directory, {name: text for name, text in contents.items() if name.endswith(".yaml")})
    except ConfigurationError as error:
        mend = "give other values to `drtests init`; nothing was written"
        told = [Diagnostic(d.what, "", f"{d.mend}; {mend}" if d.mend else mend) for d in error.diagnostics()]
        raise ConfigurationError(told) from None


def _remove(files: list[Path], folders: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
    for folder in reversed(folders):
        # Somebody else may have put something there meanwhile.
        with suppress(OSError):
            folder.rmdir()


def _contents(organisation: str, repository: str, password: str, staging: str, path: str | None) -> dict[str, str]:
    given = {"organisation": organisation, "repository": repository, "staging": staging, "path": path or DEFAULT_PATH}
    for name, value in given.items():
        if not value.strip() or not value.isprintable():
            raise UsageError(f"the {name} is empty, or holds characters that cannot be printed")
    kind, _, rest = password.partition(":")
    if kind not in ("env", "file", "command") or not rest.strip() or not password.isprintable():
        # What was given may be the password itself, so it is not repeated.
        raise UsageError(
            "the password is given by reference only, never itself",
            mend="give env:NAME, file:PATH or command:PROGRAM ARGUMENTS",
        )
    below = posixpath.normpath(given["path"].lstrip("/"))
    if ".." in below.split("/") or below.startswith("~") or "\\" in below:
        raise UsageError(f"{path!r} is no path inside a backup", mend="give a path as it was in production")
    values = {
        "organisation": _scalar(organisation),
        "repository": _scalar(repository),
        "password": _scalar(password),
        "staging": _scalar(staging),
        "path": _scalar(below),
        "path-text": json.dumps(below, ensure_ascii=False),
        "source": _scalar("/" + below),
        "source-shell": shlex.quote("/" + below),
    }
    templates = files("drtests.cli") / "templates"
    contents = {
        name: _PLACEHOLDER.sub(lambda match: values[match[1]], (templates / template).read_text(encoding="utf-8"))
        for name, template in _FILES.items()
    }
    return contents | {f"targets/.schemas/{file_name(name)}": text_of(schema) for name, schema in schemas().items()}


def _scalar(text: str) -> str:
    """As a YAML value, in quotes where it needs them."""
    plain = _PLAIN.fullmatch(text) and not text.endswith(" ") and text.lower() not in _WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)
