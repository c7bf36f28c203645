"""What is downloaded is held against whatever hash the store keeps of it; where it keeps none, that is told."""

from __future__ import annotations

import base64
import hashlib
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtests.errors import ObjectDamaged
from drtests.stores import hashes
from drtests.stores.bucket import S3Store
from tests.support.buckets import S3Server
from tests.support.ceph import Ceph
from tests.support.wire import Fault, Request, Wire, wire

_MIB = 1 << 20
_EQUAL = (b"p" * 5 * _MIB, b"q" * 5 * _MIB, b"r" * 10)
_UNEQUAL = (b"p" * 5 * _MIB, b"q" * 6 * _MIB, b"r" * 10)
_DATA = b"some bytes of an object"
_CRC32C, _CRC64NVME = "Gf0Guw==", "86o+0v2Ilvc="


def _flip(data: bytes) -> bytes:
    return data[:7] + bytes([data[7] ^ 1]) + data[8:]


def _upload(server: S3Server, bucket: str, bodies: Sequence[bytes]) -> None:
    """In parts, as backup programs do with what is large."""
    client, on = server.client(), {"Bucket": bucket, "Key": "parts"}
    upload = client.create_multipart_upload(**on)["UploadId"]
    parts = [
        {"PartNumber": number, "ETag": client.upload_part(**on, PartNumber=number, UploadId=upload, Body=body)["ETag"]}
        for number, body in enumerate(bodies, 1)
    ]
    client.complete_multipart_upload(**on, UploadId=upload, MultipartUpload={"Parts": parts})


def _brought(store: S3Store, path: Path) -> tuple[str, list[str]]:
    told: list[str] = []
    return store.download(next(store.objects()), path, told.append), told


def _lying(request: Request, _: int) -> Fault | None:
    return Fault(changed=_flip) if request.method == "GET" and request.key else None


@pytest.fixture(params=["ceph", "moto"])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Ceph does not tell how large the parts were; a simulator of AWS does."""
    found = request.getfixturevalue(request.param)
    return found.server if isinstance(found, Ceph) else found


def test_an_object_in_equal_parts(server: S3Server, tmp_path: Path) -> None:
    bucket = server.bucket()
    _upload(server, bucket, _EQUAL)
    digest, told = _brought(server.store(bucket), tmp_path / "parts")
    assert (digest, told) == (hashlib.sha256(b"".join(_EQUAL)).hexdigest(), [])


def test_an_object_in_unequal_parts_where_sizes_are_told_on_a_simulator(moto: S3Server, tmp_path: Path) -> None:
    bucket = moto.bucket()
    _upload(moto, bucket, _UNEQUAL)
    digest, told = _brought(moto.store(bucket), tmp_path / "parts")
    assert (digest, told) == (hashlib.sha256(b"".join(_UNEQUAL)).hexdigest(), [])


@pytest.mark.parametrize("bodies", [_EQUAL, _UNEQUAL], ids=["equal", "unequal"])
def test_a_store_that_lies_about_an_object_in_parts_on_a_simulator(
    moto: S3Server, tmp_path: Path, bodies: Sequence[bytes]
) -> None:
    bucket = moto.bucket()
    _upload(moto, bucket, bodies)
    with wire(moto) as between:
        between.rule = _lying
        with pytest.raises(ObjectDamaged, match="ETag"):
            _brought(between.server.store(bucket), tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("rule", [_lying, lambda _request, _before: None], ids=["lying", "honest"])
def test_where_sizes_are_not_told_doubt_is_on_ceph(
    ceph: Ceph, tmp_path: Path, rule: Callable[[Request, int], Fault | None]
) -> None:
    bucket = ceph.server.bucket()
    bodies = _EQUAL if rule is _lying else (b"p" * (5 * _MIB + 12345), b"q" * (5 * _MIB + 54321), b"r")
    _upload(ceph.server, bucket, bodies)
    with wire(ceph.server) as between:
        between.rule = rule
        _, told = _brought(between.server.store(bucket), tmp_path / "parts")
    [why] = told
    assert "uploaded in parts" in why


class TestChecksums:
    """Of objects whose ETag is no MD5, since they are encrypted with a key of their own."""

    @pytest.fixture
    def between(self, rclone: S3Server) -> Iterator[Wire]:
        with wire(rclone) as found:
            yield found

    @pytest.fixture
    def store(self, between: Wire, rclone: S3Server) -> S3Store:
        bucket = rclone.bucket()
        rclone.client().put_object(Bucket=bucket, Key="x", Body=_DATA)
        return between.server.store(bucket)

    @staticmethod
    def _tell(between: Wire, name: str = "", value: str = "", changed: Callable[[bytes], bytes] | None = None) -> None:
        headers = {f"x-amz-checksum-{name}": value} if name else {}
        fault = Fault(headers={"x-amz-server-side-encryption": "aws:kms", **headers}, changed=changed)
        between.rule = lambda request, _: fault if request.method == "GET" and request.key else None

    def test_by_nothing_at_all(self, between: Wire, store: S3Store, tmp_path: Path) -> None:
        self._tell(between)
        _, told = _brought(store, tmp_path / "x")
        assert ["key of its own" in why for why in told] == [True]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("sha256", base64.b64encode(hashlib.sha256(_DATA).digest()).decode()),
            ("sha1", base64.b64encode(hashlib.sha1(_DATA, usedforsecurity=False).digest()).decode()),
            ("crc32", base64.b64encode(zlib.crc32(_DATA).to_bytes(4, "big")).decode()),
            ("crc32c", _CRC32C),
            ("crc64nvme", _CRC64NVME),
        ],
    )
    def test_by_each(self, between: Wire, store: S3Store, tmp_path: Path, name: str, value: str) -> None:
        self._tell(between, name, value)
        assert _brought(store, tmp_path / "x") == (hashlib.sha256(_DATA).hexdigest(), [])
        self._tell(between, name, value, _flip)
        with pytest.raises(ObjectDamaged, match=name.upper()):
            _brought(store, tmp_path / "x")

    def test_by_one_that_cannot_be_made_here(
        self, between: Wire, store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "anycrc", None)
        monkeypatch.setattr(hashes, "_MAKERS", hashes._makers())
        self._tell(between, "crc64nvme", _CRC64NVME)
        _, told = _brought(store, tmp_path / "x")
        assert ["CRC64NVME" in why and "anycrc" in why for why in told] == [True]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.lists(st.binary(max_size=9), max_size=9))
def test_a_hash_of_parts_however_it_comes(sizes: list[int], chunks: list[bytes]) -> None:
    data = b"".join(chunks)
    claim = hashes.OfParts("ETag", "", 0).claim(sizes)
    for chunk in chunks:
        claim.made.update(chunk)
    parts, at, turn = [], 0, iter(sizes)
    while at < len(data):
        size = next(turn, sizes[-1])
        parts.append(hashlib.md5(data[at : at + size], usedforsecurity=False).digest())
        at += size
    assert claim.made.digest() == hashlib.md5(b"".join(parts), usedforsecurity=False).digest()


@given(st.integers(1, 60).map(lambda count: count * _MIB), st.integers(0, 2000 * _MIB))
def test_guesses_come_to_that_many_parts(part: int, size: int) -> None:
    count = max(1, -(-size // part))
    found = hashes.guesses(size, count)
    assert len(found) <= 6
    assert all(one == size or -(-size // one) == count for one in found)
    if part in {5 * _MIB, 8 * _MIB, 16 * _MIB}:
        assert count == 1 or part in found
