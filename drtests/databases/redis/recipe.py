"""redis: what a Redis server keeps on disk, a snapshot (RDB) or an append-only file (AOF), is loaded and started."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import BaseModel, Field, field_validator

from drtests.databases.redis.scratch import (
    SERVER_PACKAGE,
    USUAL_USER,
    Starting,
    check_settings,
    release,
)
from drtests.databases.serving import Deadline, last_words, program, server_user, told_as_missing
from drtests.errors import DatabaseDamaged, DatabaseError, DatabaseMissing
from drtests.model.base import Declaration, Flag, Text
from drtests.protocols.database import Scratch, ScratchPlace
from drtests.protocols.host import Host
from drtests.restored import RelativePath, inside

_TOOLS = "redis-tools"
_MANIFEST = ".manifest"
_FOLDER = "appendonlydir"
_FACT = re.compile(r"^\[info\] (\d+) (keys read|expires|already expired)$", re.MULTILINE)
_NEWER = re.compile(r"can't handle rdb format version \d+", re.IGNORECASE)
_TOLD = re.compile(r"^(?:\[offset \d+\]|0x\s*[0-9a-f]+:|AOF |RDB |The AOF).*", re.MULTILINE)


class RedisRecipeSpec(Declaration):
    """What a Redis server keeps on disk: a snapshot (dump.rdb), an append-only file (appendonlydir), or a directory
    with one of them. Works on a copy."""

    path: RelativePath
    """The file or directory, in the restored tree."""
    use: Literal["rdb", "aof"] | None = None
    """Which of them, where the directory holds both: what production starts from (its setting `appendonly`)."""
    cut_end: Flag = False
    """Accept an append-only file whose last command is incomplete, as a copy of one in use may have. Redis then leaves
    that command out."""
    database: int = Field(default=0, ge=0, le=1023)
    """Number of the database in which queries start."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Port of 127.0.0.1 on which it listens, too, for recovery steps that cannot use a socket."""
    settings: dict[str, Text] = Field(default_factory=dict)
    """Settings of the server, as in redis.conf: such as loadmodule."""

    @field_validator("settings")
    @classmethod
    def _apart(cls, value: dict[str, str]) -> dict[str, str]:
        check_settings(value)
        return value


@dataclass(frozen=True, slots=True)
class _Found:
    """What the server is to read: a path in the restored tree, and what it becomes in the server's directory."""

    kind: Literal["rdb", "aof"]
    source: str
    target: str
    checked: str
    """What the checking tool looks at, below `target`."""
    settings: Mapping[str, str]


