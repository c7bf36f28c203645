"""Sealing a tree at backup time, so that a restored copy can be proved complete and unchanged."""

from drtests.core.manifest import (
    MANIFEST_NAME,
    Manifest,
    ManifestError,
    Names,
    TreeDifference,
    compare,
    read_manifest,
)
from drtests.seal.sealing import SealError, SealSummary, seal

__all__ = [
    "MANIFEST_NAME",
    "Manifest",
    "ManifestError",
    "Names",
    "SealError",
    "SealSummary",
    "TreeDifference",
    "compare",
    "read_manifest",
    "seal",
]
