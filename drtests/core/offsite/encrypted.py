"""Would a stolen copy be readable? From a wrong password that is refused, and from how stored bytes look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from drtests.model.verdict import Verdict
from drtests.protocols.check import Judgement

SAMPLE_BYTES = 64 * 1024
"""Of each sample, at most."""
_ENOUGH = 1280
"""Bytes from which on the frequencies of bytes can be judged: five of each are expected (Cochran's rule)."""
_FREEDOM = 255
_LIMIT = _FREEDOM + 7 * (2 * _FREEDOM) ** 0.5
"""Chi-square of random bytes has a mean of 255 and a variance of 510; seven deviations above are never seen."""
_PRINTABLE = 0.85
"""Of random bytes three in eight are printable; text has nearly all."""
_SMALLEST = 32
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7-zip"),
    (257, b"ustar", "tar"),
    (0, b"SQLite format 3\x00", "SQLite"),
    (0, b"PGDMP", "a PostgreSQL dump"),
    (0, b"%PDF-", "PDF"),
    (0, b"\x89PNG", "PNG"),
    (0, b"\xff\xd8\xff\xe0", "JPEG"),
    (0, b"\x7fELF", "a program"),
    (0, b"REDIS0", "a Redis dump"),
)
"""Where, which bytes, of what."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the first bytes of one stored file look like. No content is kept."""

    name: str
    bytes: int
    chi_square: float | None
    """Of the frequencies of bytes against equal ones; None for a sample too small for it."""
    printable: float
    """Share of bytes that are printable ASCII."""
    looks_like: str = ""
    """What it looks like, when it does not look random."""


def look_at(name: str, data: bytes, known: Iterable[bytes]) -> Sample:
    """`known` is plaintext that must be nowhere in it: names of files that were backed up, of the host, tags."""
    size = len(data)
    printable = sum(count for byte, count in Counter(data).items() if 32 <= byte < 127 or byte in (9, 10, 13))
    share = printable / size if size else 0.0
    chi = chi_square(data) if size >= _ENOUGH else None
    return Sample(name, size, None if chi is None else round(chi, 1), round(share, 3), _like(data, share, chi, known))


def chi_square(data: bytes) -> float:
    """Pearson's statistic of the 256 frequencies against equal ones."""
    expected = len(data) / 256
    counts = Counter(data)
    return sum((counts.get(byte, 0) - expected) ** 2 for byte in range(256)) / expected


def _like(data: bytes, printable: float, chi: float | None, known: Iterable[bytes]) -> str:
    for offset, magic, what in _MAGIC:
        # Two bytes come up by chance once in 65,536 samples; chi-square has the last word on those.
        if data[offset : offset + len(magic)] == magic and (len(magic) > 2 or chi is None or chi > _LIMIT):
            return what
    for text in known:
        if text and text in data:
            return "plaintext: it holds a name that was backed up"
    if len(data) >= _SMALLEST and printable > _PRINTABLE:
        return "text"
    if chi is not None and chi > _LIMIT:
        return "not random: compressed at most"
    return ""


@dataclass(frozen=True, slots=True)
class Encryption:
    """All that was seen. `wrong_password`: `refused`, `opened`, or why it is not known."""

    cipher: str
    """What the engine says it does; empty when it does not encrypt."""
    wrong_password: str
    samples: tuple[Sample, ...] = ()
    unsampled: str = ""
    """Why no stored bytes were looked at."""
    bucket: str = ""
    """Default encryption of the bucket, as the store tells. No proof: whoever may read the bucket reads plaintext."""


REFUSED = "refused"
OPENED = "opened"


def judge_encryption(seen: Encryption) -> Judgement:
    """Both proofs are needed, and neither may fail."""
    plain = [sample for sample in seen.samples if sample.looks_like]
    bucket = f" (the bucket encrypts what it keeps by default, {seen.bucket}: that is no proof)" if seen.bucket else ""
    if plain:
        what = f"{plain[0].name} can be read without any key: it looks like {plain[0].looks_like}{bucket}"
        return Judgement(Verdict.MISSED, what, mend=_MEND)
    if seen.wrong_password == OPENED:
        return Judgement(Verdict.MISSED, f"the repository opens with a wrong password{bucket}", mend=_MEND)
    if not seen.cipher:
        return Judgement(Verdict.MISSED, f"the engine does not encrypt what it stores{bucket}", mend=_MEND)
    if seen.wrong_password != REFUSED:
        what = f"whether a wrong password is refused is not known: {seen.wrong_password}"
        return Judgement(Verdict.INCONCLUSIVE, what)
    if not seen.samples:
        what = f"a wrong password is refused, but no stored bytes were looked at: {seen.unsampled or 'there were none'}"
        mend = "declare the bucket under `stores`, and name it as `store` of the repository"
        return Judgement(Verdict.INCONCLUSIVE, what, mend=mend)
    if not any(sample.chi_square is not None for sample in seen.samples):
        return Judgement(Verdict.INCONCLUSIVE, "all stored files are too small to tell whether they are encrypted")
    total = sum(sample.bytes for sample in seen.samples)
    told = f"a wrong password is refused, and {total} bytes of {len(seen.samples)} stored files look random"
    return Judgement(Verdict.MET, f"{told}; {seen.cipher}{bucket}")


_MEND = "use a repository that is encrypted with a key of your own, before anything leaves the building"


def known_plaintext(names: Sequence[str], longest: int = 200) -> tuple[bytes, ...]:
    """Parts of paths that are too long to come up by chance, a few of them."""
    found: dict[str, None] = {}
    for name in names:
        for part in name.split("/"):
            if len(part.encode()) >= 8:
                found[part] = None
        if len(found) >= longest:
            break
    return tuple(part.encode() for part in list(found)[:longest])
