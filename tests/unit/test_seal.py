"""Sealing and reading back: right, whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drtests.core.manifest import ignorer
from drtests.errors import DrtestsError, PackError
from drtests.hashing import FileDigest, digest_files
from drtests.protocols.host import FileFact
from drtests.seal import MANIFEST_NAME, Manifest, ManifestError, SealError, compare, read_manifest, seal, sealing


def _tree(root: Path) -> dict[str, bytes]:
    contents = {f"d{n % 7}/f{n}.txt": b"x" * n for n in range(300)}
    contents |= {"a/b": b"1", "a.txt": b"2", "a-b/c": b"3", "large.img": os.urandom(3_000_000), "empty": b""}
    contents[os.fsdecode(b"caf\xe9/\xff\n")] = b"latin"
    contents['quote"\\é'] = b"q"
    for path, data in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / "link").symlink_to("a.txt")
    (root / "loop").symlink_to(".")
    (root / "dangling").symlink_to(os.fsdecode(b"no\xfe"))
    os.mkfifo(root / "pipe")
    return contents


def _read(path: Path) -> Manifest:
    with path.open("rb") as lines:
        return read_manifest(lines)


@pytest.mark.parametrize("workers", [1, 2, 5, None])
def test_seals_every_file_and_link(tmp_path: Path, workers: int | None) -> None:
    contents = _tree(tmp_path)
    summary = seal(tmp_path, tmp_path / MANIFEST_NAME, workers=workers)
    manifest = _read(tmp_path / MANIFEST_NAME)
    assert manifest.files == {p: (len(d), hashlib.sha256(d).hexdigest()) for p, d in contents.items()}
    assert set(manifest.links) == {"link", "loop", "dangling"}
    assert manifest.links["link"] == hashlib.sha256(b"a.txt").hexdigest()
    assert (summary.files, summary.links) == (len(contents), 3)
    assert summary.bytes == manifest.bytes == sum(map(len, contents.values()))
    assert summary.sha256 == manifest.sha256
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_sealing_twice_gives_the_same_entries(tmp_path: Path) -> None:
    _tree(tmp_path)
    seal(tmp_path, tmp_path / MANIFEST_NAME)
    first = (tmp_path / MANIFEST_NAME).read_bytes().splitlines()[1:-1]
    seal(tmp_path, tmp_path / MANIFEST_NAME)
    assert (tmp_path / MANIFEST_NAME).read_bytes().splitlines()[1:-1] == first
    paths = [json.loads(line)[0].split("/") for line in first]
    assert paths == sorted(paths)


def test_ignored_files_are_left_out_and_noted(tmp_path: Path) -> None:
    for path in ("a.log", "keep", "cache/x", "b/cache/y", "var/tmp/z", "b/var/tmp/z"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    seal(tmp_path, tmp_path / "m", ignore=["*.log", "cache", "var/tmp"])
    manifest = _read(tmp_path / "m")
    assert set(manifest.files) == {"keep", "b/var/tmp/z"}
    assert manifest.ignore == ("*.log", "cache", "var/tmp")


def test_ignore_patterns() -> None:
    ignored = ignorer(["*.log", "/var/spool/"])
    assert ignored("a/x.log")
    assert ignored("x.log/deeper")
    assert ignored("var/spool")
    assert ignored("var/spool/a/b")
    assert not ignored("b/var/spool")
    assert not ignored("logs")


def test_the_manifest_can_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t/f").write_bytes(b"x")
    seal(tmp_path / "t", tmp_path / "m")
    assert set(_read(tmp_path / "m").files) == {"f"}


def test_a_file_that_vanishes_fails_the_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stays").write_bytes(b"x")
    (tmp_path / "vanishes").write_bytes(b"x")
    (tmp_path / "m").write_bytes(b"the old one")

    def vanishing(root: str, paths: Iterable[str], workers: int | None = None) -> Iterable[FileDigest]:
        names = list(paths)
        (tmp_path / "vanishes").unlink()
        return digest_files(root, names, workers)

    monkeypatch.setattr(sealing, "digest_files", vanishing)
    with pytest.raises(SealError) as caught:
        seal(tmp_path, tmp_path / "m")
    assert caught.value.problems == (("vanishes", "No such file or directory"),)
    assert any(d.where == "vanishes" for d in caught.value.diagnostics())
    assert (tmp_path / "m").read_bytes() == b"the old one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "stays"]


def test_a_file_that_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "grows"
    path.write_bytes(b"x" * 3_000_000)
    real = os.fstat
    seen: list[int] = []

    def fstat(descriptor: int) -> os.stat_result:
        if seen:
            with path.open("ab") as file:
                file.write(b"more")
        seen.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)
    found = list(digest_files(str(tmp_path), ["grows"]))
    assert [digest.problem for digest in found] == ["changed while it was read"]


@pytest.mark.parametrize("root", ["none", "file"])
def test_what_is_no_directory_cannot_be_sealed(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DrtestsError, match="cannot seal"):
        seal(tmp_path / root, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_order_and_memory_with_large_files_among_small(tmp_path: Path) -> None:
    names = []
    for number in range(400):
        name = f"f{number:03d}"
        (tmp_path / name).write_bytes(b"y" * (300_000 if number % 50 == 0 else number))
        names.append(name)
    taken = list(digest_files(str(tmp_path), iter(names), 3))
    assert [digest.path for digest in taken] == names
    assert {digest.problem for digest in taken} == {""}


def test_many_files_go_to_helpers_with_the_same_outcome(tmp_path: Path) -> None:
    names = []
    for number in range(3000):
        name = os.fsdecode(b"\xe9\n%d" % number)
        (tmp_path / name).write_bytes(b"z" * (300_000 if number % 1000 == 0 else number))
        names.append(name)
    (tmp_path / names[2500]).unlink()
    taken = list(digest_files(str(tmp_path), iter(names), 2))
    assert [digest.path for digest in taken] == names
    assert [digest.path for digest in taken if digest.problem] == [names[2500]]
    for digest in taken[::100]:
        if not digest.problem:
            assert digest.sha256 == hashlib.sha256((tmp_path / digest.path).read_bytes()).hexdigest()


def test_helpers_that_cannot_start_are_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(number) for number in range(2000)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.setattr("sys.executable", "/bin/false")
    found = {digest.path: digest.sha256 for digest in digest_files(str(tmp_path), names, 2)}
    assert found == {name: hashlib.sha256(name.encode()).hexdigest() for name in names}


def test_an_abandoned_iterator_stops_its_threads(tmp_path: Path) -> None:
    import threading

    for number in range(200):
        (tmp_path / str(number)).write_bytes(b"x")
    found = digest_files(str(tmp_path), (str(n) for n in range(200)))
    next(iter(found))
    found.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sha256")]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    root = tmp_path_factory.mktemp("sealed")
    for number in range(20):
        (root / f"f{number:02d}").write_bytes(str(number).encode())
    (root / "link").symlink_to("f01")
    seal(root, root / "m")
    return (root / "m").read_bytes().splitlines(keepends=True)


def test_a_truncated_manifest_never_reads(sealed: list[bytes]) -> None:
    whole = b"".join(sealed)
    for size in range(len(whole)):
        with pytest.raises(ManifestError):
            read_manifest(whole[:size].splitlines(keepends=True))


@settings(max_examples=300)
@given(data=st.data())
def test_an_altered_manifest_never_reads_as_another(sealed: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(b"".join(sealed))
    place = data.draw(st.integers(len(sealed[0]), len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    good = read_manifest(sealed)
    try:
        read = read_manifest(bytes(whole).splitlines(keepends=True))
    except ManifestError:
        return
    assert (read.files, read.links, read.sha256) == (good.files, good.links, good.sha256)


@settings(max_examples=100)
@given(data=st.data())
def test_lost_repeated_or_reordered_lines_never_read(sealed: list[bytes], data: st.DataObject) -> None:
    lines = list(sealed)
    place = data.draw(st.integers(0, len(lines) - 1))
    change = data.draw(st.sampled_from(["drop", "repeat", "swap"]))
    if change == "drop":
        del lines[place]
    elif change == "repeat":
        lines.insert(place, lines[place])
    else:
        other = data.draw(st.integers(0, len(lines) - 1).filter(lambda n: n != place))
        lines[place], lines[other] = lines[other], lines[place]
    with pytest.raises(PackError):
        read_manifest(lines)


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"{}\n", b"[]\n", b'{"drtests_manifest":2,"algorithm":"sha256"}\n', b"\xff\n"]
)
def test_what_is_no_manifest(text: bytes) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(text.splitlines(keepends=True))
    assert caught.value.mend


def _facts(manifest: Manifest) -> list[FileFact]:
    return [FileFact(path, "file", size, 0.0) for path, (size, _) in manifest.files.items()] + [
        FileFact("link", "link", 3, 0.0, "f01")
    ]


def test_compare(sealed: list[bytes]) -> None:
    manifest = read_manifest(sealed)
    facts = _facts(manifest)
    digests = {path: digest for path, (_, digest) in manifest.files.items()}
    assert compare(manifest, facts, digests).intact
    assert compare(manifest, facts[1:], digests).missing.first == ("f00",)
    assert compare(manifest, facts, digests | {"f03": "0" * 64}).changed.first == ("f03",)
    assert compare(manifest, [*facts, FileFact("new", "other", 0, 0.0)], digests).extra.first == ("new",)


def test_a_file_that_was_not_hashed_is_never_intact(sealed: list[bytes]) -> None:
    manifest = read_manifest(sealed)
    difference = compare(manifest, _facts(manifest), {})
    assert difference.changed.count == 20
    assert not difference.intact


def test_only_the_first_names_are_kept(sealed: list[bytes]) -> None:
    manifest = read_manifest(sealed)
    extra = [FileFact(f"x{n:03d}", "file", 0, 0.0) for n in range(50)]
    difference = compare(manifest, extra, {})
    assert (difference.extra.count, len(difference.extra.first)) == (50, 20)
    assert (difference.missing.count, difference.missing.first[0]) == (21, "f00")
