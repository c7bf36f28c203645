"""Paths in a restored tree, and nowhere else: for checks and for recipes of databases."""

from __future__ import annotations

import posixpath
from typing import Annotated

from pydantic import AfterValidator, Field

from drtests.errors import SafetyError
from drtests.protocols.host import Host


def _below(path: str) -> str:
    if path.startswith(("/", "~")) or "\\" in path or "\0" in path:
        raise ValueError(f"{path!r} must be relative to the restored tree, e.g. srv/data")
    if ".." in path.split("/"):
        raise ValueError(f"{path!r} must stay inside the restored tree; `..` is not allowed")
    return posixpath.normpath(path)


RelativePath = Annotated[str, Field(min_length=1), AfterValidator(_below)]
"""Relative to the restored root, `/` between its parts."""


def inside(host: Host, root: str, path: str) -> str:
    """The absolute path on the host. Raises SafetyError when links lead out of the restored tree."""
    real = host.resolve(root)
    found = host.resolve(posixpath.join(real, path))
    if found != real and not found.startswith(real.rstrip("/") + "/"):
        raise SafetyError(
            f"{path} leads out of the restored tree, to {found}",
            where=path,
            mend="check what was restored, not what a link points at on this machine",
        )
    return found
