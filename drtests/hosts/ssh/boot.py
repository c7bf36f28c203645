"""How the agent gets onto a host: its source goes over the connection, and is run from memory.

Nothing is installed or written there, and the process list shows the few words of `command` only.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

READY = b"drtests-agent"
"""The line with which the far Python asks for the source; whatever a login shell prints before it is skipped."""
PROMPT = "drtests-sudo:"
"""What sudo asks the password with, on standard error."""

_WORKER = "drtests.hash_worker"
_AGENT = "drtests.hosts.agent"
MODULES = (
    "drtests.hosts.failure",
    "drtests.hosts.processes",
    "drtests.hosts.children",
    "drtests.hosts.machine",
    "drtests.hosts.frames",
    _WORKER,
    "drtests.hosts.digests",
    "drtests.hosts.operations",
    _AGENT,
)
"""What is sent, each after those that it imports."""
_BOOT = (
    'import os,sys;v=sys.version_info;v<(3,7) and sys.exit("python %d.%d is too old"%v[:2]);'
    'os.write(1,b"{ready}\\n");i=sys.stdin.buffer;exec(i.read(int(i.readline())))'
)
_LOADER = """
import sys, types
for name, text in MODULES:
    whole = name.split(".")
    for end in range(1, len(whole)):
        sys.modules.setdefault(".".join(whole[:end]), types.ModuleType(whole[end - 1]))
    module = sys.modules[name] = types.ModuleType(name)
    setattr(sys.modules[name.rpartition(".")[0]], whole[-1], module)
    exec(compile(text, name, "exec", dont_inherit=True), module.__dict__)
sys.modules[AGENT].main(SETTINGS, dict(MODULES)[WORKER])
"""


def command(python: str, *, sudo: bool, password: bool) -> str:
    """What is run on the host, quoted for the user's shell there."""
    argv = [python, "-I", "-S", "-X", "utf8", "-c", _BOOT.replace("{ready}", READY.decode())]
    if sudo:
        argv = ["sudo", *(["-S", "-p", PROMPT] if password else ["-n"]), "--", *argv]
    return shlex.join(argv)


def source(settings: Mapping[str, Any]) -> bytes:
    """What the far Python reads: how long it is, and the program."""
    given = {"MODULES": _modules(), "AGENT": _AGENT, "WORKER": _WORKER, "SETTINGS": dict(settings)}
    text = "".join(f"{name} = {value!r}\n" for name, value in given.items()) + _LOADER
    data = text.encode()
    return b"%d\n%s" % (len(data), data)


@cache
def _modules() -> tuple[tuple[str, str], ...]:
    return tuple((name, _text(name)) for name in MODULES)


def _text(name: str) -> str:
    found = find_spec(name)
    if found is None or found.origin is None:
        raise ImportError(name)
    return Path(found.origin).read_text(encoding="utf-8")
