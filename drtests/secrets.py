"""Secrets by reference, and keeping them out of everything that is written down."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import stat
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from drtests.errors import SecretError

REDACTED = "[redacted]"

_LARGEST = 64 * 1024
_SHORT = 4
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(@)")


def resolve(reference: str, timeout: float = 30.0, root: Path | None = None) -> str:
    """The secret behind `env:NAME`, `file:path` or `command:program args`.

    A relative path, and the command, are taken from `root`. A command gets `timeout`
    seconds and is run without a shell; its first line of output is the secret.
    Raises SecretError, which never carries the secret or any output.
    """
    kind, _, rest = reference.partition(":")
    rest = rest.strip()
    if kind == "env" and rest:
        secret = _from_environment(rest)
    elif kind == "file" and rest:
        secret = _from_file(Path(root or ".", rest))
    elif kind == "command" and rest:
        secret = _from_command(rest, timeout, root)
    else:
        raise SecretError(
            "a secret's reference is of no known kind",
            mend="write env:NAME, file:path or command:program args; never the secret itself",
        )
    if not secret:
        raise SecretError(f"the secret behind {_shown(kind, rest)} is empty", mend="put the secret there")
    if "\0" in secret:
        raise SecretError(f"the secret behind {_shown(kind, rest)} holds a NUL byte", mend="store it as text")
    return secret


def _shown(kind: str, rest: str) -> str:
    """A command's arguments are left out: people put tokens there."""
    return f"{kind}:{rest.split(maxsplit=1)[0]}" if kind == "command" else f"{kind}:{rest}"


def _from_environment(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise SecretError(f"the environment variable {name} is not set", mend=f"set {name} before drtests is started")
    return value


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise SecretError(
            f"cannot read the secret's file {path}: {error.strerror}",
            mend="put the secret in that file (chmod 600), or correct the path",
        ) from None
    if mode & 0o044:
        raise SecretError(
            f"the secret's file {path} can be read by others (mode {mode:04o})",
            mend=f"chmod 600 {shlex.quote(str(path))}",
        )
    if len(data) > _LARGEST:
        raise SecretError(f"the secret's file {path} is larger than {_LARGEST} bytes", mend="is it the right file?")
    text = _decode(data, f"file:{path}")
    if text.endswith("\n"):
        text = text[:-1].removesuffix("\r")
    return text


def _from_command(line: str, timeout: float, root: Path | None) -> str:
    try:
        argv = shlex.split(line)
    except ValueError:
        raise SecretError("the command of a secret's reference has an open quote", mend="close it") from None
    program = argv[0]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, cwd=root, check=False
        )
    except subprocess.TimeoutExpired:
        raise SecretError(
            f"the secret's command {program} did not end within {timeout:g} s",
            mend="it may be asking a question; make it work unattended",
        ) from None
    except OSError as error:
        raise SecretError(
            f"cannot run the secret's command {program}: {error.strerror}",
            mend=f"install {program}, or give its full path",
        ) from None
    if done.returncode != 0:
        raise SecretError(
            f"the secret's command {program} ended with code {done.returncode}",
            mend="run it by hand to see why; its output is not shown here because it may hold the secret",
        )
    return _decode(done.stdout, f"command:{program}").partition("\n")[0].removesuffix("\r")


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise SecretError(f"the secret behind {where} is not UTF-8 text", mend="store it as text") from None


class Redactor:
    """Replaces secrets, in the forms in which they turn up, by `[redacted]`.

    Also hides the password of any URL, known or not. A secret shorter than
    four characters is replaced only where it stands as a word of its own:
    else `ab` would eat half of every report and by that tell what it is.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        words: set[str] = set()
        for secret in secrets:
            for part in {secret, *secret.splitlines()}:
                if len(part.strip()) >= _SHORT:
                    forms |= _forms(part)
                elif part.strip():
                    words.add(part.strip())
        # The longest first: a secret may be part of another.
        patterns = [re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form))]
        patterns += [rf"(?<!\w){re.escape(word)}(?!\w)" for word in sorted(words, key=lambda word: (-len(word), word))]
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def __repr__(self) -> str:
        return "Redactor(...)"

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(REDACTED, text)
        return _URL_PASSWORD.sub(rf"\g<1>{REDACTED}\g<2>", text) if "://" in text else text

    def value(self, value: Any) -> Any:
        """The same for a JSON-like value: all strings in it, keys too; tuples become lists."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value


def _forms(secret: str) -> set[str]:
    forms = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]}
    forms |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    data = secret.encode("utf-8", errors="surrogateescape")
    for encoded in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        forms |= {encoded, encoded.rstrip("=")}
    return forms
