"""tree: the restored tree against the manifest that was sealed at backup time."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from drtests.checks.places import RelativePath, place, printable
from drtests.core.manifest import MANIFEST_NAME, ManifestError, Names, compare, ignorer, read_manifest
from drtests.model.base import Declaration
from drtests.model.units import format_size
from drtests.model.verdict import Verdict
from drtests.protocols.check import Judgement, Objective, Observation, Resources
from drtests.protocols.host import FileFact

_LARGEST = 2 * 1024**3


class TreeSpec(Declaration):
    """Options of `tree`."""

    path: RelativePath = "."
    """The directory that was sealed, in the restored copy."""
    manifest: RelativePath | None = None
    """Where the manifest is; `.drtests-manifest.jsonl` in that directory when not given."""
    extra: Literal["refuse", "allow"] = "refuse"
    """Files that were not there when it was sealed."""
    ignore: tuple[str, ...] = ()
    """Patterns of what is not looked at, besides those that were ignored when it was sealed."""


class TreeCheck:
    """Hashes every restored file and compares it with the manifest."""

    Spec: ClassVar[type[BaseModel]] = TreeSpec

    def __init__(self, spec: TreeSpec) -> None:
        self._spec = spec

    @property
    def title(self) -> str:
        return f"tree {self._spec.path} against its manifest"

    @property
    def proves_data(self) -> bool:
        return True

    def observe(self, resources: Resources) -> Observation:
        host = resources.host
        root = place(resources, self._spec.path)
        if not host.exists(root):
            return {"present": False}
        where = self._spec.manifest or posixpath.join(self._spec.path, MANIFEST_NAME)
        at = place(resources, where)
        if not host.exists(at):
            raise ManifestError(
                f"there is no manifest {where} in the restored copy",
                where=where,
                mend="run `drtests seal` on the tree just before each backup, so that both are backed up together",
            )
        data = host.read(at, _LARGEST)
        if len(data) >= _LARGEST:
            raise ManifestError(f"the manifest {where} is too large", mend="seal the tree in parts")
        manifest = read_manifest(data.splitlines(keepends=True))
        del data
        own = at[len(root.rstrip("/")) + 1 :] if at.startswith(root.rstrip("/") + "/") else None
        patterns = (*manifest.ignore, *self._spec.ignore)
        ignored = ignorer(patterns) if patterns else None
        if ignored is not None:
            manifest = manifest.without(ignored)
        facts: list[FileFact] = []

        def to_hash() -> Iterator[str]:
            sealed = manifest.files
            for fact in host.scan(root):
                path = fact.path
                if path == own or (ignored is not None and ignored(path)):
                    continue
                facts.append(fact)
                if fact.kind == "file" and path in sealed and sealed[path][0] == fact.size:
                    yield path

        digests = dict(host.digests(root, to_hash()))
        difference = compare(manifest, facts, digests)
        return {
            "present": True,
            "sealed_at": manifest.sealed_at,
            "manifest_sha256": manifest.sha256,
            "files": len(manifest.files),
            "links": len(manifest.links),
            "bytes": manifest.bytes,
            "missing": _names(difference.missing),
            "changed": _names(difference.changed),
            "extra": _names(difference.extra),
        }

    def judge(self, observation: Observation, objective: Objective) -> Judgement:
        if not observation["present"]:
            return Judgement(Verdict.MISSED, f"no directory {self._spec.path} in the restored copy")
        kinds = ["missing", "changed"] + (["extra"] if self._spec.extra == "refuse" else [])
        found = [
            f"{observation[kind]['count']} {kind} ({', '.join(observation[kind]['first'][:3])}"
            f"{', ...' if observation[kind]['count'] > 3 else ''})"
            for kind in kinds
            if observation[kind]["count"]
        ]
        files = int(observation["files"])
        if found:
            return Judgement(Verdict.MISSED, f"of {files} sealed files: {'; '.join(found)}")
        if not files:
            return Judgement(Verdict.INCONCLUSIVE, "the manifest holds no files, so it proves nothing")
        size = format_size(observation["bytes"])
        return Judgement(Verdict.MET, f"all {files} files ({size}) are as sealed at {observation['sealed_at']}")


def _names(names: Names) -> dict[str, Any]:
    return {"count": names.count, "first": [printable(name) for name in names.first]}
