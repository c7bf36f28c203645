"""Where a repository really lies, whatever ways lead there."""

from __future__ import annotations

from urllib.parse import urlsplit

from drtests.protocols.engine import EngineContext

_PORTS = {"http": 80, "https": 443}


def place_of(context: EngineContext) -> str:
    """Equal for two declarations of one place. It holds no credentials."""
    if context.repository.folder is not None:
        return f"{context.host.id}:{context.host.resolve(context.location)}"
    kind, _, rest = context.location.partition(":")
    if kind in {"s3", "rest"}:
        parts = urlsplit(rest if "://" in rest else f"https://{rest}")
        port = parts.port or _PORTS.get(parts.scheme, 0)
        return f"{kind}:{(parts.hostname or '').lower()}:{port}{_path(parts.path)}"
    if kind == "sftp":
        if rest.startswith("//"):
            # Its path is one of the account's own folder, unless a second slash follows.
            parts = urlsplit(rest)
            path = parts.path.removeprefix("/")
            return f"sftp:{(parts.hostname or '').lower()}:{path.rstrip('/')}"
        address, _, path = rest.rpartition("@")[2].partition(":")
        return f"sftp:{address.lower()}:{path.rstrip('/')}"
    return context.location.rstrip("/")


def _path(path: str) -> str:
    return "/" + "/".join(part for part in path.split("/") if part)
