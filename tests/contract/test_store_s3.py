"""The contract of stores, on real servers: Ceph, which keeps versions, and rclone, which does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from drtests.errors import ObjectMissing, StoreDenied, StoreError, StoreUnreachable
from drtests.stores.bucket import S3Store
from drtests.testing.store_contract import StoreContract, StorePlace
from tests.support.buckets import Account, S3Server
from tests.support.ceph import Ceph
from tests.support.held_objects import HISTORY, OUTSIDE, PREFIX, latest_only
from tests.support.servers import free_port

_PROBES = "drtests-probe/"


@pytest.fixture(scope="class", autouse=True)
def _hurry() -> Iterator[None]:
    """Short pauses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("drtests.stores.client.PAUSE", 0.01)
        yield


def _place(server: S3Server, *, versioned: bool) -> StorePlace:
    client, bucket = server.client(), server.bucket(versioned=versioned)
    history = HISTORY if versioned else latest_only(HISTORY)
    for key, versions in history.items():
        for data in versions:
            if data is None:
                client.delete_object(Bucket=bucket, Key=key)
            else:
                client.put_object(Bucket=bucket, Key=key, Body=data)
    client.put_object(Bucket=bucket, Key=OUTSIDE, Body=b"outside")
    wrong = Account("wrong", server.owner.access_key, "not-the-secret-of-the-usual-length-40-ch")
    nowhere = server.at(f"http://127.0.0.1:{free_port()}")
    failing: dict[type[StoreError], Any] = {
        ObjectMissing: _open(server, "no-such-bucket"),
        StoreDenied: _open(server, bucket, wrong),
        StoreUnreachable: _open(nowhere, bucket),
    }

    def snapshot() -> dict[str, object]:
        if not versioned:
            found = client.list_objects_v2(Bucket=bucket).get("Contents", ())
            return {one["Key"]: (one["ETag"], one["LastModified"]) for one in found}
        listed = client.list_object_versions(Bucket=bucket)
        both = listed.get("Versions", []) + listed.get("DeleteMarkers", [])
        keys = {one["Key"] for one in both}
        return {key: sorted(one["VersionId"] for one in both if one["Key"] == key) for key in keys}

    return StorePlace(
        reader=_open(server, bucket),
        writer=_open(server, bucket, role="writer"),
        probes=_PROBES,
        history=history,
        versioned=versioned,
        outside=OUTSIDE,
        snapshot=snapshot,
        failing=failing,
        secrets=(server.owner.secret_key, wrong.secret_key),
    )


def _open(server: S3Server, bucket: str, account: Account | None = None, role: str = "reader") -> S3Store:
    return server.store(bucket, account, role, prefix=PREFIX, probe_prefix=_PROBES)


class TestCeph(StoreContract):
    """A real server that keeps versions."""

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, ceph: Ceph) -> StorePlace:
        return _place(ceph.server, versioned=True)


class TestCephUnversioned(StoreContract):
    """The same without versions."""

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, ceph: Ceph) -> StorePlace:
        return _place(ceph.server, versioned=False)


class TestRclone(StoreContract):
    """A real server that knows of no versions, and answers 200 to much that it does not know."""

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, rclone: S3Server) -> StorePlace:
        return _place(rclone, versioned=False)