class RedisRecipe:
    """Lets Redis' own tool check the files, and starts a server on a copy of them."""

    Spec: ClassVar[type[BaseModel]] = RedisRecipeSpec
    type: ClassVar[str] = "redis"
    point_in_time: ClassVar[bool] = False

    def __init__(self, spec: RedisRecipeSpec) -> None:
        self._spec = spec

    def programs(self, host: Host) -> str:
        """The server that is started on it. Raises DatabaseMissing, HostError."""
        program(host, _TOOLS, "redis-check-rdb", "valkey-check-rdb")
        return release(host)

    def bring_up(self, place: ScratchPlace) -> Scratch:
        deadline = Deadline(place.clock, place.timeout, "the Redis server")
        host, path = place.host, self._spec.path
        source = inside(host, place.root, path)
        if not host.exists(source):
            raise DatabaseDamaged(
                f"{path} is not in the restored copy", where=path, mend="correct `path`, or what is backed up"
            )
        with told_as_missing(host, SERVER_PACKAGE):
            found = self._look(place, source)
            starting = Starting(place, server_user(place, USUAL_USER), deadline, self._spec.settings)
            host.make_directory(starting.data)
            target = f"{starting.data}/{found.target}"
            copied = host.run(["cp", "-a", "--", found.source, target], timeout=deadline.left())
            if copied.exit_code:
                raise DatabaseError(
                    f"{path} cannot be copied: {last_words(copied.stderr)}", where=path, mend="make room in the staging"
                )
            place.tell("read", found.kind)
            self._check(place, found, posixpath.join(target, found.checked).rstrip("/"), deadline)
            return starting.start(self._spec.port, self._spec.database, found.settings)

    def _look(self, place: ScratchPlace, source: str) -> _Found:
        host, path, use = place.host, self._spec.path, self._spec.use
        if host.run(["test", "-d", source], timeout=30).exit_code:
            if use == "aof" or (use is None and path.endswith(".aof")):
                return self._single(source)
            return self._snapshot(source)
        facts = list(host.scan(source))
        for fact in facts:
            if fact.kind == "link":
                # Of what a link points at nothing is known; here it is refused when it leads out.
                inside(host, place.root, f"{path}/{fact.path}")
        files = sorted(fact.path for fact in facts if fact.kind != "directory")
        manifests = [name for name in files if name.endswith(_MANIFEST) and name.count("/") <= 1]
        single = [name for name in files if name == "appendonly.aof"]
        snapshots = [
            name for name in files if name.endswith(".rdb") and "/" not in name and not manifests_here(manifests)
        ]
        appended = manifests or single
        if use is None and appended and snapshots:
            raise DatabaseError(
                f"{path} holds both an append-only file and a snapshot",
                where=path,
                mend="declare `use`: aof where production runs with `appendonly yes`, else rdb",
            )
        if appended and use != "rdb":
            if not manifests:
                return self._single(f"{source}/{single[0]}")
            return self._parts(source, self._only(manifests))
        if snapshots and use != "aof":
            chosen = "dump.rdb" if "dump.rdb" in snapshots else self._only(snapshots)
            return self._snapshot(f"{source}/{chosen}")
        wanted = {"rdb": "a snapshot (*.rdb)", "aof": "an append-only file (its manifest)", None: "data of Redis"}[use]
        raise DatabaseDamaged(f"{path} does not hold {wanted}", where=path, mend="correct `path`, or what is backed up")

    def _only(self, names: list[str]) -> str:
        if len(names) > 1:
            raise DatabaseError(
                f"{self._spec.path} holds several: {', '.join(names)}",
                where=self._spec.path,
                mend="declare `path` with the one that is meant",
            )
        return names[0]

    def _snapshot(self, source: str) -> _Found:
        return _Found("rdb", source, "dump.rdb", "", {"appendonly": "no", "dbfilename": "dump.rdb"})

    def _single(self, source: str) -> _Found:
        return _Found("aof", source, "appendonly.aof", "", self._appending("appendonly.aof"))

    def _parts(self, source: str, manifest: str) -> _Found:
        folder, name = posixpath.split(manifest)
        return _Found(
            "aof",
            posixpath.join(source, folder).rstrip("/"),
            _FOLDER,
            name,
            self._appending(name.removesuffix(_MANIFEST)),
        )

    def _appending(self, name: str) -> Mapping[str, str]:
        return {
            "appendonly": "yes",
            "appenddirname": _FOLDER,
            "appendfilename": f'"{name}"',
            "aof-load-truncated": "yes" if self._spec.cut_end else "no",
            "auto-aof-rewrite-percentage": "0",
        }

    def _check(self, place: ScratchPlace, found: _Found, file: str, deadline: Deadline) -> None:
        """Redis' own tool reads the files to their end, before the server does."""
        host, path = place.host, self._spec.path
        tool = program(host, _TOOLS, f"redis-check-{found.kind}", f"valkey-check-{found.kind}")
        told = host.run([tool, file], timeout=deadline.left())
        for number, what in _FACT.findall(told.stdout):
            place.tell(what.replace(" ", "_"), int(number))
        if told.exit_code == 0:
            if found.kind == "rdb":
                place.tell("checksum", "right" if "Checksum OK" in told.stdout else "none")
            return
        # Lines of other kinds may name keys, which are restored data.
        why = last_words("\n".join(_TOLD.findall(told.stdout + told.stderr)), 2)
        if _NEWER.search(told.stdout):
            raise DatabaseMissing(
                f"{path} was written by a newer Redis: {why}", where=path, mend="install that release on this host"
            )
        if found.kind == "aof" and self._spec.cut_end:
            # The server itself knows a cut end from damage, and refuses the latter.
            place.tell("cut_end", why)
            return
        cut = (
            " (a copy of one in use may lack the end of its last command: see `cut_end`)" if found.kind == "aof" else ""
        )
        raise DatabaseDamaged(f"{path} is damaged or cut off: {why}", where=path, mend=f"look at the backup job{cut}")


def manifests_here(manifests: list[str]) -> bool:
    """Whether the directory is itself that of an append-only file, whose snapshot is a part of it."""
    return any("/" not in name for name in manifests)
