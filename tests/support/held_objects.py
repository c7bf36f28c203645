"""What buckets of the contract hold: few objects, each for a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PREFIX = "data/"
OUTSIDE = "elsewhere/secret.txt"
HISTORY: Mapping[str, Sequence[bytes | None]] = {
    "data/a.txt": (b"first", b"second"),
    # `-` comes before `/`, and a folder's name before what is longer.
    "data/a-b": (b"dash",),
    "data/a/b.bin": (bytes(range(256)) * 40,),
    "data/empty": (b"",),
    # Percent, plus, space and letters of more than one byte: what listings encode.
    "data/Größe 100%+1.txt": (b"odd name",),
    "data/gone": (b"was here", None),
    "data/back": (b"one", None, b"two"),
}


def latest_only(history: Mapping[str, Sequence[bytes | None]]) -> dict[str, Sequence[bytes | None]]:
    """What is left of it where no versions are kept."""
    return {key: versions[-1:] for key, versions in history.items() if versions[-1] is not None}
