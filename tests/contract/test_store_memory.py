"""The contract of stores, on the store in memory."""

from __future__ import annotations

import uuid

import pytest

from drtests.errors import ObjectMissing, StoreRefused
from drtests.model.connections import Store as Declared
from drtests.model.connections import StoreCredentials
from drtests.protocols.store import StoreContext
from drtests.testing.memory_store import EVERYTHING, MemoryBucket, MemoryStore
from drtests.testing.store_contract import StoreContract, StorePlace
from tests.support.held_objects import HISTORY, OUTSIDE, PREFIX, latest_only

_PROBES = "drtests-probe/"


def _open(bucket: str, role: str) -> MemoryStore:
    keys = StoreCredentials(access_key="env:UNUSED", secret_key="env:UNUSED")
    declared = Declared(id="vault", bucket=bucket, prefix=PREFIX, probe_prefix=_PROBES, reader=keys, writer=keys)
    return MemoryStore(StoreContext(declared, role, {"secret_key": "a-secret-of-memory"}))


@pytest.mark.parametrize("versioned", [True, False], ids=["versioned", "unversioned"])
class TestMemoryStore(StoreContract):
    """A bucket of its own for every test."""

    @pytest.fixture
    def place(self, versioned: bool) -> StorePlace:
        name, closed = f"b-{uuid.uuid4().hex}", f"b-{uuid.uuid4().hex}"
        history = HISTORY if versioned else latest_only(HISTORY)
        there = MemoryBucket(
            versioning="enabled" if versioned else "off", rights=dict.fromkeys(("reader", "writer"), EVERYTHING)
        )
        for key, versions in history.items():
            for data in versions:
                there.put(key, data)
        there.put(OUTSIDE, b"outside")
        MemoryStore.buckets |= {name: there, closed: MemoryBucket(rights={"reader": frozenset()})}
        return StorePlace(
            reader=_open(name, "reader"),
            writer=_open(name, "writer"),
            probes=_PROBES,
            history=history,
            versioned=versioned,
            outside=OUTSIDE,
            snapshot=lambda: {key: [(one.version, one.data) for one in found] for key, found in there.versions.items()},
            failing={ObjectMissing: _open("b-no-such-bucket", "reader"), StoreRefused: _open(closed, "reader")},
            secrets=("a-secret-of-memory",),
        )
