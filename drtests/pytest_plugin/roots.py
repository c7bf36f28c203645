"""Which project a pytest session is about."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

TARGETS = "targets"


def root_of(path: Path) -> Path | None:
    """The nearest folder at or above `path` that holds `targets/bia.yaml`; None when there is none."""
    for folder in (path, *path.parents):
        if (folder / TARGETS / "bia.yaml").is_file():
            return folder
        if folder.name == TARGETS and (folder / "bia.yaml").is_file():
            return folder.parent
    return None


def is_system_file(path: Path) -> bool:
    """Whether this is `targets/systems/<system>.yaml` of some project."""
    return (
        path.suffix in (".yaml", ".yml")
        and path.parent.name == "systems"
        and path.parent.parent.name == TARGETS
        and (path.parent.parent / "bia.yaml").is_file()
    )


def asked_for(arguments: Iterable[str], here: Path) -> Path | None:
    """The project whose targets are among what pytest is asked to collect, if any."""
    for argument in arguments:
        path = (here / argument.split("::")[0]).resolve()
        root = root_of(path)
        if root is None:
            continue
        targets = root / TARGETS
        if path in (root, targets) or path in targets.parents or targets in path.parents:
            return root
    return None
